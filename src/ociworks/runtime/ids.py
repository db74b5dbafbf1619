"""Container IDs: the one type of name that may become a directory (CL-01)."""

from __future__ import annotations

import re
import secrets
from typing import Final

from ociworks.errors import ContainerError, quote

__all__ = ["check_id", "new_id"]

_ID: Final = re.compile(r"[A-Za-z0-9_+.-]{1,255}", re.ASCII)


def check_id(text: str) -> str:
    """``text`` when it is a container ID: 1 to 255 of ``A-Z a-z 0-9 _ + - .``, not ``.`` or ``..``.

    Raises ContainerError otherwise.
    """
    if not _ID.fullmatch(text) or text in (".", ".."):
        raise ContainerError(
            f"container ID: expected 1 to 255 of A-Z a-z 0-9 _ + - . but not '.' or '..', got {quote(text)}"
        )
    return text


def new_id() -> str:
    """A fresh random ID of 16 hexadecimal digits."""
    return secrets.token_hex(8)
