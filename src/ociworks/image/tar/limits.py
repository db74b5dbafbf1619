"""The bounds within which layers are read and unpacked, in one value."""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = ["DEFAULT_LIMITS", "Limits"]

_GIB: Final = 1 << 30


@frozen(kw_only=True)
class Limits:
    """How much a layer may ask for. Reaching a bound raises :class:`ociworks.errors.LimitExceeded` with its name.

    Sizes are bytes. The defaults let every sane image pass; raise one only for content that is trusted.
    """

    unpacked_bytes_per_layer: int = 16 * _GIB
    """Uncompressed bytes of one layer, padding included; also the largest size that an entry may claim."""
    unpacked_bytes_per_image: int = 64 * _GIB
    entries_per_layer: int = 1_000_000
    """Archive entries, together with the directories that had to be made for them."""
    entries_per_image: int = 4_000_000
    path_bytes: int = 4096
    component_bytes: int = 255
    depth: int = 256
    """Components of a path."""
    extended_headers: int = 16
    """PAX and GNU long-name headers in front of one entry."""
    extended_header_bytes: int = 1 << 20
    """Bytes of all of these together."""
    extended_records: int = 4096
    """Records in the PAX headers of one entry."""
    sparse_extents: int = 65_536
    """Stored pieces of one sparse file. Its holes count as unpacked bytes."""
    xattrs: int = 128
    """Extended attributes of one entry."""
    xattr_bytes: int = 64 * 1024
    """Bytes of one extended attribute's value."""
    gzip_header_bytes: int = 64 * 1024
    zstd_window_bytes: int = 128 << 20


DEFAULT_LIMITS: Final = Limits()
"""The bounds used when the caller names none."""
