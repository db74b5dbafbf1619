"""How much may wait for slow ports: a part that each client always has, and a spare part that all of them share."""

from __future__ import annotations

import threading
from typing import Final

__all__ = ["SPARE", "Room", "Spare"]

SPARE: Final = 1 << 26
"""Bytes."""
_OWN: Final = 1 << 18
_MOST: Final = 1 << 21
"""With what is lent to one client."""
_STEP: Final = 1 << 18


class Spare:
    """Bytes for all clients together; any thread may ask."""

    def __init__(self, size: int = SPARE) -> None:
        self._lock = threading.Lock()
        self._left = size

    def lend(self, size: int) -> bool:
        """Whether there was so much; it is the asker's now."""
        with self._lock:
            if self._left < size:
                return False
            self._left -= size
            return True

    def take_back(self, size: int) -> None:
        """It is not needed any more."""
        with self._lock:
            self._left += size


class Room:
    """What may wait for the ports of one client. For one thread; :meth:`close` gives back what was lent."""

    def __init__(self, spare: Spare) -> None:
        self._spare = spare
        self._lent = 0

    def is_left(self, waiting: int) -> bool:
        """Whether more may come while so many bytes wait. What is not needed any more is given back."""
        while self._lent and waiting + _STEP <= _OWN + self._lent - _STEP:
            self._give(_STEP)
        while waiting >= _OWN + self._lent:
            if _OWN + self._lent + _STEP > _MOST or not self._spare.lend(_STEP):
                return False
            self._lent += _STEP
        return True

    def close(self) -> None:
        """Nothing waits any more."""
        self._give(self._lent)

    def _give(self, size: int) -> None:
        self._lent -= size
        self._spare.take_back(size)
