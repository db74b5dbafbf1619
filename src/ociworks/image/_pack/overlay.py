"""The upper directory of an overlay mount as a layer (Documentation/filesystems/overlayfs.rst; image-spec layer.md).

==============================================  =================================================
in the upper directory                          in the layer
==============================================  =================================================
character device 0:0                            ``.wh.NAME``
empty file with ``overlay.whiteout``            ``.wh.NAME`` (Linux 6.7, below ``opaque`` = ``x``)
directory with ``overlay.opaque`` = ``y``       the directory, and ``.wh..wh..opq`` in it
``overlay.redirect``, ``overlay.metacopy``      refused: name or content are somewhere else
other ``overlay.…``                             overlayfs's notes to itself, left out
everything else                                 itself
==============================================  =================================================

The attributes begin with ``trusted.``, which only root sees, or with ``user.`` on mounts with ``userxattr``.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from ociworks.errors import LayerError, quote
from ociworks.image._pack.tree import all_xattrs, entry_of, walk, with_content
from ociworks.image.tar.entry import NO_XATTRS, TarEntry
from ociworks.image.tar.whiteout import OPAQUE, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ociworks.image._pack.tree import Content, Found, Parts, TreeOptions

__all__ = ["upper_entries", "whiteout"]

_SPACES: Final = (b"trusted.overlay.", b"user.overlay.")
_ELSEWHERE: Final = {
    b"redirect": "was renamed by a mount with redirect_dir=on: its content is below its old name",
    b"metacopy": "has only its metadata here (metacopy=on)",
}


def whiteout(directory: Parts, name: bytes) -> TarEntry:
    """The entry that deletes ``name``; with :data:`~ociworks.image.tar.whiteout.OPAQUE` as it is, the opaque marker."""
    marker = name if name == OPAQUE else PREFIX + name
    return TarEntry((*directory, marker), "file", 0o644, 0, 0, 0, 0, b"", (0, 0), NO_XATTRS)


def upper_entries(rootfd: int, options: TreeOptions) -> Iterator[tuple[TarEntry, Content]]:
    """The entries of a layer that does to the layers below what the upper directory at ``rootfd`` does."""
    names: dict[tuple[int, int], Parts] = {}
    for found in walk(rootfd, options.limits):
        notes = _notes(found)
        _refuse(found, notes)
        if _is_whiteout(found, notes):
            yield whiteout(found.parts[:-1], found.parts[-1]), ()
            continue
        entry = entry_of(found, (), options, names)
        if entry is None:
            continue
        yield from with_content(found, entry)
        if notes.get(b"opaque") == b"y" and found.is_directory:
            yield whiteout(found.parts, OPAQUE), ()


def _notes(found: Found) -> Mapping[bytes, bytes]:
    """Overlayfs's attributes by their last part. Links and nodes have none that matter."""
    if not (found.is_directory or stat.S_ISREG(found.info.st_mode)):
        return {}
    return {
        name[len(space) :]: value
        for name, value in all_xattrs(found).items()
        for space in _SPACES
        if name.startswith(space)
    }


def _refuse(found: Found, notes: Mapping[bytes, bytes]) -> None:
    for note, why in _ELSEWHERE.items():
        if note in notes:
            shown = quote(b"/".join(found.parts))
            raise LayerError(f"{shown} {why}; make the layer from the mounted tree, with repack")


def _is_whiteout(found: Found, notes: Mapping[bytes, bytes]) -> bool:
    if stat.S_ISCHR(found.info.st_mode):
        return found.info.st_rdev == 0
    return b"whiteout" in notes and stat.S_ISREG(found.info.st_mode) and not found.info.st_size
