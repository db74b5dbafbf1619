"""The first process of a container, proved to be that process before anything is done to it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

from ociworks.errors import ContainerError, ContainerTimeout
from ociworks.runtime import state
from ociworks.runtime.launcher import reaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociworks.runtime.launcher import Spawned

__all__ = ["FirstProcess"]


class FirstProcess:
    """Known by the pidfd from its creation, or, where it was created by somebody else, by what the state file says."""

    def __init__(self, record: state.Record, spawned: Spawned | None) -> None:
        self._record = record
        self._spawned = spawned

    def alive(self) -> bool:
        """Whether it has not ended."""
        if self._spawned is not None:
            return self._spawned.alive()
        return state.is_alive(self._record)

    @contextlib.contextmanager
    def pidfd(self) -> Iterator[int]:
        """A pidfd of it: the one from its creation, or a new one. ContainerError when it has ended."""
        if self._spawned is not None:
            yield self._spawned.pidfd
            return
        pidfd = os.pidfd_open(self._record.pid)
        try:
            if not state.is_alive(self._record):
                raise ContainerError(f"container {self._record.id} has ended")
            yield pidfd
        finally:
            os.close(pidfd)

    @contextlib.contextmanager
    def root(self) -> Iterator[int]:
        """A descriptor of the container's root as this process has it."""
        with self.pidfd() as pidfd:
            fd = os.open(f"/proc/{self._record.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                signal.pidfd_send_signal(pidfd, 0)  # the pid was not somebody else's by then
                yield fd
            finally:
                os.close(fd)

    def wait_foreign(self, timeout: float | None, *, reap: bool) -> int | None:
        """Wait for its end where our launcher does not; ``reap``: its status when it is our own child.

        Raises ContainerTimeout after ``timeout`` seconds.
        """
        try:
            pidfd = os.pidfd_open(self._record.pid)
        except ProcessLookupError:
            return None
        try:
            if not state.is_same(self._record):
                return None
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            if not poller.poll(None if timeout is None else timeout * 1000):
                raise ContainerTimeout(
                    f"container {self._record.id} has not ended yet", timeout=timeout or 0.0
                )
            return reaped(pidfd) if reap else None
        finally:
            os.close(pidfd)
