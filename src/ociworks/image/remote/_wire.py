"""One HTTP/1.1 connection: heads through h11, bodies of a known length straight from the socket.

h11 is strict about framing and does no I/O; passing blobs through it would copy each byte several times, so the
body of a response with a Content-Length bypasses it.

=====================  ==========================================================================
body                   ends
=====================  ==========================================================================
HEAD, 204, 304         at once
Content-Length: n      after n bytes; the connection may be used again
chunked                with the last chunk; the connection may be used again
otherwise              when the server closes, which an attacker can do too: the caller must know
                       the size (``ends_by_close``)
=====================  ==========================================================================

A response with both a length and a transfer coding, or with an interim response too many, is refused; so is
whatever h11 refuses. After any error the connection is closed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

import h11

from ociworks.errors import LimitExceeded, RegistryProtocolError, RegistryUnreachable
from ociworks.image.remote._messages import Body, Headers, Request

if TYPE_CHECKING:
    from ociworks.image.origin import Origin, Url
    from ociworks.image.remote.limits import Limits

__all__ = ["Connection", "NoAnswer", "WireResponse"]

_PIECE: Final = 64 * 1024
_SENT: Final = 256 * 1024


class NoAnswer(RegistryUnreachable):
    """The connection ended before the first byte of an answer: on a reused one it had been closed before."""


class Connection:
    """A connected socket and the limits under which it is used; for one thread at a time."""

    def __init__(
        self, sock: socket.socket, origin: Origin, limits: Limits, *, absolute: bool = False
    ) -> None:
        self.origin = origin
        self._sock = sock
        self._limits = limits
        self._deadline: float | None = None
        self._absolute = absolute  # a proxy reads the requests (RFC 9112 section 3.2.2)

    def exchange(
        self, request: Request, headers: list[tuple[str, str]], done: Callable[[Connection], None]
    ) -> WireResponse:
        """Send a request and read the head of its response; ``done`` gets the connection back if it stays usable."""
        self._deadline = time.monotonic() + self._limits.answer_deadline
        machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=self._limits.max_header)
        try:
            self._send(machine, request, headers)
            return WireResponse(self, machine, self._head(machine, request.url), request, done)
        except h11.RemoteProtocolError:
            self.close()
            raise RegistryProtocolError("malformed HTTP response", url=request.url.redacted) from None
        except BaseException:
            self.close()
            raise

    def unhurried(self) -> None:
        """From here on only single reads are timed."""
        self._deadline = None

    def stale(self) -> bool:
        """Whether the server has closed, or said something nobody asked for, since the last response."""
        try:
            return bool(select.select([self._sock], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def abort(self) -> None:
        """Let whoever waits for it, in another thread, find it closed by the server."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # of TLS, without a word

    def receive(self, size: int, url: Url) -> bytes:
        """At most ``size`` bytes; empty when the server has closed."""
        try:
            self._sock.settimeout(self._patience(url))
            return self._sock.recv(size)
        except TimeoutError:
            raise self._late(url) from None
        except OSError as error:
            raise _lost("connection lost", error, url) from None

    def _transmit(self, data: bytes, url: Url) -> None:
        try:
            self._sock.settimeout(self._patience(url))
            self._sock.sendall(data)
        except TimeoutError:
            raise self._late(url) from None

    def _patience(self, url: Url) -> float:
        if self._deadline is None:
            return self._limits.read_timeout
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._late(url)
        return min(self._limits.read_timeout, left)

    def _late(self, url: Url) -> RegistryUnreachable:
        """A read without progress may go better next time; a whole answer that took too long is enough."""
        over = self._deadline is not None and time.monotonic() >= self._deadline
        return RegistryUnreachable("no answer in time", url=url.redacted, temporary=not over)

    def _send(self, machine: h11.Connection, request: Request, headers: list[tuple[str, str]]) -> None:
        target = request.url
        host = ("Host", target.origin.authority)
        form = str(target) if self._absolute else target.target
        head = h11.Request(method=request.method, target=form, headers=[host, *headers])
        try:
            self._transmit(machine.send(head) or b"", target)
            if request.body is not None:
                self._send_body(machine, request.body, target)
            machine.send(h11.EndOfMessage())
        except (BrokenPipeError, ConnectionResetError):
            # The server may have said why before it closed: look for a response.
            machine.send_failed()
        except OSError as error:
            raise _lost("cannot send", error, target) from None

    def _send_body(self, machine: h11.Connection, body: Body, url: Url) -> None:
        with body.open() as stream:
            while data := stream.read(_SENT):
                # An upload takes as long as it takes; each piece is timed.
                self._deadline = time.monotonic() + self._limits.answer_deadline
                self._transmit(machine.send(h11.Data(data=data)) or b"", url)

    def _first_bytes(self, url: Url) -> bytes:
        closed = NoAnswer("connection closed without an answer", url=url.redacted, temporary=True)
        try:
            self._sock.settimeout(self._patience(url))
            data = self._sock.recv(_PIECE)
        except TimeoutError:
            raise self._late(url) from None
        except OSError:
            raise closed from None
        if not data:
            raise closed
        return data

    def _head(self, machine: h11.Connection, url: Url) -> h11.Response:
        """Read up to the end of the response's head."""
        machine.receive_data(self._first_bytes(url))
        interim = 0
        while True:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                data = self.receive(_PIECE, url)
                if not data:
                    raise _lost("connection lost", ConnectionResetError(), url)
                machine.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                interim += 1
                if interim > self._limits.max_interim or event.status_code == 101:
                    raise RegistryProtocolError("too many interim responses", url=url.redacted)
            elif isinstance(event, h11.Response):
                self._check_size(event, url)
                return event
            else:
                raise RegistryProtocolError("expected the head of a response", url=url.redacted)

    def _check_size(self, head: h11.Response, url: Url) -> None:
        """h11 bounds only what is incomplete; a large head may also arrive at once."""
        if sum(len(name) + len(value) + 4 for name, value in head.headers) > self._limits.max_header:
            raise LimitExceeded(f"head of {url.redacted}", "max_header", self._limits.max_header)


