"""Tokens that may still be used: by origin, service, scope and credential, never across any of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from attrs import frozen

from ociworks.image.auth.bearer import Token
from ociworks.image.auth.credentials import Credential
from ociworks.image.auth.secret import Secret
from ociworks.image.origin import Origin

__all__ = ["TokenCache", "TokenKey"]

_MARGIN = 5.0
"""Seconds before its end at which a token is no longer handed out."""


@frozen
class TokenKey:
    """What a token is for, and whose it is."""

    origin: Origin
    service: str
    scope: str
    credential: Credential | None


class TokenCache:
    """The tokens of one client; safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens: dict[TokenKey, tuple[Secret, float]] = {}
        self._lock = threading.Lock()
        self._clock = clock

    def get(self, key: TokenKey) -> Secret | None:
        """The token for exactly this key, while it lasts."""
        with self._lock:
            value, end = self._tokens.get(key, (None, 0.0))
            if value is not None and self._clock() >= end:
                del self._tokens[key]
                return None
            return value

    def put(self, key: TokenKey, token: Token, requested: float) -> None:
        """Keep a token that was asked for at ``requested`` (by this cache's clock)."""
        with self._lock:
            self._tokens[key] = (token.value, requested + token.lifetime - _MARGIN)

    def drop(self, key: TokenKey, value: Secret) -> None:
        """Forget a token that was refused, unless another thread has put a newer one."""
        with self._lock:
            found = self._tokens.get(key)
            if found is not None and found[0] == value:
                del self._tokens[key]

    def now(self) -> float:
        """The cache's clock."""
        return self._clock()
