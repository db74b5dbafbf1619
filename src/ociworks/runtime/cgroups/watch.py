"""Noticing, without a thread, that a container ran out of memory, is short of it, or has ended.

==================  =========================================  =============================================
event               version 1                                  version 2
==================  =========================================  =============================================
out of memory       eventfd on ``memory.oom_control``          ``memory.events``: ``oom`` has grown
killed for memory   ``oom_kill`` in it has grown               ``memory.events``: ``oom_kill`` has grown
short of memory     eventfd on ``memory.pressure_level``       a trigger on ``memory.pressure`` (PSI)
ended               the pidfd of the first process             the same
==================  =========================================  =============================================

A counter that grew by three gives one event with ``count`` 3. The kernel announces memory.events at most every 10 ms
and the end of a container may come in between, so the counters are read once more at the end: no event is lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Sequence
from typing import Final, Literal, Self

import attrs

from ociworks.errors import NotSupported
from ociworks.runtime._cgroupkill import number, write
from ociworks.runtime.cgroups.operations import cgroup_errors

__all__ = ["GroupEvent", "GroupWatch", "PressureTrigger"]

Level = Literal["low", "medium", "critical"]

_GONE: Final = (errno.ENODEV, errno.ENOENT)
_POLL: Final = select.EPOLLIN
_PRIORITY: Final = select.EPOLLPRI


@attrs.frozen(kw_only=True)
class GroupEvent:
    """Something that happened to a container. ``count`` is how often since the event before it.

    ``oom``: it needed memory and got none. ``oom_kill``: processes of it were killed for that. ``pressure``: it stood
    still for memory as long as the trigger says. ``stopped``: its first process has ended; the last event.
    """

    kind: Literal["oom", "oom_kill", "pressure", "stopped"]
    container_id: str = ""
    count: int = 1


@attrs.frozen(kw_only=True)
class PressureTrigger:
    """When to speak of memory pressure.

    Version 2 and PSI: when ``some`` tasks (or the ``full`` container) stood still for ``stall`` of any ``window``
    microseconds. Version 1 has three levels instead: ``level``.
    """

    kind: Literal["some", "full"] = "some"
    stall: int = 150_000
    window: int = 1_000_000
    level: Level = "medium"


class GroupWatch:
    """The events of one container: an iterator that waits, and a descriptor for callers with a loop of their own.

    Holds a few descriptors until :meth:`close`, the end of a ``with`` block, or the event ``stopped``.
    """

    def __init__(
        self,
        directories: Sequence[str],
        pidfd: int,
        *,
        container_id: str = "",
        pressure: PressureTrigger | None = None,
    ) -> None:
        """GroupWatch the groups ``directories`` and the process of ``pidfd``, which becomes this object's."""
        self._id = container_id
        self._poll = select.epoll()
        self._pidfd = pidfd
        self._owned = [pidfd]
        self._counters: _Counters | None = None
        self._pressure = -1
        self._waiting: list[GroupEvent] = []
        self._ended = False
        try:
            self._poll.register(pidfd, _POLL)
            with cgroup_errors():
                self._watch_memory(directories)
                if pressure is not None:
                    self._watch_pressure(directories, pressure)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Readable when :meth:`read` has something to look at."""
        return self._poll.fileno()

    def read(self, timeout: float | None = None) -> tuple[GroupEvent, ...]:
        """What happened, after waiting for at most ``timeout`` seconds (None: until something does); often one event.

        Nothing when the time is over, and after ``stopped``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._poll.poll(left)
            events = self._look({descriptor for descriptor, _ in ready})
            if events or not ready:
                return events
        return ()

    def close(self) -> None:
        """Give back the descriptors; again is harmless."""
        self._ended = True
        self._poll.close()
        for descriptor in self._owned:
            os.close(descriptor)
        self._owned.clear()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> GroupEvent:
        while not self._waiting:
            if self._ended:
                raise StopIteration
            self._waiting += self.read()
        return self._waiting.pop(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self, ready: set[int]) -> tuple[GroupEvent, ...]:
        events: list[GroupEvent] = []
        ended = self._pidfd in ready
        if self._counters is not None and (ended or self._counters.announcer in ready):
            events += [
                GroupEvent(kind=kind, container_id=self._id, count=n) for kind, n in self._counters.news()
            ]
        if self._pressure in ready and not ended:
            _drain(self._pressure)
            events.append(GroupEvent(kind="pressure", container_id=self._id))
        if ended:
            events.append(GroupEvent(kind="stopped", container_id=self._id))
            self.close()
        return tuple(events)

    def _watch_memory(self, directories: Sequence[str]) -> None:
        old = _holding(directories, "memory.oom_control")
        new = _holding(directories, "memory.events")
        if old is not None:
            counts = self._own(os.open(f"{old}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC))
            announcer = self._own(_eventfd(old, counts, ""))
            self._poll.register(announcer, _POLL)
            self._counters = _Counters(counts, announcer, announced=True)
        elif new is not None:
            counts = self._own(os.open(f"{new}/memory.events", os.O_RDONLY | os.O_CLOEXEC))
            self._poll.register(counts, _PRIORITY)
            self._counters = _Counters(counts, counts, announced=False)

    def _watch_pressure(self, directories: Sequence[str], trigger: PressureTrigger) -> None:
        old = _holding(directories, "memory.pressure_level")
        new = _holding(directories, "memory.pressure")
        if old is not None:
            levels = self._own(os.open(f"{old}/memory.pressure_level", os.O_RDONLY | os.O_CLOEXEC))
            self._pressure = self._own(_eventfd(old, levels, trigger.level))
            self._poll.register(self._pressure, _POLL)
        elif new is not None:
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
            self._pressure = self._own(os.open(f"{new}/memory.pressure", flags))
            os.write(self._pressure, f"{trigger.kind} {trigger.stall} {trigger.window}\0".encode("ascii"))
            self._poll.register(self._pressure, _PRIORITY)
        else:
            raise NotSupported(
                "events: this host does not measure memory pressure; ask for events without a trigger"
            )

    def _own(self, descriptor: int) -> int:
        self._owned.append(descriptor)
        return descriptor


class _Counters:
    """The counters of a group's memory events and what they were when last read."""

    def __init__(self, counts: int, announcer: int, *, announced: bool) -> None:
        self.announcer = announcer
        self._counts = counts
        self._announced = announced
        self._known = self._read() or {}

    def news(self) -> list[tuple[Literal["oom", "oom_kill"], int]]:
        """By how much the counters grew."""
        found: list[tuple[Literal["oom", "oom_kill"], int]] = []
        rung = _drain(self.announcer) if self._announced else 0
        now = self._read()
        if now is None:
            return found  # the group is gone; the eventfd rings for that too
        if ooms := now.get("oom", 0) - self._known.get("oom", 0) or rung:
            found.append(("oom", ooms))
        if kills := now.get("oom_kill", 0) - self._known.get("oom_kill", 0):
            found.append(("oom_kill", kills))
        self._known = now
        return found

    def _read(self) -> dict[str, int] | None:
        try:
            text = os.pread(self._counts, 4096, 0).decode("ascii")
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        pairs = (line.split() for line in text.splitlines())
        return {name: number(value) for name, value in pairs}


def _holding(directories: Sequence[str], name: str) -> str | None:
    return next((path for path in directories if os.path.exists(f"{path}/{name}")), None)


def _eventfd(directory: str, control: int, argument: str) -> int:
    """Version 1: an eventfd that the kernel adds to when the file of ``control`` has news."""
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        line = f"{descriptor} {control} {argument}".rstrip()
        write(f"{directory}/cgroup.event_control", line.encode("ascii"))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _drain(descriptor: int) -> int:
    """How often an eventfd rang; 0 for anything else."""
    with contextlib.suppress(OSError):
        raw = os.read(descriptor, 8)
        if len(raw) == 8:
            return int.from_bytes(raw, "little")
    return 0
