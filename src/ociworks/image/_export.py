"""The file system of an image as one archive: all layers merged, nothing of them left but what is visible.

Every layer is read twice, each time verified: once for the entries, and once for the contents that are still visible.
One pass from the top would do for most images, but neither for links among the parents of an entry nor for hard links
to files that a higher layer replaced; here both come out as unpacking makes them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ociworks.image import _files
from ociworks.image._delta import changed_entries
from ociworks.image.tar.limits import DEFAULT_LIMITS
from ociworks.image.tar.writer import TarWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ociworks.image.tar.entry import TarEntry
    from ociworks.image.tar.limits import Limits
    from ociworks.image.tar.writer import Writable
    from ociworks.image.types import Image, Layer

__all__ = ["export", "merged_entries"]


def export(img: Image, target: str | os.PathLike[str] | Writable, *, limits: Limits = DEFAULT_LIMITS) -> None:
    """Write the file system of ``img`` as one plain tar archive to a path or a binary stream.

    The same image gives the same bytes. Directories come first, so GNU tar keeps their times only with
    ``--delay-directory-restore``. A path is replaced when the archive is whole; a stream is not closed. Raises
    :class:`ociworks.errors.LayerError`, :class:`ociworks.errors.ContentError`,
    :class:`ociworks.errors.LimitExceeded` and ``OSError``; what a stream got until then is not an archive.
    """
    if isinstance(target, str | os.PathLike):
        _export_file(img, target, limits)
    else:
        _write(img, target, limits)


def merged_entries(
    layers: Sequence[Layer], limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[TarEntry, Iterable[memoryview]]]:
    """The entries that ``layers``, base first, come to, with content; each content is read before the next entry.

    First the root if a layer describes it, then directories, links, devices and empty files, sorted; then the files
    in the order of the layers, each followed by its further names as hard links. No whiteouts: nothing is below.
    Raises like :func:`export`; the entries are proved when the iteration has ended.
    """
    return changed_entries(layers, 0, limits)


def _write(img: Image, sink: Writable, limits: Limits) -> None:
    with TarWriter(sink) as writer:
        for entry, content in merged_entries(img.layers, limits):
            writer.add(entry, content)


def _export_file(img: Image, path: str | os.PathLike[str], limits: Limits) -> None:
    """Beside the path, and renamed when it is whole."""
    folder, name = os.path.split(os.path.abspath(path))
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd, temporary = _files.create_locked(parent, f".{name[:40]}.new-")
        with os.fdopen(fd, "wb", buffering=1 << 20) as file:
            try:
                _write(img, file, limits)
                file.flush()
                os.fsync(fd)
                os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(temporary, dir_fd=parent)
                raise
    finally:
        os.close(parent)
