"""A strict, iterative, bounded reader of tar streams: ustar, GNU long names, base-256, sparse files and PAX.

==================  ====================================================================================
found               becomes
==================  ====================================================================================
``0`` and NUL       a file (NUL with a trailing slash: a directory, as before POSIX)
``1`` ``2``         hard link, symlink
``3`` ``4`` ``6``   character device, block device, FIFO
``5``               directory
``S``               a sparse file; PAX records make one too (:mod:`ociworks.image.tar.sparse`)
``L`` ``K`` ``x``   name, target or records of the entry behind it: each at most once, PAX beside GNU refused
``g``               refused when it touches fields of single files, else passed by
anything else       TarError: contiguous, multi-volume and vendor types
two zero blocks     the end; only zeros may follow, and are read
==================  ====================================================================================

A bad checksum, a missing end marker, content on an entry that has none: all end the reading with
:class:`ociworks.errors.TarError`. Part of an archive is never taken for the whole.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

from ociworks.errors import LimitExceeded, TarError, quote
from ociworks.image.tar import sparse
from ociworks.image.tar._blocks import BLOCK, ZERO_BLOCK, Blocks
from ociworks.image.tar.entry import NO_XATTRS, EntryType, TarEntry
from ociworks.image.tar.limits import DEFAULT_LIMITS
from ociworks.image.tar.names import split_name
from ociworks.image.tar.numbers import MAX_ID, header_number, header_time, pax_number, pax_time
from ociworks.image.tar.pax import check_global, parse_records, xattrs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ociworks.image.tar.limits import Limits
    from ociworks.spec.digest import Readable

__all__ = ["TarReader"]

_HEADER: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x8s8s155s12s")
_TYPES: Final[dict[bytes, EntryType]] = {
    b"0": "file",
    b"\0": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
    b"S": "file",
}
_EXTENDED: Final = frozenset((b"x", b"g", b"L", b"K"))
_POSIX: Final = b"ustar\x0000"
_GNU: Final = b"ustar  \0"
_V7: Final = bytes(8)
_MAX_MODE: Final = 0o7777777
_MAX_TARGET: Final = 4095
_MAX_DEVICE: Final = (2**12 - 1, 2**20 - 1)
_ADLER: Final = 65521
_SPACES: Final = b" " * 8


class TarReader:
    """Iterate for the entries, in order; between two of them :meth:`content` yields the bytes of the last one.

    Content that is not asked for is passed by; :meth:`stored` leaves the holes of a sparse file out. Names are
    Content that is not asked for is passed by; :meth:`stored` leaves the holes of a sparse file out. Names are
    validated (no ``..``, no NUL, bounded), but nothing is said about links: that is up to whoever creates files. Where
    ``source`` is a file, ``forward`` may move it on by so many bytes, so that content is passed by without being read.
    """

    def __init__(
        self,
        source: Readable,
        limits: Limits = DEFAULT_LIMITS,
        forward: Callable[[int], object] | None = None,
    ) -> None:
        self._blocks = Blocks(source, forward)
        self._limits = limits
        self._left = 0
        self._padding = 0
        self._block = b""
        self._entry: TarEntry | None = None

    def __iter__(self) -> Iterator[TarEntry]:
        while True:
            self._finish_entry()
            extended = _Extended(self._limits)
            header = self._next_header()
            while header is not None and extended.wants(header[7]):
                extended.add(header, self._blocks)
                header = self._next_header()
            if header is None:
                extended.check_unused()
                return
            entry = _entry(header, extended, self._limits)
            self._left, self._padding = entry.size, -entry.size % BLOCK
            if header[7] == b"S" or (extended.records and sparse.is_sparse(extended.records)):
                entry = self._sparse(entry, header, extended.records)
            self._entry = entry
            yield entry

    @property
    def offset(self) -> int:
        """Where in the source the content of the entry that came last begins, or goes on."""
        return self._blocks.offset

    def content(self) -> Iterator[memoryview]:
        """The content of the entry that came last, in pieces, without copies; nothing when it was read before."""
        entry = self._entry
        if entry is None or entry.extents is None:
            return self.stored()
        self._entry = None
        return sparse.expanded(entry.extents, entry.size, self.stored())

    def stored(self) -> Iterator[memoryview]:
        """What the archive stores of it: of a sparse file the extents, one behind the other."""
        for piece in self._blocks.pieces(self._left):
            self._left -= len(piece)  # before the hand-over: a consumer may stop early
            yield piece

    def _finish_entry(self) -> None:
        rest = self._left + self._padding
        self._left = self._padding = 0
        if rest:
            self._blocks.skip(rest)

    def _sparse(self, entry: TarEntry, header: tuple[bytes, ...], records: Mapping[bytes, bytes]) -> TarEntry:
        """The entry with its real size and its map."""
        limits = self._limits
        try:
            if header[7] == b"S":
                if header[9] != _GNU or sparse.is_sparse(records):
                    raise TarError("sparse file in two forms, or in none that is known")
                real, extents = sparse.header_map(self._block, self._blocks, limits)
            elif entry.type == "file":
                real, found = sparse.record_map(records, limits)
                extents = self._content_map() if found is None else found
            else:
                raise TarError(f"a sparse {entry.type}")
            if real > limits.unpacked_bytes_per_layer:
                maximum = limits.unpacked_bytes_per_layer
                raise LimitExceeded("bytes of one entry", "unpacked_bytes_per_layer", maximum)
            return entry._replace(size=real, extents=sparse.checked(extents, self._left, real))
        except TarError as error:
            raise TarError(str(error), quote(entry.path)) from error

    def _content_map(self) -> sparse.Extents:
        extents, used = sparse.content_map(self._blocks, self._left, self._limits)
        self._left -= used
        return extents

    def _next_header(self) -> tuple[bytes, ...] | None:
        """The fields of the next header; None after the end marker and everything behind it."""
        block = self._blocks.block()
        if not block:
            raise TarError("archive ends without its end marker")
        if block == ZERO_BLOCK:
            self._finish_archive()
            return None
        self._block = block
        fields = _HEADER.unpack(block)
        _check_sum(block, fields[6])
        return fields

    def _finish_archive(self) -> None:
        if self._blocks.block() != ZERO_BLOCK:
            raise TarError("a lone zero block: expected a second one as end marker")
        if not self._blocks.only_zeros_left():
            raise TarError("content after the end marker")


class _Extended:
    """What the headers in front of an entry say about it."""

    __slots__ = ("_limits", "_names", "bytes", "count", "records")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._names: dict[bytes, bytes] = {}
        self.records: dict[bytes, bytes] = {}
        self.bytes = 0
        self.count = 0

    def wants(self, kind: bytes) -> bool:
        return kind in _EXTENDED

    def add(self, header: tuple[bytes, ...], blocks: Blocks) -> None:
        kind = header[7]
        payload = self._payload(header, blocks)
        if kind == b"g":
            check_global(parse_records(payload, self._limits))
        elif kind in self._names:
            raise TarError(f"two {kind.decode()!r} headers in front of one entry")
        elif kind == b"x":
            self.records = parse_records(payload, self._limits)
            self._names[kind] = b""
        else:
            self._names[kind] = _terminated(payload)

    def name(self, kind: bytes, key: bytes, fallback: bytes) -> bytes:
        """The effective name (kind ``L``, key ``path``) or target (``K``, ``linkpath``)."""
        long, record = self._names.get(kind), self.records.get(key)
        if long is not None and record is not None:
            raise TarError(f"both a GNU and a PAX header set {key.decode()}", quote(record))
        if record is not None:
            return record
        return fallback if long is None else long

    def check_unused(self) -> None:
        """An extended header in front of nothing: the entry that it was for is missing."""
        if self._names:
            raise TarError("archive ends between an extended header and its entry")

    def _payload(self, header: tuple[bytes, ...], blocks: Blocks) -> bytes:
        limit = self._limits.extended_header_bytes
        size = header_number(header[4], 2**63, "size of an extended header")
        self.bytes += size
        self.count += 1
        if self.bytes > limit:
            raise LimitExceeded("bytes of extended headers", "extended_header_bytes", limit)
        if self.count > self._limits.extended_headers:
            raise LimitExceeded(
                "extended headers in a row", "extended_headers", self._limits.extended_headers
            )
        payload = blocks.take(size)
        blocks.skip(-size % BLOCK)
        return payload


def _terminated(payload: bytes) -> bytes:
    """A GNU long name: up to its NUL, with nothing but NULs behind."""
    name, _, rest = payload.partition(b"\0")
    if not name or rest.strip(b"\0"):
        raise TarError("GNU long name is empty or goes on behind its NUL")
    return name


def _check_sum(block: bytes, field: bytes) -> None:
    """The sum of all bytes with the field itself as spaces; old writers summed signed bytes.

    Adler-32's low half is one plus that sum, modulo 65521, and costs a twentieth of ``sum``.
    """
    wanted = header_number(field, 2**20, "checksum")
    spaced = block[:148] + _SPACES + block[156:]
    if (zlib.adler32(spaced) & 0xFFFF) == (wanted + 1) % _ADLER:
        return
    if sum(byte - 256 if byte > 127 else byte for byte in spaced) != wanted:
        raise TarError(f"header with a wrong checksum (name {quote(block[:100].rstrip(bytes(1)))})")


def _entry(fields: tuple[bytes, ...], extended: _Extended, limits: Limits) -> TarEntry:
    raw, mode, uid, gid, size, mtime, _, flag, link, magic, major, minor, prefix, tail = fields
    name = extended.name(b"L", b"path", _short_name(raw, prefix, tail, magic))
    records = extended.records
    if records:
        name = records.get(sparse.NAME, name)
    try:
        kind = _kind(flag, name)
        target = extended.name(b"K", b"linkpath", link.partition(b"\0")[0])
        return TarEntry(
            split_name(name, limits),
            kind,
            header_number(mode, _MAX_MODE, "mode") & 0o7777,
            _number(records, b"uid", uid, MAX_ID),
            _number(records, b"gid", gid, MAX_ID),
            _size(records, size, kind, limits),
            pax_time(records[b"mtime"]) if b"mtime" in records else header_time(mtime),
            _target(target, kind, limits),
            _device(major, minor) if kind in ("char", "block") else (0, 0),
            xattrs_of(records, limits) if records else NO_XATTRS,
        )
    except TarError as error:
        if error.entry:
            raise
        raise TarError(str(error), quote(name)) from error


def _short_name(name: bytes, prefix: bytes, tail: bytes, magic: bytes) -> bytes:
    """The name in the header itself; only POSIX archives have a prefix (a shorter one in star's)."""
    name = name.partition(b"\0")[0]
    if magic == _POSIX:
        if tail.endswith(b"tar\0"):
            prefix = prefix[:131]
        prefix = prefix.partition(b"\0")[0]
        return prefix + b"/" + name if prefix else name
    if magic not in (_GNU, _V7):
        raise TarError(f"unknown tar format {quote(magic)}", quote(name))
    return name


def _kind(flag: bytes, name: bytes) -> EntryType:
    kind = _TYPES.get(flag)
    if kind is None:
        raise TarError(f"unsupported entry type {quote(flag)}")
    if kind == "directory" or not name.endswith((b"/", b"/.")):
        return kind
    if flag == b"\0":
        return "directory"
    raise TarError(f"a {kind} whose name ends like a directory's")


def _number(records: Mapping[bytes, bytes], key: bytes, field: bytes, maximum: int) -> int:
    """The PAX record when there is one, else the header's field."""
    if records and key in records:
        return pax_number(records[key], maximum, key.decode())
    return header_number(field, maximum, key.decode())


def _size(records: Mapping[bytes, bytes], field: bytes, kind: EntryType, limits: Limits) -> int:
    size = _number(records, b"size", field, 2**63)
    if size and kind != "file":
        raise TarError(f"a {kind} with {size} bytes of content")
    if size > limits.unpacked_bytes_per_layer:
        raise LimitExceeded("bytes of one entry", "unpacked_bytes_per_layer", limits.unpacked_bytes_per_layer)
    return size


def _target(target: bytes, kind: EntryType, limits: Limits) -> bytes:
    if kind not in ("hardlink", "symlink"):
        return b""
    if not target:
        raise TarError(f"a {kind} without a target")
    if kind == "hardlink":
        return b"/".join(split_name(target, limits))
    if len(target) > _MAX_TARGET or b"\0" in target:
        raise TarError(f"symlink target of {len(target)} bytes: expected at most {_MAX_TARGET}, without NUL")
    return target


def _device(major: bytes, minor: bytes) -> tuple[int, int]:
    return (
        header_number(major, _MAX_DEVICE[0], "device major number"),
        header_number(minor, _MAX_DEVICE[1], "device minor number"),
    )
