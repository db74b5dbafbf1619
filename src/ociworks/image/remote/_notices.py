"""What a registry says beside its answers: warnings for people, and how many requests are left."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from attrs import frozen

from ociworks.errors import SpecError, quote
from ociworks.spec.numbers import parse_uint

if TYPE_CHECKING:
    from ociworks.image.remote._messages import Headers

__all__ = ["Notice", "Notices", "RateLimit", "rate_limit"]

_logger = logging.getLogger(__name__)

_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"', re.ASCII)
_MAX_TEXT: Final = 4096
"""Bytes of warnings in one response (distribution-spec, Warnings)."""
_MAX_KEPT: Final = 1000
_MAX_NUMBER: Final = 10**12


@frozen
class Notice:
    """A warning of a registry (distribution-spec, Warnings). ``text`` is its own, only bounded: escape it."""

    registry: str
    text: str


@frozen
class RateLimit:
    """How many requests a registry allows (``RateLimit-Limit``, ``RateLimit-Remaining``)."""

    limit: int | None
    remaining: int | None
    window: int | None
    """Seconds that the limit is for."""

    def __str__(self) -> str:
        left = "" if self.remaining is None else f"{self.remaining} requests left"
        limit = "" if self.limit is None else f"{self.limit} allowed"
        window = "" if self.window is None else f" in {self.window} s"
        return " of ".join(filter(None, [left, limit])) + window


def rate_limit(headers: Headers) -> RateLimit | None:
    """What the headers say of a limit, in either spelling; None when they say nothing that can be read."""
    limit, window = _counted(headers, "limit")
    remaining, other = _counted(headers, "remaining")
    if limit is None and remaining is None:
        return None
    return RateLimit(limit, remaining, window if window is not None else other)


def _counted(headers: Headers, what: str) -> tuple[int | None, int | None]:
    """``100;w=21600``: the number, and the window of seconds."""
    values = headers.all(f"ratelimit-{what}") or headers.all(f"x-ratelimit-{what}")
    if not values:
        return None, None
    number, _, window = values[0].partition(";")
    return _uint(number), _uint(window.strip().removeprefix("w="))


def _uint(text: str) -> int | None:
    try:
        return parse_uint(text.strip(), _MAX_NUMBER)
    except SpecError:
        return None


@final
class Notices:
    """Collects what registries say; each warning is passed on once. Safe for several threads."""

    def __init__(self, callback: Callable[[Notice], None] | None) -> None:
        self._callback = callback
        self._seen: set[Notice] = set()
        self._limits: dict[str, RateLimit] = {}
        self._lock = threading.Lock()

    def hear(self, registry: str, headers: Headers) -> None:
        """Look at the headers of one response."""
        limit = rate_limit(headers)
        if limit is not None:
            with self._lock:
                self._limits[registry] = limit
        for text in _warnings(headers):
            self._pass_on(Notice(registry, text))

    def limit_of(self, registry: str) -> RateLimit | None:
        """The limit that this registry stated last."""
        with self._lock:
            return self._limits.get(registry)

    def _pass_on(self, notice: Notice) -> None:
        with self._lock:
            if notice in self._seen or len(self._seen) >= _MAX_KEPT:
                return
            self._seen.add(notice)
        _logger.warning("%s says: %s", notice.registry, quote(notice.text))
        if self._callback is not None:
            self._callback(notice)


def _warnings(headers: Headers) -> list[str]:
    """Their texts; what is no warning by the specification, or too much of it, is not passed on."""
    found, size = [], 0
    for value in headers.all("warning"):
        match = _WARNING.fullmatch(value.strip())
        if match is None:
            continue
        size += len(match[1])
        if size > _MAX_TEXT:
            break
        found.append(re.sub(r"\\(.)", r"\1", match[1]))
    return found
