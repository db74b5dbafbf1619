"""gzip (RFC 1952): all members, each to its trailer, headers within bounds, nothing behind."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol, cast

from ociworks.errors import CompressionError, LimitExceeded, quote

if TYPE_CHECKING:
    from ociworks.image.tar.limits import Limits
    from ociworks.spec.digest import Readable

__all__ = ["GzipStream"]

_INPUT: Final = 128 * 1024
_WITH_HEADER: Final = 31
_EXTRA, _NAME, _COMMENT, _CRC = 4, 8, 16, 2
_RESERVED: Final = 0xE0


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _new_inflater() -> tuple[_Inflater, tuple[type[Exception], ...]]:
    """A decoder that checks header, CRC and length, and what it raises."""
    try:
        from isal import igzip_lib, isal_zlib
    except ImportError:
        return zlib.decompressobj(wbits=_WITH_HEADER), (zlib.error,)
    failure = cast("type[Exception]", igzip_lib.IsalError)  # its stubs say it is an instance
    return isal_zlib.decompressobj(wbits=_WITH_HEADER), (failure, zlib.error)


class GzipStream:
    """The uncompressed bytes of all members of a gzip stream."""

    __slots__ = ("_failures", "_inflater", "_limits", "_members", "_pending", "_source")

    def __init__(self, source: Readable, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._pending = b""
        self._members = 0
        self._inflater: _Inflater | None = None
        self._failures: tuple[type[Exception], ...] = ()

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; empty only at the proven end of the last member."""
        while True:
            if self._inflater is None and not self._next_member():
                return b""
            data = self._inflate(size)
            if data:
                return data

    def _next_member(self) -> bool:
        """Begin a member; False at the end of the source."""
        if not self._pending:
            self._pending = self._source.read(_INPUT)
        if not self._pending and self._members:
            return False
        self._pending = _read_header(
            self._pending, self._source, self._limits.gzip_header_bytes, self._members
        )
        self._members += 1
        self._inflater, self._failures = _new_inflater()
        return True

    def _inflate(self, size: int) -> bytes:
        inflater = self._inflater
        if inflater is None:
            return b""
        if not self._pending:
            self._pending = self._source.read(_INPUT)
            if not self._pending and not inflater.eof:
                raise CompressionError("gzip stream ends in the middle of a member")
        try:
            data = inflater.decompress(self._pending, size)
        except self._failures as error:
            raise CompressionError(f"corrupt gzip stream: {error}") from error
        self._pending = inflater.unconsumed_tail
        if inflater.eof:
            self._pending = inflater.unused_data
            self._inflater = None
        return data


def _read_header(data: bytes, source: Readable, maximum: int, member: int) -> bytes:
    """Look a member's header over and return it with what follows; the decoder reads it again.

    Decoders skip a file name of any length without a word; here its length is bounded.
    """
    end = _header_end(data)
    while end is None:
        if len(data) > maximum:
            raise LimitExceeded("header of a gzip member, bytes", "gzip_header_bytes", maximum)
        more = source.read(_INPUT)
        if not more:
            raise CompressionError("gzip stream ends in the middle of a header")
        data += more
        end = _header_end(data)
    if end < 0:
        where = "after the last gzip member" if member else "where a gzip member should begin"
        raise CompressionError(f"unexpected content {where}: {quote(data[:16])}")
    if end > maximum:
        raise LimitExceeded("header of a gzip member, bytes", "gzip_header_bytes", maximum)
    return data


def _header_end(data: bytes) -> int | None:
    """Where the deflate data begins; None when more bytes are needed, -1 when this is no gzip header."""
    magic = b"\x1f\x8b\x08"
    if data[:3] != magic[: len(data)] or (len(data) > 3 and data[3] & _RESERVED):
        return -1
    if len(data) < 10:
        return None
    flags, position = data[3], 10
    if flags & _EXTRA:
        position += 2 + int.from_bytes(data[10:12], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            position = data.find(b"\0", position) + 1
            if not position:
                return None
    position += 2 if flags & _CRC else 0
    return position if position <= len(data) else None
