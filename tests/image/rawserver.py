"""A server that says exactly what a test wants: bytes on a socket, one script per connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Self

__all__ = ["RawServer", "answer"]


def answer(body: bytes = b"", *headers: str, status: str = "200 OK", length: int | None = -1) -> bytes:
    """A response; ``length`` is what Content-Length claims (-1: the truth, None: no such header)."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class RawServer:
    """Answers each connection's first request with the next script, then closes it; the last one repeats.

    A script is bytes, or pieces of them from a function that gets the request's head and may go on for ever.
    """

    def __init__(self, *scripts: bytes | Callable[[bytes], Iterable[bytes]]) -> None:
        self._scripts = scripts
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._current: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._current = connection
            with connection:
                try:
                    self._talk(connection)
                except OSError:
                    continue  # the client hung up, as it should

    def _talk(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            if not data:
                return
            head += data
        script = self._scripts[min(len(self.heads), len(self._scripts) - 1)]
        self.heads.append(head)
        for piece in [script] if isinstance(script, bytes) else script(head):
            connection.sendall(piece)
        # Closing with bytes unread would reset the connection, and the client might never see the answer.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, self._current):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
