"""Layers from directories, from files in memory, and from archives that exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ociworks.errors import LimitExceeded, SpecError, quote
from ociworks.image._pack.builder import MEDIA_TYPES, HashingSink, LayerBuilder, SpooledLayer
from ociworks.image._pack.overlay import upper_entries
from ociworks.image._pack.spool import Spool
from ociworks.image._pack.tree import TreeOptions, tree_entries
from ociworks.image.tar.compress import compress_to
from ociworks.image.tar.compression import decompress, sniff
from ociworks.image.tar.entry import NO_XATTRS, TarEntry
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits
from ociworks.image.tar.names import split_name
from ociworks.image.tar.reader import TarReader
from ociworks.spec.digest import CHUNK
from ociworks.spec.image import Descriptor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ociworks.image.tar.entry import EntryType
    from ociworks.image.types import Layer
    from ociworks.spec.digest import BytesLike, Readable
    from ociworks.spec.image.mediatypes import Compression

__all__ = [
    "File",
    "LayerOptions",
    "file_entries",
    "layer_from_directory",
    "layer_from_entries",
    "layer_from_files",
    "layer_from_overlay_upper",
    "layer_from_tar",
]

Parts = tuple[bytes, ...]

_NANO: Final = 1_000_000_000
_HEAD: Final = 10
_WELL_KNOWN: Final[dict[Parts, int]] = {
    (b"root",): 0o700,
    (b"tmp",): 0o1777,
    (b"var", b"tmp"): 0o1777,
}
"""Directories whose mode is not 0755 in any image."""


@frozen
class File:
    """A file of a layer: its content, or where it links to, with its permissions and owner."""

    content: bytes = b""
    mode: int = 0o644
    link: str | None = None
    """The target of a symbolic link; the content must then be empty."""
    uid: int = 0
    gid: int = 0


@frozen(kw_only=True)
class LayerOptions:
    """What is seldom chosen when a layer is made."""

    level: int | None = None
    """How hard to compress: 1 to 9 (gzip, default 4) or 1 to 19 (zstd, default 3)."""
    xattrs: bool = False
    """Keep extended attributes: ``user.*`` and ``security.capability``. They differ from machine to machine."""
    parents: bool = True
    """Describe the directories above: 0755 and root's, ``tmp`` and ``root`` as they always are.

    Without it a base image's directories stay as they are, but Docker's older stores make missing ones with a mode
    that locks everybody out.
    """
    limits: Limits = DEFAULT_LIMITS
    """No layer is made that these would not let in again."""
    skipped: Callable[[bytes, str], None] | None = None
    """Called with path and reason for everything that is left out (sockets)."""


def layer_from_entries(
    entries: Iterable[tuple[TarEntry, Iterable[BytesLike]]],
    compression: Compression = "gzip",
    level: int | None = None,
) -> Layer:
    """A layer of these entries and their content, in their order; each content is read before the next entry."""
    with LayerBuilder(compression=compression, level=level) as builder:
        for entry, content in entries:
            builder.add(entry, content)
        return builder.finish()


def layer_from_directory(
    path: str | os.PathLike[str],
    at: str,
    owner: tuple[int, int] | None,
    mtime: int | None,
    compression: Compression,
    options: LayerOptions,
) -> Layer:
    """See :meth:`ociworks.image.types.Layer.from_directory`."""
    tree = TreeOptions(
        owner=owner,
        mtime_ns=None if mtime is None else mtime * _NANO,
        xattrs=options.xattrs,
        limits=options.limits,
        skipped=options.skipped,
    )
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        top = split_name(os.fsencode(at), options.limits)
        above = parent_entries([top], (mtime or 0) * _NANO) if options.parents else ()
        entries = chain(((entry, ()) for entry in above), tree_entries(fd, top, tree))
        return layer_from_entries(entries, compression, options.level)
    finally:
        os.close(fd)


def layer_from_overlay_upper(
    path: str | os.PathLike[str], compression: Compression, options: LayerOptions
) -> Layer:
    """See :meth:`ociworks.image.types.Layer.from_overlay_upper`."""
    tree = TreeOptions(xattrs=True, limits=options.limits, skipped=options.skipped)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return layer_from_entries(upper_entries(fd, tree), compression, options.level)
    finally:
        os.close(fd)


def layer_from_files(
    files: Mapping[str, bytes | File], mtime: int, compression: Compression, options: LayerOptions
) -> Layer:
    """See :meth:`ociworks.image.types.Layer.from_files`."""
    entries = file_entries(files, mtime, options.limits, parents=options.parents)
    return layer_from_entries(entries, compression, options.level)


def file_entries(
    files: Mapping[str, bytes | File],
    mtime: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    *,
    parents: bool = True,
) -> Iterator[tuple[TarEntry, tuple[bytes, ...]]]:
    """Entries and content, sorted by their components; with the directories above that are not given themselves."""
    paths: dict[Parts, str] = {}
    for path in files:
        parts = split_name(os.fsencode(path), limits)
        if parts in paths:
            raise SpecError(f"files: {quote(path)} and {quote(paths[parts])} are the same path")
        paths[parts] = path
    above = {entry.parts: entry for entry in parent_entries(paths, mtime * _NANO)} if parents else {}
    for parts in sorted(above.keys() | paths.keys()):
        if parts in paths:
            path = paths[parts]
            yield _file_entry(parts, files[path], mtime, is_directory=path.endswith("/"))
        else:
            yield above[parts], ()


def parent_entries(paths: Iterable[Parts], mtime_ns: int) -> Iterator[TarEntry]:
    """The directories above ``paths``, sorted."""
    for parts in sorted({path[:end] for path in paths for end in range(1, len(path))}):
        mode = _WELL_KNOWN.get(parts, 0o755)
        yield TarEntry(parts, "directory", mode, 0, 0, 0, mtime_ns, b"", (0, 0), NO_XATTRS)


def _file_entry(
    parts: tuple[bytes, ...], given: bytes | File, mtime: int, *, is_directory: bool
) -> tuple[TarEntry, tuple[bytes, ...]]:
    file = File(given, 0o755 if is_directory else 0o644) if isinstance(given, bytes) else given
    kind: EntryType = "directory" if is_directory else "file" if file.link is None else "symlink"
    if file.content and kind != "file":
        raise SpecError(f"files: {quote(b'/'.join(parts))} is a {kind}, but has content")
    target = os.fsencode(file.link or "")
    entry = TarEntry(
        parts,
        kind,
        0o777 if kind == "symlink" else file.mode,
        file.uid,
        file.gid,
        len(file.content),
        mtime * _NANO,
        target,
        (0, 0),
        NO_XATTRS,
    )
    return entry, (file.content,)


def layer_from_tar(
    source: str | os.PathLike[str] | Readable, compression: Compression | None, options: LayerOptions
) -> Layer:
    """See :meth:`ociworks.image.types.Layer.from_tar`."""
    if not isinstance(source, str | os.PathLike):
        return _from_stream(source, compression, options)
    with open(source, "rb", buffering=0) as file:
        return _from_stream(file, compression, options)


def _from_stream(source: Readable, wanted: Compression | None, options: LayerOptions) -> Layer:
    """One pass: what is read is kept or compressed anew, decompressed, hashed, and looked over as an archive."""
    head = _read_head(source)
    found = sniff(head)
    spool = Spool()
    kept = HashingSink(spool)
    if wanted is None or wanted == found:
        tee = _Tee(head, source, kept.write)
        diff = HashingSink(_Nowhere())
        _drain(tee, found, diff.write, options.limits)
    else:
        encoder = compress_to(kept, wanted, options.level)
        try:
            diff = HashingSink(encoder)
            _drain(_Tee(head, source, _Nowhere().write), found, diff.write, options.limits)
            encoder.close()
        finally:
            encoder.abort()
    descriptor = Descriptor(media_type=MEDIA_TYPES[wanted or found], digest=kept.digest, size=kept.size)
    return SpooledLayer(descriptor, diff.digest, spool)


def _read_head(source: Readable) -> bytes:
    head = b""
    while len(head) < _HEAD and (more := source.read(_HEAD - len(head))):
        head += more
    return head


def _drain(tee: _Tee, compression: Compression, write: Callable[[bytes], object], limits: Limits) -> None:
    """Read an archive to its proven end. What no reader would take back is an error now, not on some other machine."""
    with decompress(tee, compression, limits) as stream:
        archive = _Tee(b"", stream, write, limits.unpacked_bytes_per_layer)
        for count, _ in enumerate(TarReader(archive, limits), 1):
            if count > limits.entries_per_layer:
                raise LimitExceeded("entries of a layer", "entries_per_layer", limits.entries_per_layer)


class _Tee:
    """A reader that shows ``write`` everything it hands on."""

    def __init__(
        self, head: bytes, source: Readable, write: Callable[[bytes], object], maximum: int | None = None
    ) -> None:
        self._head = head
        self._source = source
        self._write = write
        self._maximum = maximum
        self._size = 0

    def read(self, size: int, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._source.read(min(size, 4 * CHUNK))
        self._size += len(data)
        if self._maximum is not None and self._size > self._maximum:
            raise LimitExceeded("bytes of a layer", "unpacked_bytes_per_layer", self._maximum)
        self._write(data)
        return data


class _Nowhere:
    def write(self, data: BytesLike, /) -> None:
        """Not kept."""
