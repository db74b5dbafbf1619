"""A TCP proxy in front of a real registry that breaks connections where a test wants it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Self

__all__ = ["CuttingProxy"]

_PIECE = 65536


class CuttingProxy:
    """Passes bytes on in both directions; a connection that has sent as many bytes as the next cut says is cut.

    A cut closes both sides, as a network does. What was passed on before has reached the registry.
    """

    def __init__(self, target: str, cuts: Sequence[int] = ()) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.cuts = list(cuts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._run(self._accept)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _run(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            with self._lock:
                self._open += [client, server]
            self._run(self._up, client, server)
            self._run(self._down, server, client)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """From the client to the registry, up to the next cut that this connection reaches."""
        passed = 0
        with contextlib.suppress(OSError):
            while data := client.recv(_PIECE):
                limit = self.cuts[0] if self.cuts else None
                if limit is not None and passed + len(data) > limit:
                    self.cuts.pop(0)
                    server.sendall(data[: limit - passed])
                    break
                passed += len(data)
                server.sendall(data)
        self._end(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_PIECE):
                client.sendall(data)
        self._end(client, server)

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(self._listener)
        self._listener.close()
        with self._lock:
            self._end(*self._open)
        for thread in self._threads:
            thread.join()
        for each in self._open:
            each.close()
