"""What the registry bounds."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from ociworks.spec.image.dispatch import MAX_MANIFEST_SIZE

__all__ = ["MAX_LENGTH", "PIECE", "RegistryLimits"]

PIECE: Final = 1024 * 1024
"""Bytes that are moved at a time."""

MAX_LENGTH: Final = 2**62
"""The largest Content-Length that is read as a number at all."""


@frozen(kw_only=True)
class RegistryLimits:
    """Bounds of a registry; sizes in bytes, times in seconds."""

    head: int = 32 * 1024
    """A request's line and headers together."""
    head_timeout: float = 30.0
    """From the first byte of a request to the end of its headers."""
    idle_timeout: float = 60.0
    """Between requests, and between any two pieces of a body."""
    connections: int = 512
    """At a time; one more is answered 503."""
    manifest: int = MAX_MANIFEST_SIZE
    """Of one manifest; a larger one is answered 413."""
    blob: int = 2**40
    """Of one blob; a larger one is answered 413."""
    page: int = 1000
    """Entries of a list of tags, referrers or repositories; the next ones are behind its ``Link``."""
    upload_age: float = 24 * 3600.0
    """An upload that was not touched for so long is forgotten."""
    uploads: int = 10_000
    """Uploads under way; one more is answered 429."""
