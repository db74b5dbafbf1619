"""The streaming server: a small accept loop, one thread for each connection, which one session owns to its end."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

from ociworks.cri.config import CriConfig
from ociworks.cri.streaming._http import Refused, Request, read_request, refusal
from ociworks.cri.streaming._peer import Gone, Peer
from ociworks.errors import ConfigError, StreamError

__all__ = ["StreamingServer"]

logger = logging.getLogger(__name__)

CONNECTIONS: Final = 512
"""At a time; further ones are closed at once."""
_BACKLOG: Final = 128
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
Serve = Callable[[Peer, Request], None]


class StreamingServer:
    """Listens where the configuration says. ``serve`` is called in a thread of its own with each proper request.

    ``serve`` raises Refused, Gone or StreamError; the connection is closed whatever happens.
    """

    def __init__(self, config: CriConfig, serve: Serve) -> None:
        self._config = config
        self._serve = serve
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._lock = threading.Lock()
        self._peers: dict[Peer, threading.Thread] = {}
        self._context = _context(config)
        self._closed = False

    @property
    def base(self) -> str:
        """The beginning of every URL. ConfigError before the server listens."""
        if self._listener is None:
            raise ConfigError("the streaming server does not listen")
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://{_bracketed(self._config.stream_address)}:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        """Listen. ConfigError when the address cannot be had."""
        address = self._config.stream_address
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, self._config.stream_port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"stream_address, stream_port: cannot listen on {address}, {self._config.stream_port}: {error.strerror}"
            ) from error
        self._listener = listener
        self._accepting = threading.Thread(
            target=self._accept, args=(listener,), name="ociworks-streaming", daemon=True
        )
        self._accepting.start()

    def close(self) -> None:
        """End every session and wait for the threads; again is harmless."""
        with self._lock:
            self._closed = True
            sessions = dict(self._peers)
        for peer in sessions:
            peer.abort()
        if self._listener is not None and self._accepting is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
            self._accepting.join()
            self._listener.close()
        for thread in sessions.values():
            thread.join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                with self._lock:
                    if self._closed:
                        return
                _pause()  # out of descriptors, most likely: keep what there is
                continue
            self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        try:
            peer = Peer(sock, self._context)
        except OSError:
            sock.close()
            return
        thread = threading.Thread(target=self._session, args=(peer,), name="ociworks-stream", daemon=True)
        with self._lock:
            if self._closed or len(self._peers) >= CONNECTIONS:
                peer.close()
                return
            self._peers[peer] = thread
            try:
                thread.start()
            except RuntimeError:  # out of threads
                del self._peers[peer]
                peer.close()

    def _session(self, peer: Peer) -> None:
        try:
            with contextlib.suppress(Gone):
                self._answer(peer)
            peer.finish()
        except StreamError as error:
            logger.debug("streaming: %s", error)
        except Exception:
            logger.exception("streaming: a session failed")
        finally:
            peer.close()
            with self._lock:
                del self._peers[peer]

    def _answer(self, peer: Peer) -> None:
        try:
            self._serve(peer, read_request(peer, self._hosts()))
        except Refused as refused:
            peer.write(refusal(refused))

    def _hosts(self) -> frozenset[str] | None:
        """Names by which a client may call us: none that a foreign page could have made ours."""
        if self._context is not None:
            return None
        return frozenset((_bracketed(self._config.stream_address), *_LOOPBACK))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _context(config: CriConfig) -> ssl.SSLContext | None:
    if not config.stream_tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.stream_tls_cert, config.stream_tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"stream_tls_cert, stream_tls_key: {config.stream_tls_cert}, {config.stream_tls_key}: {error}"
        ) from error
    return context


def _pause() -> None:
    """A moment, until descriptors may be there again."""
    threading.Event().wait(0.1)
