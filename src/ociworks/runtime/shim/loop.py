"""Descriptors and who looks after them: one epoll, one thread, one function per descriptor."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

__all__ = ["NEWS", "READ", "WRITE", "Loop"]

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
NEWS: Final = select.EPOLLPRI
"""Of files of the kernel that tell when they have changed; reading them makes them quiet."""


class Loop:
    """Calls ``handler(events)`` of each descriptor that is ready."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Look after a descriptor from now on."""
        self._poll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of it; for none, only its hang-up is told."""
        self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Look after it no longer, before it is closed; again is harmless."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def turn(self, timeout: float | None) -> None:
        """Wait for something to happen, at most ``timeout`` seconds, and look after it."""
        for fd, events in self._poll.poll(timeout):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(events)
