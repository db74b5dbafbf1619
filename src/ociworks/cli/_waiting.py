"""Servers run until they are told to stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["until_told"]


@contextmanager
def until_told() -> Iterator[Callable[[], object]]:
    """Gives a function that returns when a signal has asked this process to stop; a second one ends it at once."""
    reader, writer = socket.socketpair()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        writer.send(b"x")

    try:
        for number in before:
            signal.signal(number, told)
        with reader, writer:
            yield lambda: reader.recv(1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
