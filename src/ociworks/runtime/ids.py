"""Container IDs: the one type of name that may become a directory (CL-01)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["check_id", "new_id"]

_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")
_LONGEST: Final = 255


def check_id(text: str) -> str:
    """``text`` when it is a container ID: 1 to 255 of ``A-Z a-z 0-9 _ + - .``, not ``.`` or ``..``.

    Raises ContainerError otherwise.
    """
    if 1 <= len(text) <= _LONGEST and _LETTERS.issuperset(text) and text not in (".", ".."):
        return text
    from ociworks.errors import ContainerError, quote

    raise ContainerError(
        f"container ID: expected 1 to 255 of A-Z a-z 0-9 _ + - . but not '.' or '..', got {quote(text)}"
    )


def new_id() -> str:
    """A fresh random ID of 16 hexadecimal digits."""
    return os.urandom(8).hex()
