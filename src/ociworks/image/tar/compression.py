"""Decompression of layers: streaming, bounded, and strict about how a stream ends (image-spec layer.md).

==========  ==============================  ======================================================
name        media types                     what is checked besides the decoder's own checksums
==========  ==============================  ======================================================
none        ``…tar``                        does not start like a gzip or zstd stream
gzip        ``…tar+gzip``, ``…tar.gzip``    every member to its trailer, header size, nothing after
zstd        ``…tar+zstd``                   every frame to its end, window size, nothing after
==========  ==============================  ======================================================

Only these, only in this process: no helper program is ever run, and nothing is guessed from the content. A media
type and the first bytes of the stream must agree.

gzip is decoded by ISA-L when the ``fast`` extra is installed, otherwise by zlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, Self

from ociworks.errors import CompressionError, SpecError, quote
from ociworks.image.tar._gzip import GzipStream
from ociworks.image.tar._zstd import ZstdStream
from ociworks.image.tar.limits import DEFAULT_LIMITS
from ociworks.spec.image import mediatypes
from ociworks.spec.image.mediatypes import Compression

if TYPE_CHECKING:
    from types import TracebackType

    from ociworks.image.tar.limits import Limits
    from ociworks.spec.digest import Readable

__all__ = ["CHUNK", "Compression", "Decompressed", "compression_of", "decompress", "sniff"]

CHUNK: Final = 1 << 20
"""Uncompressed bytes handed out at a time, at most."""

_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_OTHERS: Final = {b"\xfd7zXZ\0": "xz", b"PK\x03\x04": "zip"}
_BZIP2: Final = (b"BZh", b"1AY&SY")  # with a digit between them; a file may well be called BZh…


def compression_of(media_type: str) -> Compression:
    """The compression that a layer's media type states; CompressionError for every type not in the table above."""
    try:
        return mediatypes.compression_of(media_type)
    except SpecError as error:
        raise CompressionError(str(error)) from error


def decompress(stream: Readable, compression: Compression, limits: Limits = DEFAULT_LIMITS) -> Decompressed:
    """The uncompressed bytes of ``stream``, as a stream; memory stays bounded whatever the content.

    Reads raise :class:`ociworks.errors.CompressionError` when the content is truncated, corrupt, followed by
    anything, or not what ``compression`` says, and :class:`ociworks.errors.LimitExceeded`.
    """
    source = _Peeked(stream)
    _check_magic(source, compression)
    if compression == "none":
        return Decompressed(source)
    decoder = GzipStream(source, limits) if compression == "gzip" else ZstdStream(source, limits)
    return Decompressed(decoder)


def sniff(head: bytes) -> Compression:
    """The compression that the first ten bytes of an archive tell; CompressionError for one that layers do not have."""
    found = _sniff(head)
    if found in ("gzip", "zstd"):
        return "gzip" if found == "gzip" else "zstd"
    if found:
        raise CompressionError(f"expected a tar archive, plain or compressed by gzip or zstd, found {found}")
    return "none"


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Decompressed:
    """The uncompressed bytes of one stream (:class:`ociworks.image.types.ByteStream`); its source is not closed.

    Leaving a ``with`` block without an exception drains what is left, so that the end is proved too.
    """

    __slots__ = ("_source", "size")

    def __init__(self, source: _Source) -> None:
        self._source = source
        self.size = 0
        """Uncompressed bytes handed out so far."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes (and at most :data:`CHUNK`), all that is left when negative; empty only at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        data = self._source.read(min(size, CHUNK)) if size else b""
        self.size += len(data)
        return data

    def close(self) -> None:
        """Nothing is held here; the source belongs to whoever opened it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if kind is None:
            while self.read(CHUNK):
                pass


class _Peeked:
    """A source whose first bytes can be looked at before they are read."""

    __slots__ = ("_head", "_source")

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._head = b""

    def peek(self, size: int) -> bytes:
        while len(self._head) < size:
            more = self._source.read(size - len(self._head))
            if not more:
                break
            self._head += more
        return self._head

    def read(self, size: int, /) -> bytes:
        if not self._head:
            return self._source.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


def _check_magic(source: _Peeked, compression: Compression) -> None:
    head = source.peek(10)
    found = _sniff(head)
    if found != compression and (found or compression != "none"):
        shown = found or ("nothing" if not head else f"other content ({quote(head)})")
        raise CompressionError(f"expected {compression} content by the media type, found {shown}")


def _sniff(head: bytes) -> str:
    """What the first bytes say: a compression's name, or nothing when they fit no known one."""
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    if head.startswith(_ZSTD_MAGIC) or _is_skippable(head):
        return "zstd"
    if head.startswith(_BZIP2[0]) and head[4:] == _BZIP2[1]:
        return "bzip2"
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "")


def _is_skippable(head: bytes) -> bool:
    """A zstd stream may begin with a skippable frame: eStargz-like tools put tables there."""
    return len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
