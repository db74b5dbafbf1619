"""zstd (RFC 8878): all frames, each to its end, window within bounds, nothing behind.

libzstd's streaming reader returns short data for a truncated stream without a word, and its one-shot interface
believes the size that a frame claims. So the bytes on their way to the reader pass by an outline that follows the
frames, a few bytes per block, and knows at the end whether the last frame was whole:

==========  ===============================  ===========================================================
state       bytes wanted                     next
==========  ===============================  ===========================================================
magic       4                                descriptor, or length for a skippable frame
length      4                                passes that many by → magic
descriptor  1                                header
header      what the descriptor says         block
block       3                                passes its content by → block; the last one's checksum too → magic
==========  ===============================  ===========================================================
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final, cast

from ociworks.errors import CompressionError, LimitExceeded, quote

if TYPE_CHECKING:
    from ociworks.image.tar.limits import Limits
    from ociworks.spec.digest import Readable

__all__ = ["ZstdStream"]

_MAGIC: Final = 0xFD2FB528
_SKIPPABLE: Final = 0x184D2A50
_RLE: Final = 1
_RESERVED: Final = 3
_CONTENT_SIZE_BYTES: Final = (0, 2, 4, 8)
_DICTIONARY_BYTES: Final = (0, 1, 2, 4)


class ZstdStream:
    """The uncompressed bytes of all frames of a zstd stream."""

    __slots__ = ("_error", "_reader", "_source")

    def __init__(self, source: Readable, limits: Limits) -> None:
        import zstandard

        self._source = _Watched(source, limits.zstd_window_bytes)
        self._error = zstandard.ZstdError
        decoder = zstandard.ZstdDecompressor(max_window_size=limits.zstd_window_bytes)
        # Its stubs want all of a file; it calls nothing but read.
        source_file = cast("IO[bytes]", self._source)
        self._reader = decoder.stream_reader(source_file, read_across_frames=True)

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; empty only at the proven end of the last frame."""
        try:
            data: bytes = self._reader.read(size)
        except self._error as error:
            raise CompressionError(f"corrupt zstd stream: {error}") from error
        if not data:
            self._source.check_end()
        return data


class _Watched:
    """Hands on the bytes of ``source`` while an outline follows them."""

    def __init__(self, source: Readable, window: int) -> None:
        self._source = source
        self._outline = _Outline(window)

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._outline.follow(data)
        return data

    def check_end(self) -> None:
        """Raise CompressionError unless the source ends here, between two frames."""
        if self.read(1):
            raise CompressionError("unexpected content after the last zstd frame")
        if not self._outline.between_frames:
            raise CompressionError("zstd stream ends in the middle of a frame")


class _Outline:
    """Where in which frame a stream stands; the table above."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._pass_by = 0
        self._piece = b""
        self._descriptor = 0
        self._wanted, self._state = 4, self._on_magic

    @property
    def between_frames(self) -> bool:
        """Whether a stream may end here."""
        return self._state == self._on_magic and not self._piece and not self._pass_by

    def follow(self, data: bytes) -> None:
        """Go on by ``data``; raises CompressionError and LimitExceeded."""
        position, size = 0, len(data)
        while position < size:
            if self._pass_by:
                step = min(self._pass_by, size - position)
                self._pass_by -= step
            else:
                step = min(self._wanted - len(self._piece), size - position)
                self._take(data[position : position + step])
            position += step

    def _take(self, data: bytes) -> None:
        self._piece += data
        if len(self._piece) == self._wanted:
            piece, self._piece = self._piece, b""
            self._state(piece)

    def _on_magic(self, piece: bytes) -> None:
        magic = int.from_bytes(piece, "little")
        if magic == _MAGIC:
            self._wanted, self._state = 1, self._on_descriptor
        elif magic & 0xFFFFFFF0 == _SKIPPABLE:
            self._wanted, self._state = 4, self._on_length
        else:
            raise CompressionError(f"expected a zstd frame, found {quote(piece)}")

    def _on_length(self, piece: bytes) -> None:
        self._pass_by = int.from_bytes(piece, "little")
        self._wanted, self._state = 4, self._on_magic

    def _on_descriptor(self, piece: bytes) -> None:
        self._descriptor = piece[0]
        if self._descriptor & 0x08:
            raise CompressionError("zstd frame header sets its reserved bit")
        self._wanted, self._state = sum(self._field_sizes()), self._on_header

    def _field_sizes(self) -> tuple[int, int, int]:
        """Bytes of window descriptor, dictionary ID and content size."""
        single = self._descriptor >> 5 & 1
        content = _CONTENT_SIZE_BYTES[self._descriptor >> 6] or single
        return 1 - single, _DICTIONARY_BYTES[self._descriptor & 3], content

    def _on_header(self, piece: bytes) -> None:
        window_size, dictionary, content = self._field_sizes()
        if int.from_bytes(piece[window_size : window_size + dictionary], "little"):
            raise CompressionError("zstd frame needs a dictionary; layers have none")
        if window_size:
            base = 1 << 10 + (piece[0] >> 3)
            window = base + (base >> 3) * (piece[0] & 7)
        else:
            window = int.from_bytes(piece[-content:], "little") + (256 if content == 2 else 0)
        if window > self._window:
            raise LimitExceeded("window of a zstd frame, bytes", "zstd_window_bytes", self._window)
        self._wanted, self._state = 3, self._on_block

    def _on_block(self, piece: bytes) -> None:
        header = int.from_bytes(piece, "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == _RESERVED:
            raise CompressionError("zstd block of a reserved type")
        self._pass_by = 1 if kind == _RLE else size
        if last:
            self._pass_by += 4 if self._descriptor & 0x04 else 0  # the checksum, which libzstd compares
            self._wanted, self._state = 4, self._on_magic
