"""What could not be done and is to be tried again: soon at first, then less and less often."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from attrs import define, field

__all__ = ["Again"]

FIRST: Final = 1.0
LONGEST: Final = 60.0
"""Seconds until the first further attempt, and until each one in the end."""
T = TypeVar("T")


@define
class Again(Generic[T]):
    """Things by name, each with the time of its next attempt. Of one thread at a time."""

    first: float = FIRST
    clock: Callable[[], float] = time.monotonic
    _waiting: dict[str, tuple[float, T]] = field(init=False, factory=dict)
    _delays: dict[str, float] = field(init=False, factory=dict)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, name: str, thing: T) -> None:
        """It failed: try again after twice as long as the last time."""
        delay = self._delays.get(name, self.first)
        self._delays[name] = min(2 * delay, LONGEST)
        self._waiting[name] = (self.clock() + delay, thing)

    def done(self, name: str) -> None:
        """It succeeded, or is nobody's matter any more."""
        self._delays.pop(name, None)
        self._waiting.pop(name, None)

    def left(self) -> float | None:
        """Seconds until something is due; None: nothing waits."""
        if not self._waiting:
            return None
        return max(0.0, min(due for due, _ in self._waiting.values()) - self.clock())

    def due(self) -> list[T]:
        """Those whose time has come; they wait no more."""
        now = self.clock()
        names = [name for name, (due, _) in self._waiting.items() if due <= now]
        return [self._waiting.pop(name)[1] for name in names]