@final
class WireResponse:
    """A response whose body is still on the wire."""

    def __init__(
        self,
        connection: Connection,
        machine: h11.Connection,
        head: h11.Response,
        request: Request,
        done: Callable[[Connection], None],
    ) -> None:
        self.status = head.status_code
        self.url = request.url
        self.headers = Headers(
            tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
        )
        self._connection: Connection | None = connection
        self._machine = machine
        self._done = done
        self._rest = b""
        self._keep = machine.our_state is not h11.ERROR and _keeps_alive(head, self.headers)
        self._left = self._measure(request)
        self.ends_by_close = self._left is None and not self.headers.all("transfer-encoding")

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; empty only at the end."""
        if self._connection is None or size <= 0:
            return b""
        try:
            return self._framed(size) if self._left is None else self._counted(size, self._left)
        except h11.RemoteProtocolError:
            self._drop()
            raise RegistryProtocolError("malformed HTTP body", url=self.url.redacted) from None
        except BaseException:
            self._drop()
            raise

    def unhurried(self) -> None:
        """Lift the deadline of the whole answer."""
        if self._connection is not None:
            self._connection.unhurried()

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else drop it: never drain."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._left == 0 and not self._rest and self._keep:
            self._done(connection)
        else:
            connection.close()

    def _drop(self) -> None:
        self._keep = False
        self.close()

    def _measure(self, request: Request) -> int | None:
        """The length of the body, None when h11 has to find its end."""
        length = self.headers.length()
        coded = self.headers.all("transfer-encoding")
        if coded and length is not None:
            raise RegistryProtocolError(
                "expected Content-Length or Transfer-Encoding, got both", url=self.url.redacted
            )
        if request.method == "HEAD" or self.status in {204, 304}:
            length = 0
        if length is not None:
            self._rest = self._machine.trailing_data[0]
            if len(self._rest) > length:
                self._keep = False
        return length

    def _counted(self, size: int, left: int) -> bytes:
        if left == 0:
            return b""
        wanted = min(size, left)
        if self._rest:
            data, self._rest = self._rest[:wanted], self._rest[wanted:]
        else:
            data = self._socket().receive(wanted, self.url)
        if not data:
            raise RegistryUnreachable(
                f"connection closed {left} bytes before the end", url=self.url.redacted, temporary=True
            )
        self._left = left - len(data)
        return data

    def _framed(self, size: int) -> bytes:
        while not self._rest:
            event = self._machine.next_event()
            if event is h11.NEED_DATA:
                self._machine.receive_data(self._socket().receive(max(size, _PIECE), self.url))
            elif isinstance(event, h11.Data):
                self._rest = bytes(event.data)
            else:
                clean = self._machine.their_state is h11.DONE and not self._machine.trailing_data[0]
                self._keep = self._keep and clean
                self._left = 0
                return b""
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _socket(self) -> Connection:
        if self._connection is None:
            raise RegistryUnreachable("the response is closed", url=self.url.redacted)
        return self._connection


def _keeps_alive(head: h11.Response, headers: Headers) -> bool:
    tokens = {token.strip().lower() for value in headers.all("connection") for token in value.split(",")}
    return head.http_version == b"1.1" and "close" not in tokens


def _lost(what: str, error: OSError, url: Url) -> RegistryUnreachable:
    return RegistryUnreachable(f"{what}: {error.strerror or 'closed'}", url=url.redacted, temporary=True)
