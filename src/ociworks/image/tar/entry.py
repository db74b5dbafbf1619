"""One entry of an archive as a value."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

__all__ = ["NO_XATTRS", "EntryType", "TarEntry"]

EntryType = Literal["file", "hardlink", "symlink", "char", "block", "directory", "fifo"]
"""What an entry creates."""

NO_XATTRS: Final[Mapping[bytes, bytes]] = MappingProxyType({})


class TarEntry(NamedTuple):
    """One entry, with the effective values of ustar, GNU and PAX headers. Names are bytes, as on disk.

    A named tuple, not an attrs class: archives have tens of thousands of entries, and this is made ten times faster.
    """

    parts: tuple[bytes, ...]
    """The name's components, without ``.`` and leading slashes; empty for the root. Never ``..`` or a NUL."""
    type: EntryType
    mode: int
    """Permission bits with set-uid, set-gid and sticky: 0 … 0o7777."""
    uid: int
    gid: int
    size: int
    """Bytes of content, holes included; 0 for everything but files."""
    mtime_ns: int
    """Nanoseconds since 1970, within 64 signed bits."""
    target: bytes
    """The text of a symlink, or the name of a hard link's target; else empty."""
    device: tuple[int, int]
    """Major and minor number of a device; else (0, 0)."""
    xattrs: Mapping[bytes, bytes]
    extents: tuple[tuple[int, int], ...] | None = None
    """Offset and size of what is stored of a sparse file, in order; None for every other entry."""

    @property
    def path(self) -> bytes:
        """The components joined; ``.`` for the root. For messages and comparisons."""
        return b"/".join(self.parts) or b"."
