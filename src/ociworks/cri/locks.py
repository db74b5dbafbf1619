"""One lock for each pod and container, made when it is first asked for and forgotten when nobody holds it.

Order: a pod's before its containers'; never two pods at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["KeyedLocks"]


class KeyedLocks:
    """Locks by name. A thread may hold one more than once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.RLock, int]] = {}

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Hold the lock of ``key``; waits while another thread does."""
        lock = self._take(key)
        try:
            with lock:
                yield
        finally:
            self._give(key)

    def __len__(self) -> int:
        return len(self._locks)

    def _take(self, key: str) -> threading.RLock:
        with self._guard:
            lock, users = self._locks.get(key) or (threading.RLock(), 0)
            self._locks[key] = (lock, users + 1)
            return lock

    def _give(self, key: str) -> None:
        with self._guard:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)
