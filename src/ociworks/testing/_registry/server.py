"""The listening socket: a thread for each connection, a bound on their number, and an end that leaves none behind."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ociworks.testing._registry.wire import Wire

if TYPE_CHECKING:
    from ociworks.testing._registry.limits import RegistryLimits

__all__ = ["Server"]

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
)

_PAUSE = 0.02

Converse = Callable[[Wire, str, "Connection"], None]
"""Speaks over one connection until it ends; sets ``busy`` while a request is answered."""


class Connection:
    """One accepted socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.busy = False
        self.ending = False
        """No further request is to be read."""

    def cut(self) -> None:
        """End it under whoever uses it."""
        self.ending = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


class Server:
    """Accepts from construction until :meth:`close`.

    All its threads are daemons: a registry that nobody closes must not keep the interpreter alive.
    """

    def __init__(
        self,
        listen: tuple[str, int],
        converse: Converse,
        limits: RegistryLimits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._converse = converse
        self._limits = limits
        self._tls = tls
        self._open: dict[Connection, threading.Thread] = {}
        self._guard = threading.Lock()
        family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        self._listener = socket.create_server(listen, family=family, backlog=128)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="ociworks-registry", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)  # trusted: the kernel's number

    def close(self, grace: float = 0.0) -> None:
        """Stop accepting, give requests under way ``grace`` seconds, end every connection, wait for the threads."""
        if not self._thread.is_alive():
            return
        self._wake.send(b"x")
        self._thread.join()
        for each in (self._listener, self._wake, self._woken):
            each.close()
        deadline = time.monotonic() + grace
        with self._guard:
            workers = dict(self._open)
        for connection in workers:
            connection.ending = True
            if not connection.busy or not grace:
                connection.cut()
        for connection, worker in workers.items():
            worker.join(max(0.0, deadline - time.monotonic()))
            connection.cut()
            worker.join()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                if any(key.fileobj is self._woken for key, _ in selector.select()):
                    return
                try:
                    self._start(*self._listener.accept())
                except (
                    OSError
                ):  # the client was faster; or no descriptor is left, and then trying at once is in vain
                    time.sleep(_PAUSE)

    def _start(self, sock: socket.socket, address: tuple[str, int]) -> None:
        with self._guard:
            if len(self._open) >= self._limits.connections:
                self._turn_away(sock)
                return
            connection = Connection(sock)
            worker = threading.Thread(
                target=self._run, args=(connection, address[0]), name="ociworks-registry-client", daemon=True
            )
            self._open[connection] = worker
        try:
            worker.start()
        except RuntimeError:  # no more threads
            with self._guard:
                del self._open[connection]
            sock.close()

    def _turn_away(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.settimeout(0)
            if self._tls is None:
                sock.send(_FULL)

    def _run(self, connection: Connection, client: str) -> None:
        try:
            with contextlib.suppress(OSError):  # TLS that fails, clients that hang up
                self._speak(connection, client)
        finally:
            connection.sock.close()
            with self._guard:
                del self._open[connection]

    def _speak(self, connection: Connection, client: str) -> None:
        sock = connection.sock
        sock.settimeout(self._limits.idle_timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            # Here, not while accepting: a client that stalls its handshake stops nobody else.
            # The wrapped socket is known before the handshake, so that it can be cut.
            secure = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            sock = connection.sock = secure
            secure.do_handshake()
        self._converse(Wire(sock, self._limits), client, connection)
