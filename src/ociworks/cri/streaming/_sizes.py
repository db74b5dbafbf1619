"""Sizes of terminals, as clients announce them: JSON documents one after another, of which the latest counts."""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

__all__ = ["Size", "Sizes"]

_DOCUMENT: Final = re.compile(rb"\{[^{}]*\}")
_MOST: Final = 1024
"""Bytes of one document."""


class Size(NamedTuple):
    """In characters."""

    width: int
    height: int


class Sizes:
    """Collects what arrives; anything that is no size is passed over."""

    def __init__(self) -> None:
        self._rest = b""

    def receive(self, data: bytes) -> Size | None:
        """The latest whole size in it, if there is one."""
        text = self._rest + data
        documents = _DOCUMENT.findall(text)
        self._rest = text[text.rfind(b"}") + 1 :][-_MOST:]
        sizes = (found for document in reversed(documents) if (found := _size(document)) is not None)
        return next(sizes, None)


def _size(document: bytes) -> Size | None:
    try:
        found = json.loads(document) if len(document) <= _MOST else None
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    width, height = found.get("Width"), found.get("Height")
    if type(width) is not int or type(height) is not int:
        return None
    return Size(width, height) if 0 < width <= 0xFFFF and 0 < height <= 0xFFFF else None
