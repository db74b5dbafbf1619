"""Notices the ends of containers: one thread for all of them, and a few that write ends down.

Of each container the monitor holds a connection to its shim, which speaks when the container has ended and all that it
wrote is logged. What there is to write down, and where, is the containers' part (``settle``)::

    watched ──shim speaks──> settled                     the record says how it ended
       │  └────shim is there, but full──> watched again
       └──shim killed──> what is left of the container is killed ──> settled, nobody knows how it ended
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol, Self

from ociworks.cri._again import Again
from ociworks.errors import ContainerError, ContainerNotFound, ContainerTimeout, OciworksError

if TYPE_CHECKING:
    from ociworks.cri.records import ContainerRecord
    from ociworks.runtime.detach import ExitWatch
    from ociworks.runtime.protocol import OCIContainer, OCIRuntime

__all__ = ["Monitor", "Runtimes"]

logger = logging.getLogger(__name__)

_WRITERS: Final = 4
_AFTER_KILL: Final = 10.0
_ALIVE: Final = ("created", "running")


class Runtimes(Protocol):
    """Runtimes by the names of handlers."""

    def get(self, name: str) -> OCIRuntime:
        """The runtime of this name."""


class Monitor:
    """Watches containers until they end. Any thread may call; close it, or use it as a context manager.

    ``settle`` records the end of a container that has ended; it returns the record, or None when there is none.
    """

    def __init__(self, handlers: Runtimes, settle: Callable[[str], ContainerRecord | None]) -> None:
        self._handlers, self._settle = handlers, settle
        self._poll = select.epoll()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._woken, select.EPOLLIN)
        self._guard = threading.Lock()
        self._watched: dict[int, tuple[ExitWatch, ContainerRecord]] = {}
        self._again: Again[ContainerRecord] = Again()
        self._writers = ThreadPoolExecutor(_WRITERS, "ociworks-ends")
        self._thread: threading.Thread | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many are watched."""
        return len(self._watched) + len(self._again)

    def watch(self, record: ContainerRecord) -> None:
        """Have the end of a container written down when it comes; if it has come already, soon."""
        try:
            watch = self._open(record)
        except (OciworksError, OSError) as error:
            logger.warning("container %s cannot be watched now: %s", record.id, error)
            self._try_again(record)
            return
        if watch is None:
            self._write_down(record)
        else:
            self._add(watch, record)

    def resolve(self, record: ContainerRecord) -> None:
        """Write down the end of a container, here and now, if it has ended or lost its shim; otherwise watch it.

        Raises what the runtime raises.
        """
        now = self._alive(record.id)
        if now is None:  # its shim may still be there
            return
        watch = self._open(now)
        if watch is None:
            self._end_without_shim(now)
        else:
            self._add(watch, now)

    def close(self) -> None:
        """Watch nothing any more, when what has been noticed is written down; again is harmless."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        os.write(self._wake, b".")
        if thread is not None:
            thread.join()
        self._writers.shutdown()
        for watch, _ in self._watched.values():
            watch.close()
        self._watched.clear()
        self._poll.close()
        os.close(self._woken)
        os.close(self._wake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, record: ContainerRecord) -> ExitWatch | None:
        """A watch; None when there is no shim, or no container at all."""
        container = self._find(record)
        return container.watch_exit() if container is not None else None

    def _find(self, record: ContainerRecord) -> OCIContainer | None:
        try:
            return self._handlers.get(record.handler).get(record.id)
        except ContainerNotFound:
            return None

    def _add(self, watch: ExitWatch, record: ContainerRecord) -> None:
        with self._guard:
            if self._closed:
                watch.close()
                return
            self._again.done(record.id)
            self._watched[watch.fileno()] = (watch, record)
            self._poll.register(watch.fileno(), select.EPOLLIN)
            self._begin()

    def _try_again(self, record: ContainerRecord) -> None:
        with self._guard:
            if self._closed:
                return
            self._again.add(record.id, record)
            self._begin()
        os.write(self._wake, b".")

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ociworks-monitor", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            with self._guard:
                left = self._again.left()
            for fd, _ in self._poll.poll(left):
                if fd == self._woken:
                    os.read(self._woken, 4096)
                else:
                    self._spoken(fd)
            self._retry()

    def _spoken(self, fd: int) -> None:
        """A shim said that its container has ended, or is gone."""
        with self._guard:
            watch, record = self._watched.pop(fd)
            self._poll.unregister(fd)
        watch.close()
        self._write_down(record)

    def _retry(self) -> None:
        with self._guard:
            due = self._again.due()
        for record in due:
            self.watch(record)

    def _write_down(self, record: ContainerRecord) -> None:
        with self._guard, contextlib.suppress(RuntimeError):  # at its end it takes no more
            self._writers.submit(self._resolve, record)

    def _resolve(self, record: ContainerRecord) -> None:
        """In a writer: the end of one container, whatever happens to it."""
        try:
            now = self._alive(record.id)
            if now is None:
                self._forget(record)
                return
            watch = self._open(now)
            if watch is None:
                self._end_without_shim(now)
                self._forget(record)
            else:
                watch.close()  # the shim is there, but had no room for us
                self._try_again(now)
        except (OciworksError, OSError) as error:
            logger.warning("container %s: its end cannot be recorded now: %s", record.id, error)
            self._try_again(record)
        except Exception:  # the boundary of a thread
            logger.exception("container %s: its end was not recorded", record.id)

    def _alive(self, id: str) -> ContainerRecord | None:
        """Its record, when it has something to end; otherwise its end is written down now."""
        now = self._settle(id)
        return now if now is not None and _has_process(now) else None

    def _forget(self, record: ContainerRecord) -> None:
        with self._guard:
            self._again.done(record.id)

    def _end_without_shim(self, record: ContainerRecord) -> None:
        """It runs, but nobody reads what it writes or will know how it ends (ADR 25): it is ended."""
        if self._alive(record.id) is None:  # it ended, and its shim after it, since we looked
            return
        container = self._find(record)
        if container is not None:
            logger.warning("container %s: its shim was killed, so it is ended", record.id)
            with contextlib.suppress(ContainerError):
                container.kill("KILL", all=True)
            with contextlib.suppress(ContainerError, ContainerTimeout):
                container.wait(_AFTER_KILL)
        now = self._settle(record.id)
        if now is not None and now.phase in _ALIVE:
            raise ContainerError(f"container {record.id} was killed and is not gone")


def _has_process(record: ContainerRecord) -> bool:
    """Whether there is something to end: not of one that has, nor of one whose program cannot be started."""
    return record.phase in _ALIVE and not record.reason
