"""Whiteouts: how a layer deletes what lower layers have (image-spec layer.md, Whiteouts).

===================  ==================================================================================
last component       meaning
===================  ==================================================================================
``.wh.NAME``         ``NAME`` of the lower layers is gone
``.wh..wh..opq``     everything of the lower layers in this directory is gone
``.wh..wh.…``        left over by AUFS: passed by, never created
anything else        an ordinary entry
===================  ==================================================================================

Only empty regular files are whiteouts. The order of a layer's entries does not matter to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from ociworks.errors import TarError, quote

if TYPE_CHECKING:
    from ociworks.image.tar.entry import TarEntry

__all__ = ["OPAQUE", "PREFIX", "WhiteoutKind", "classify", "whiteout_target"]

PREFIX: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"
_AUFS: Final = b".wh..wh."

WhiteoutKind = Literal["none", "whiteout", "opaque", "ignored"]


def classify(entry: TarEntry) -> WhiteoutKind:
    """What an entry means; TarError for an illegal whiteout, or anything below a name with the prefix."""
    if PREFIX not in b"/".join(entry.parts) or not any(part.startswith(PREFIX) for part in entry.parts):
        return "none"  # the first question is cheap, and answers for nearly every entry
    *parents, last = entry.parts
    if any(part.startswith(_AUFS) and part != OPAQUE for part in entry.parts):
        return "ignored"
    if any(part.startswith(PREFIX) for part in parents):
        raise TarError("below a whiteout", quote(entry.path))
    if entry.type != "file" or entry.size:
        raise TarError("a whiteout that is not an empty regular file", quote(entry.path))
    if last == OPAQUE:
        return "opaque"
    if last[len(PREFIX) :] in (b"", b".", b".."):
        raise TarError("a whiteout of no name", quote(entry.path))
    return "whiteout"


def whiteout_target(name: bytes) -> bytes:
    """The name that a whiteout deletes."""
    return name[len(PREFIX) :]
