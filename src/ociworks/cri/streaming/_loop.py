"""Descriptors of one session and who looks after them: epoll, for one thread."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final, Self

__all__ = ["CLOSED", "READ", "WRITE", "Loop"]

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
CLOSED: Final = select.EPOLLRDHUP
"""The other side of a socket will send no more; noticed also while nothing is read."""


class Loop:
    """Calls handlers when descriptors are ready. Errors and hang-ups are always reported; a handler reads them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, Callable[[int], object]]] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], object]) -> None:
        """Call ``handler`` with what happened to ``fd``; replaces what was said of it before."""
        known = self._watched.get(fd)
        if known is None:
            self._epoll.register(fd, events)
        elif known[0] != events:
            self._epoll.modify(fd, events)
        self._watched[fd] = events, handler

    def ignore(self, fd: int) -> None:
        """Look at ``fd`` no more; call it before closing. Again is harmless."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def turn(self, timeout: float | None = None) -> int:
        """Wait for something, at most so many seconds, and handle it; how many descriptors were ready."""
        ready = self._epoll.poll(timeout)
        for fd, events in ready:
            watched = self._watched.get(fd)
            if watched is not None:  # the handler of another one may have closed it
                watched[1](events)
        return len(ready)

    def close(self) -> None:
        """Let go; the descriptors are their owners'."""
        self._watched.clear()
        self._epoll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
