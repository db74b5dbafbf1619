"""How many processors something keeps busy, from what it has used up to now."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from typing import Final

__all__ = ["Rates"]

_SECOND: Final = 1_000_000_000
_FEW: Final = 10


class Rates:
    """Rates over the last ``period`` seconds or the time since the reading before, whichever is longer.

    Of the first reading of all, it is the average since the start: there is a rate from the first call on.
    """

    def __init__(self, period: int) -> None:
        self._period = period * _SECOND
        self._lock = threading.Lock()
        self._readings: dict[str, deque[tuple[int, int]]] = {}

    def of(self, name: str, at: int, used: int, since: int) -> int:
        """Nanoseconds of processor time a second; ``at`` and ``since`` (its start) are nanoseconds since 1970."""
        with self._lock:
            readings = self._readings.setdefault(name, deque())
            while len(readings) > 1 and at - readings[1][0] >= self._period:
                readings.popleft()
            before = readings[0] if readings and readings[0][0] < at else (since, 0)
            if not readings or at - readings[-1][0] >= self._period // _FEW:
                readings.append((at, used))
        elapsed = at - before[0]
        return max(used - before[1], 0) * _SECOND // elapsed if elapsed > 0 else 0

    def keep(self, names: Collection[str]) -> None:
        """Forget all others."""
        with self._lock:
            for name in self._readings.keys() - set(names):
                del self._readings[name]
