"""Compression of layers on the way out: streaming, on several cores, with bytes that the input alone decides.

==========  =======  =================================================================================
name        level    encoder
==========  =======  =================================================================================
none                 the archive as it is
gzip        4, 1…9   the standard library's zlib, in blocks of a fixed size (``_deflate``)
zstd        3, 1…19  libzstd of the ``zstandard`` package, with checksum
==========  =======  =================================================================================

Number of cores, Python version, time and machine have no influence; the encoder has. zlib 1.2.8 (2013) to 1.3.1 give
the same bytes; builds with zlib-ng or with compression in hardware differ from them, and libzstd changes with its
versions. :func:`is_canonical` says whether this process makes the bytes that others make. ISA-L would be four times as
fast, but its bytes depend on the processor: it only reads.
"""

from __future__ import annotations

import functools
import os
import zlib
from typing import TYPE_CHECKING, Final, Protocol, cast

from ociworks.errors import NotSupported
from ociworks.image.tar._deflate import GzipSink

if TYPE_CHECKING:
    from ociworks.image.tar.writer import Writable
    from ociworks.spec.digest import BytesLike
    from ociworks.spec.image.mediatypes import Compression

__all__ = ["DEFAULT_LEVELS", "Compressor", "compress_to", "is_canonical"]

DEFAULT_LEVELS: Final[dict[Compression, int]] = {"none": 0, "gzip": 4, "zstd": 3}
"""gzip at level 4 takes half the time of level 6, for three hundredths more bytes."""

_LEVELS: Final[dict[Compression, range]] = {"none": range(1), "gzip": range(1, 10), "zstd": range(1, 20)}
_MAX_WORKERS: Final = 4
_PIECE: Final = 256 * 1024


class Compressor(Protocol):
    """A sink that compresses into another one, which it does not close."""

    def write(self, data: BytesLike, /) -> object:
        """Take ``data``, whole."""

    def close(self) -> None:
        """Write the end of the compressed stream."""

    def abort(self) -> None:
        """Release what is held, without an end; harmless after :meth:`close`."""


def compress_to(sink: Writable, compression: Compression, level: int | None = None) -> Compressor:
    """A compressor into ``sink``; NotSupported for an unknown compression, or a level that it does not have."""
    levels = _LEVELS.get(compression)
    if levels is None:
        raise NotSupported(f"compression {compression!r}: expected none, gzip or zstd")
    if level is None:
        level = DEFAULT_LEVELS[compression]
    if level not in levels:
        raise NotSupported(
            f"{compression} level {level}: expected {levels.start} to {levels.stop - 1}, or None for the default"
        )
    if compression == "gzip":
        return GzipSink(sink, level)
    return _ZstdSink(sink, level) if compression == "zstd" else _PlainSink(sink)


@functools.cache
def is_canonical(compression: Compression) -> bool:
    """Whether this process's encoder gives the bytes of the one that digests are promised for.

    A sample is compressed and compared, so this finds other implementations and versions, but proves nothing about
    all inputs. The promise is zlib's own deflate for gzip, and libzstd 1.5.7 for zstd; ``none`` always holds.
    """
    if compression == "none":
        return True
    found = _Checksum()
    encoder = compress_to(found, compression)
    encoder.write(_sample())
    encoder.close()
    return found.value == _SAMPLES[compression]


_SAMPLES: Final[dict[Compression, int]] = {"gzip": 0x69A1CDB3, "zstd": 0xB9B3DCE7}


def _sample() -> bytes:
    """Text-like and binary bytes of a fixed recipe, enough for two blocks."""
    state, words = 1, []
    for _ in range(64_000):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        words.append(b"%x" % (state >> 18) if state & 0x40000 else state.to_bytes(4, "big"))
    return b" ".join(words)


class _Checksum:
    """A sink that keeps a checksum only."""

    def __init__(self) -> None:
        self.value = 0

    def write(self, data: BytesLike, /) -> None:
        self.value = zlib.crc32(data, self.value)


class _PlainSink:
    def __init__(self, sink: Writable) -> None:
        self.write = sink.write

    def close(self) -> None:
        """Nothing is held back."""

    def abort(self) -> None:
        """Nothing is held."""


class _ZstdSink:
    """One zstd frame. Workers are always used: with any number of them the bytes are the same, without them others."""

    def __init__(self, sink: Writable, level: int) -> None:
        import zstandard

        workers = max(1, min(_MAX_WORKERS, os.cpu_count() or 1))
        encoder = zstandard.ZstdCompressor(level=level, write_checksum=True, threads=workers)
        self._encoder = encoder.compressobj()
        self._sink = sink

    def write(self, data: BytesLike, /) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            self._put(self._encoder.compress(cast("bytes", view[start : start + _PIECE])))

    def close(self) -> None:
        self._put(self._encoder.flush())

    def abort(self) -> None:
        """Libzstd's memory goes with the object."""

    def _put(self, data: bytes) -> None:
        if data:
            self._sink.write(data)
