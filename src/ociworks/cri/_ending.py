"""The end of the server, for those who wait for what may be long in coming: they let go, and the client tries again."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from ociworks.errors import ServerEnding

__all__ = ["Ending"]

_LONGEST: Final = 24 * 3600.0
"""Seconds of one wait: the kernel takes no more than some weeks."""


class _Readable(Protocol):
    def fileno(self) -> int:
        """A descriptor for poll."""


class Ending:
    """Whether the server is about to end. Any thread may call anything, at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = math.inf
        self._bells: set[int] = set()

    def begin(self) -> None:
        """Nobody shall wait any more; again is harmless."""
        with self._lock:
            self._begun = min(self._begun, time.monotonic())
            for bell in self._bells:
                os.eventfd_write(bell, 1)

    def check(self, spare: float = 0.0) -> None:
        """Raise ServerEnding ``spare`` seconds after the server began to end."""
        if time.monotonic() >= self._begun + spare:
            raise ServerEnding("the server ends, and this takes longer: ask the next one")

    def until_readable(self, subject: _Readable, seconds: float, *, spare: float = 0.0) -> bool:
        """Wait until it is readable; False after ``seconds``, or after a day. Raises as :meth:`check`."""
        deadline = time.monotonic() + min(seconds, _LONGEST)
        poller = select.poll()
        poller.register(subject.fileno(), select.POLLIN)
        with self._bell() as bell:
            poller.register(bell, select.POLLIN)
            ready = [fd for fd, _ in poller.poll(_milliseconds(deadline))]
            poller.unregister(bell)
        if ready == [bell]:
            ready = [fd for fd, _ in poller.poll(_milliseconds(min(self._begun + spare, deadline)))]
        if not ready:
            self.check(spare)
        return bool(ready)

    @contextmanager
    def _bell(self) -> Iterator[int]:
        """A descriptor that is readable once the end has begun."""
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with self._lock:
                self._bells.add(bell)
                if self._begun < math.inf:
                    os.eventfd_write(bell, 1)
            yield bell
        finally:
            with self._lock:
                self._bells.discard(bell)
            os.close(bell)


def _milliseconds(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic()) * 1000
