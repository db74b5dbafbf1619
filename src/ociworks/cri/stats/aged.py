"""Values that are dear to make and may be a little old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Final, Generic, TypeVar

__all__ = ["Aged"]

_RARELY: Final = 20
V = TypeVar("V")


class Aged(Generic[V]):
    """Values by name, each made again after ``period`` seconds, and after twenty times what it took to make it.

    So that making them never is most of what this machine does, whatever a container does to make it slow.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._lock = threading.Lock()
        self._values: dict[str, tuple[float, V]] = {}

    def get(self, name: str, make: Callable[[], V]) -> V:
        """The value, if need be a new one; what making it raises."""
        began = time.monotonic()
        found = self._values.get(name)
        if found is not None and began < found[0]:
            return found[1]
        value = make()
        ended = time.monotonic()
        with self._lock:
            self._values[name] = (ended + max(self._period, _RARELY * (ended - began)), value)
        return value

    def keep(self, names: Collection[str]) -> None:
        """Forget all others."""
        with self._lock:
            self._values = {name: value for name, value in self._values.items() if name in names}
