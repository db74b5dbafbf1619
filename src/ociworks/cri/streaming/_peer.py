"""One connection of a client, without blocking: bytes in, bytes out, TLS in between when there is a certificate."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Final

from ociworks.cri.streaming._loop import CLOSED, READ, WRITE

__all__ = ["Gone", "Peer"]

_CHUNK: Final = 1 << 16
_LINGER: Final = 5.0
"""Seconds that a client gets to read the last bytes and close."""


class Gone(Exception):
    """The client is not there any more, or does not do its part in time."""


class Peer:
    """Owns the socket. For one thread, except :meth:`abort`."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self._sock = sock
        self._output = bytearray()
        """What the socket did not take yet."""
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(sock)
        if context is not None:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def fd(self) -> int:
        """The descriptor of the socket."""
        return self._sock.fileno()

    @property
    def pending(self) -> int:
        """Bytes that the client has not taken."""
        return len(self._output)

    def interest(self, *, reading: bool) -> int:
        """The events that count now."""
        return (READ if reading else 0) | (WRITE if self._output else 0) | CLOSED

    def read(self) -> bytes:
        """What has come; nothing when nothing has. Raises Gone at the end."""
        try:
            raw = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            raise Gone from None
        if not raw:
            raise Gone
        return raw if self._tls is None else self._decrypted(self._tls, raw)

    def write(self, data: bytes) -> None:
        """Send, now or later. Raises Gone."""
        if self._tls is None:
            self._output += data
        elif data:
            self._tls.write(data)
            self._output += self._outgoing.read()
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it is taken. Raises Gone."""
        while self._output:
            try:
                sent = self._sock.send(memoryview(self._output)[:_CHUNK])
            except BlockingIOError:
                return
            except OSError:
                raise Gone from None
            del self._output[:sent]

    def wait(self, deadline: float) -> bytes:
        """The next bytes, for whoever has nothing else to do. Raises Gone, also after the deadline (time.monotonic)."""
        while True:
            self._until_ready(self.interest(reading=True), deadline)
            self.flush()
            data = self.read()
            if data:
                return data

    def finish(self) -> None:
        """Have the client read everything, then close: bytes that it still sends must not make it lose ours."""
        deadline = time.monotonic() + _LINGER
        with contextlib.suppress(Gone, OSError):
            self._say_end()
            while self._output:
                self._until_ready(WRITE, deadline)
                self.flush()
            self._sock.shutdown(socket.SHUT_WR)
            while True:
                self._until_ready(READ, deadline)
                self.read()

    def abort(self) -> None:
        """End the connection under whoever uses it; from any thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _say_end(self) -> None:
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._output += self._outgoing.read()

    def _decrypted(self, tls: ssl.SSLObject, raw: bytes) -> bytes:
        self._incoming.write(raw)
        plain = bytearray()
        try:
            while data := tls.read(_CHUNK):
                plain += data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            raise Gone from None
        finally:
            self._output += self._outgoing.read()
        self.flush()
        return bytes(plain)

    def _until_ready(self, events: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        poller = select.poll()
        poller.register(self._sock, events)
        if left <= 0 or not poller.poll(left * 1000):
            raise Gone


def _keep_alive(sock: socket.socket) -> None:
    """Notice clients that vanished without a word, in about a minute."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
