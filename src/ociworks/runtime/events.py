"""What happens to containers, as values: one listener per Runtime method override, any number of watches.

Only what this Runtime does or notices is reported. An end is noticed by whoever looks first: ``wait``, ``run``,
``delete`` or a :class:`Watch`, which waits for the ends of all containers that its Runtime created.
"""

from __future__ import annotations

import collections
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

import attrs

if TYPE_CHECKING:
    from ociworks.runtime.container import Container

__all__ = ["Event", "EventKind", "Watch"]

EventKind: TypeAlias = Literal[
    "planned",
    "spawned",
    "created",
    "started",
    "exec",
    "exec-exited",
    "paused",
    "resumed",
    "checkpointed",
    "restored",
    "exited",
    "deleted",
]
"""In the order of a life; ``spawned`` is the first process before it has done any operation of its plan."""

_FOREVER: Final = 1 << 31


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened to a container. ``time`` is that of :func:`time.monotonic_ns`."""

    kind: EventKind
    container_id: str
    pid: int = 0
    """Of the process in question on the host, where there is one."""
    returncode: int | None = None
    """Of ``exited`` and ``exec-exited``: the exit status, or the negative number of the signal."""
    oom: bool | None = None
    """Of ``exited``: whether the kernel killed a process of it for memory; None when nobody counts."""
    time: int = attrs.field(factory=time.monotonic_ns)


class Watch:
    """Events from now on, in order. An iterator that waits for the next one until it is closed; a context manager."""

    def __init__(self, containers: Mapping[str, Container], leave: Callable[[Watch], None]) -> None:
        self._containers = containers
        self._leave = leave
        self._queue: collections.deque[Event] = collections.deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def put(self, event: Event) -> None:
        """Add an event; from any thread."""
        self._queue.append(event)
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None when ``timeout`` seconds pass without one, or the watch is closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._queue and self._wake >= 0:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left < 0:
                return None
            self._look(left)
        return self._queue.popleft() if self._queue else None

    def _look(self, timeout: float | None) -> None:
        """Wait until something is put in the queue, or a container ends; who waits for that one puts its end there."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        watched = {
            container.pidfd: container for container in tuple(self._containers.values()) if container.watched
        }
        for pidfd in watched:
            poller.register(pidfd, select.POLLIN)
        for fd, _ in poller.poll(None if timeout is None else min(timeout * 1000, _FOREVER)):
            if fd == self._wake:
                os.eventfd_read(fd)
            else:
                watched[fd].wait()

    def close(self) -> None:
        """Stop; again is harmless."""
        if self._wake >= 0:
            self._leave(self)
            fd, self._wake = self._wake, -1
            os.close(fd)

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            yield event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
