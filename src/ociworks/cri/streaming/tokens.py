"""Who has a token may run a program in a container: it is long, works once, and not for long."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from ociworks.errors import TooMany

__all__ = ["Tokens"]

LIFETIME: Final = 60.0
"""Seconds."""
PENDING: Final = 1000
"""Tokens that wait to be used."""
T = TypeVar("T")


class Tokens(Generic[T]):
    """Requests that wait for their connection, by kind and token. For several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, str], tuple[float, T]] = {}
        """In the order in which they end."""

    def issue(self, kind: str, request: T) -> str:
        """A new token of 256 bits for a request of this kind. TooMany when a thousand wait."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._expire()
            if len(self._pending) >= PENDING:
                raise TooMany(f"expected at most {PENDING} requests that wait for their connection")
            self._pending[kind, token] = self._clock() + LIFETIME, request
        return token

    def take(self, kind: str, token: str) -> T | None:
        """The request, for the first who asks; None for anything else."""
        with self._lock:
            self._expire()
            found = self._pending.pop((kind, token), None)
        return found[1] if found is not None else None

    def __len__(self) -> int:
        return len(self._pending)

    def _expire(self) -> None:
        now = self._clock()
        while self._pending:
            first = next(iter(self._pending))
            if self._pending[first][0] > now:
                return
            del self._pending[first]
