"""Upload sessions: names that cannot be guessed, and one request at a time."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ociworks.testing._registry.refused import Refused

__all__ = ["identifier_for", "is_identifier_of", "on_hold"]

_PATIENCE: Final = 5.0


def identifier_for(name: str) -> str:
    """A new identifier for an upload into this repository: 128 random bits, and a mark of the repository."""
    return secrets.token_hex(16) + _mark(name)


def is_identifier_of(name: str, identifier: str) -> bool:
    """Whether an identifier was made for this repository."""
    return len(identifier) == 48 and identifier.endswith(_mark(name))


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


@contextmanager
def on_hold(hold: threading.Lock) -> Iterator[None]:
    """Hold an upload; a request that still has it gets a moment to end, since its client may have given up."""
    if not hold.acquire(timeout=_PATIENCE):
        raise Refused("BLOB_UPLOAD_INVALID", "another request is writing to this upload", status=409)
    try:
        yield
    finally:
        hold.release()
