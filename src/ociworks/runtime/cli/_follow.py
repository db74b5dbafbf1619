"""Waits for a process as if we were it: signals go to it, its terminal to ours, and its status becomes ours."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

from ociworks.runtime import Console
from ociworks.runtime.cli._tty import Seat

__all__ = ["caught_signals", "exit_status", "follow"]

_CHUNK: Final = 1 << 16
_OURS: Final = frozenset(
    {signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE, signal.SIGKILL, signal.SIGSTOP, signal.SIGWINCH}
)
"""Signals that are about this process, not about the other."""


def exit_status(status: int) -> int:
    """As a shell has it: 128 and the number of the signal that killed it."""
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def caught_signals() -> Iterator[int]:
    """Catch every signal in this block; each is one byte on the descriptor."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)  # noqa: FBT003 - its signature
        before = {}
        wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, 32, 33}:
                before[number] = signal.signal(number, lambda *_: None)
            yield ours.fileno()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)


def follow(
    pidfd: int, signals: int, console: Console | None, start: Callable[[], object] = lambda: None
) -> None:
    """Return when the process behind ``pidfd`` has ended and its terminal is read to the end.

    ``start`` lets it go, once its terminal has the size and the modes that it will find.
    """
    gc.enable()  # this may take long
    if console is None:
        start()
        _follow(pidfd, signals, None, lambda: None)
        return
    with Seat(console) as seat:
        start()
        _follow(pidfd, signals, console, seat.resize)


def _follow(  # noqa: C901 - one loop over four descriptors
    pidfd: int, signals: int, console: Console | None, resize: Callable[[], None]
) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(signals, select.POLLIN)
    if console is not None:
        poller.register(console.fileno(), select.POLLIN)
        poller.register(0, select.POLLIN)
    ended = False
    while True:
        ready = {fd for fd, _ in poller.poll(0 if ended else None)}
        if ended and not ready - {0, signals}:
            return
        if signals in ready:
            for number in os.read(signals, 64):
                _pass_on(number, pidfd, resize)
        if pidfd in ready:
            ended = True
            poller.unregister(pidfd)
            if console is None:
                return
        if console is not None and console.fileno() in ready:
            data = console.read(_CHUNK)
            if not data:
                poller.unregister(console.fileno())
            _write(1, data)
        if console is not None and 0 in ready:
            typed = os.read(0, _CHUNK)
            if not typed:
                poller.unregister(0)
            while typed:
                typed = typed[console.write(typed) :]


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _pass_on(number: int, pidfd: int, resize: Callable[[], None]) -> None:
    if number == signal.SIGWINCH:
        resize()
    if number in _OURS:
        return
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
