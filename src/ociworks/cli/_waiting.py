"""Servers run until they are told to stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["until_told"]


@contextmanager
def until_told() -> Iterator[Callable[[], object]]:
    """Gives a function that returns when a signal has asked this process to stop; a second one ends it at once.

    The interpreter itself writes to the socket, in whichever thread and at whichever moment the signal comes: a handler
    in Python would wait for this thread, which may be just about to wait for the handler.
    """
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)

    with reader, writer:
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            for number in before:
                signal.signal(number, told)
            yield lambda: _receive(reader, set(before))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)


def _receive(reader: socket.socket, numbers: set[signal.Signals]) -> None:
    while not numbers.intersection(reader.recv(64)):
        continue
