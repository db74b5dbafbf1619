"""A small HTTP proxy for tests: CONNECT and absolute-form requests, every name leading to where the test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Self

__all__ = ["HttpProxy"]


class HttpProxy:
    """Listens on loopback; ``places`` maps ``host:port`` to the address to connect to instead."""

    def __init__(self, places: Mapping[str, str], answer: bytes | None = None) -> None:
        self.places = dict(places)
        self.answer = answer
        """Say this instead of doing anything."""
        self.heads: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def targets(self) -> list[str]:
        """Method and target of every request."""
        return [" ".join(head.split(" ")[:2]) for head in self.heads]

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            self._start(self._talk, client)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _talk(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(65536)
                if not data:
                    return
                head += data
            self._handle(client, head.decode("latin-1"))

    def _handle(self, client: socket.socket, head: str) -> None:
        self.heads.append(head)
        if self.answer is not None:
            client.sendall(self.answer)
            return
        method, target, _ = head.split(" ", 2)
        authority = target if method == "CONNECT" else target.removeprefix("http://").partition("/")[0]
        host, _, port = self.places[authority].rpartition(":")
        server = socket.create_connection((host, int(port)))
        self._open.append(server)
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = target.removeprefix("http://").partition("/")[2]
            server.sendall(head.replace(target, f"/{path}", 1).encode("latin-1"))
        self._start(self._pump, client, server)
        self._pump(server, client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._open:
            each.close()
