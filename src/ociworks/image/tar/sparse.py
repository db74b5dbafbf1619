"""Sparse files: which parts of a file an archive stores. All four forms that GNU tar has written.

=============  ================================  ================================================================
form           announced by                      where its map is
=============  ================================  ================================================================
old GNU        type ``S``, GNU magic             in the header, then in blocks of 21 pieces each
PAX 0.0        ``GNU.sparse.numblocks``          pairs of ``GNU.sparse.offset`` and ``GNU.sparse.numbytes``
PAX 0.1        ``GNU.sparse.map``                that record: ``offset,size,offset,size…``
PAX 1.0        ``GNU.sparse.major=1``            decimals, one a line, in front of the content, padded to a block
=============  ================================  ================================================================

A map is a claim of its writer, so it is proved before it is used: a bounded number of pieces, in order, without
overlap, inside the file, together exactly as long as what is stored. A global header may not announce any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ociworks.errors import LimitExceeded, TarError
from ociworks.image.tar._blocks import BLOCK
from ociworks.image.tar.numbers import header_number, pax_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ociworks.image.tar._blocks import Blocks
    from ociworks.image.tar.limits import Limits

__all__ = [
    "NAME",
    "PREFIX",
    "Extents",
    "add_record",
    "checked",
    "content_map",
    "expanded",
    "header_map",
    "is_sparse",
    "placed",
    "record_map",
]

Extents = tuple[tuple[int, int], ...]
"""Offset and size of every stored piece of a file, in order."""

PREFIX: Final = b"GNU.sparse."
NAME: Final = PREFIX + b"name"
_MAJOR, _MINOR, _MAP = PREFIX + b"major", PREFIX + b"minor", PREFIX + b"map"
_OFFSET, _NUMBYTES, _COUNT = PREFIX + b"offset", PREFIX + b"numbytes", PREFIX + b"numblocks"
_OLD_SIZE, _REAL_SIZE = PREFIX + b"size", PREFIX + b"realsize"
_KNOWN: Final = frozenset((NAME, _MAJOR, _MINOR, _MAP, _OFFSET, _NUMBYTES, _COUNT, _OLD_SIZE, _REAL_SIZE))
_HUGE: Final = 2**63 - 1
_IN_HEADER, _PER_BLOCK, _PAIR = 4, 21, 24
_FIRST, _MORE, _REAL = 386, 482, 483
_MORE_IN_BLOCK: Final = _PER_BLOCK * _PAIR
_DIGITS: Final = 20
_ZEROS: Final = memoryview(bytes(1 << 16))


def add_record(records: dict[bytes, bytes], key: bytes, value: bytes) -> None:
    """Take one ``GNU.sparse.*`` record; the repeated ones of 0.0 become the map that 0.1 has."""
    if key not in _KNOWN:
        raise TarError("unknown kind of sparse file")
    if key not in (_OFFSET, _NUMBYTES):
        records[key] = value
        return
    known = records.get(_MAP, b"")
    if (known.count(b",") % 2 == 0) != (key == _NUMBYTES) if known else key == _NUMBYTES:
        raise TarError("sparse map: offset and size do not alternate")
    if b"," in value:
        raise TarError("sparse map: expected one number")
    records[_MAP] = known + b"," + value if known else value


def is_sparse(records: Mapping[bytes, bytes]) -> bool:
    """Whether PAX records announce a sparse file."""
    return _MAJOR in records or _MAP in records or _COUNT in records


def record_map(records: Mapping[bytes, bytes], limits: Limits) -> tuple[int, Extents | None]:
    """Real size and map by the records of 0.0 and 0.1; the map is None for 1.0, where it is in the content."""
    if _MAJOR in records:
        version = records[_MAJOR], records.get(_MINOR, b"0")
        if version != (b"1", b"0") or _MAP in records:
            raise TarError("sparse file of an unknown version")
        return _size(records, _REAL_SIZE), None
    numbers = records.get(_MAP, b"").split(b",") if records.get(_MAP) else []
    count = pax_number(records.get(_COUNT, b""), _HUGE, "number of sparse pieces")
    if len(numbers) != 2 * count:
        raise TarError(f"sparse map: expected {count} pieces, found {len(numbers)} numbers")
    _check_count(count, limits)
    return _size(records, _OLD_SIZE), _pairs(pax_number(number, _HUGE, "sparse map") for number in numbers)


def content_map(blocks: Blocks, stored: int, limits: Limits) -> tuple[Extents, int]:
    """The map in front of the content (1.0), and the bytes of it that were read, padding included."""
    lines = _Lines(blocks, stored)
    count = lines.number()
    _check_count(count, limits)
    return _pairs(lines.number() for _ in range(2 * count)), lines.used


def header_map(block: bytes, blocks: Blocks, limits: Limits) -> tuple[int, Extents]:
    """Real size and map of the old form; reads the blocks that continue the header."""
    real = header_number(block[_REAL : _REAL + 12], _HUGE, "size of a sparse file")
    pairs = [*_header_pairs(block[_FIRST:], _IN_HEADER)]
    more = block[_MORE]
    while more:
        _check_count(len(pairs), limits)
        block = blocks.take(BLOCK)
        pairs += _header_pairs(block, _PER_BLOCK)
        more = block[_MORE_IN_BLOCK]
    _check_count(len(pairs), limits)
    return real, tuple(pairs)


def checked(extents: Extents, stored: int, real: int) -> Extents:
    """The map without its empty pieces, when it is one; else TarError."""
    end = total = 0
    for offset, size in extents:
        if offset < end or offset + size > real:
            raise TarError(
                f"sparse map: the piece at {offset} of {size} bytes is out of order or out of the file"
            )
        end, total = offset + size, total + size
    if total != stored:
        raise TarError(f"sparse map: {total} bytes in its pieces, {stored} are stored")
    return tuple([pair for pair in extents if pair[1]])


def placed(extents: Extents, pieces: Iterable[memoryview]) -> Iterator[tuple[int, memoryview]]:
    """What is stored, cut where the map says, each part with its offset in the file."""
    left = iter(extents)
    offset = size = 0
    for piece in pieces:
        while piece:
            if not size:
                offset, size = next(left)
            part, piece = piece[:size], piece[size:]  # noqa: PLW2901 - what is left of it
            yield offset, part
            offset, size = offset + len(part), size - len(part)


def expanded(extents: Extents, real: int, pieces: Iterable[memoryview]) -> Iterator[memoryview]:
    """The whole file: what is stored, and zeros for the holes."""
    position = 0
    for offset, part in placed(extents, pieces):
        yield from _zeros(offset - position)
        yield part
        position = offset + len(part)
    yield from _zeros(real - position)


def _zeros(size: int) -> Iterator[memoryview]:
    while size > 0:
        step = min(size, len(_ZEROS))
        yield _ZEROS[:step]
        size -= step


def _size(records: Mapping[bytes, bytes], key: bytes) -> int:
    return pax_number(records.get(key, b""), _HUGE, "size of a sparse file")


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.sparse_extents:
        raise LimitExceeded("pieces of a sparse file", "sparse_extents", limits.sparse_extents)


def _pairs(numbers: Iterable[int]) -> Extents:
    each = iter(numbers)
    return tuple(zip(each, each, strict=True))


def _header_pairs(block: bytes, count: int) -> Iterator[tuple[int, int]]:
    """Pairs of header fields; one without a size ends them."""
    for start in range(0, count * _PAIR, _PAIR):
        offset, size = block[start : start + 12], block[start + 12 : start + _PAIR]
        if not size.strip(b"\0 "):
            return
        yield header_number(offset, _HUGE, "sparse map"), header_number(size, _HUGE, "sparse map")


class _Lines:
    """Decimal lines in whole blocks."""

    def __init__(self, blocks: Blocks, stored: int) -> None:
        self._blocks = blocks
        self._stored = stored
        self._data = b""
        self._position = 0
        self.used = 0

    def number(self) -> int:
        while True:
            end = self._data.find(b"\n", self._position, self._position + _DIGITS + 1)
            if end >= 0:
                text, self._position = self._data[self._position : end], end + 1
                return pax_number(text, _HUGE, "sparse map")
            if len(self._data) - self._position > _DIGITS or self.used + BLOCK > self._stored:
                raise TarError("sparse map: expected decimal numbers, one a line")
            self._data = self._data[self._position :] + self._blocks.take(BLOCK)
            self._position = 0
            self.used += BLOCK
