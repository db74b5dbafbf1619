"""Names in archives: bytes in, components out. What this refuses never reaches the file system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ociworks.errors import LimitExceeded, TarError, quote

if TYPE_CHECKING:
    from ociworks.image.tar.limits import Limits

__all__ = ["split_name"]

_EMPTY: Final = frozenset((b"", b"."))


def split_name(name: bytes, limits: Limits) -> tuple[bytes, ...]:
    """The components of ``name`` without leading slashes, empty ones and ``.``; none at all for the root.

    Raises TarError for ``..`` anywhere and for NUL, LimitExceeded for length and depth. All other bytes are legal.
    """
    parts = tuple([part for part in name.split(b"/") if part not in _EMPTY])
    if b".." in parts:
        raise TarError("'..' in a name", quote(name))
    if b"\0" in name:
        raise TarError("NUL in a name", quote(name))
    if len(name) > limits.component_bytes:
        _check_lengths(name, parts, limits)
    if len(parts) > limits.depth:
        raise LimitExceeded(f"components of {quote(name)}", "depth", limits.depth)
    return parts


def _check_lengths(name: bytes, parts: tuple[bytes, ...], limits: Limits) -> None:
    if len(name) > limits.path_bytes:
        raise LimitExceeded(f"bytes of the name {quote(name)}", "path_bytes", limits.path_bytes)
    if any(len(part) > limits.component_bytes for part in parts):
        raise LimitExceeded(
            f"bytes of a component of {quote(name)}", "component_bytes", limits.component_bytes
        )
