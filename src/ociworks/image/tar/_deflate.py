"""gzip, in blocks that threads compress side by side, with the same bytes however many threads there are.

The input is cut every :data:`BLOCK` bytes, wherever the pieces end that come in. Each block is deflated for itself,
with the 32 KiB in front of it as dictionary, and flushed to a byte boundary; one after the other they are one gzip
member, as pigz makes them. The header holds no time, no name and no operating system.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from ociworks.image.tar.writer import Writable
    from ociworks.spec.digest import BytesLike

__all__ = ["BLOCK", "GzipSink"]

BLOCK: Final = 256 * 1024
"""Uncompressed bytes that are deflated at a time. The bytes of every layer depend on it."""

_DICTIONARY: Final = 32 * 1024
_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_RAW: Final = -15
_MEMORY: Final = 8
_MAX_WORKERS: Final = 8


class GzipSink:
    """Writes what it is given to ``sink`` as one gzip member; :meth:`close` ends it, :meth:`abort` gives it up."""

    def __init__(self, sink: Writable, level: int) -> None:
        self._sink = sink
        self._level = level
        self._buffer = bytearray()
        self._dictionary = b""
        self._crc = self._size = 0
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[bytes]] = deque()
        self._workers = min(_MAX_WORKERS, os.cpu_count() or 1)
        sink.write(_HEADER)

    def write(self, data: BytesLike, /) -> None:
        """Take ``data``; raises what the sink raises."""
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= BLOCK:
            self._add(bytes(memoryview(self._buffer)[position : position + BLOCK]))
            position += BLOCK
        if position:
            del self._buffer[:position]

    def close(self) -> None:
        """Compress what is left, and write the trailer."""
        try:
            rest = bytes(self._buffer)
            self._count(rest)
            while self._waiting:
                self._sink.write(self._waiting.popleft().result())
            self._sink.write(_deflate(rest, self._dictionary, self._level, zlib.Z_FINISH))
            self._sink.write(
                self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
            )
        finally:
            self.abort()

    def abort(self) -> None:
        """End the threads; what was written is no gzip stream."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._waiting.clear()

    def _add(self, block: bytes) -> None:
        self._count(block)
        self._waiting.append(self._start(block))
        self._dictionary = block[-_DICTIONARY:]
        if len(self._waiting) > 2 * self._workers:
            self._sink.write(self._waiting.popleft().result())

    def _start(self, block: bytes) -> Future[bytes]:
        """Threads begin with the first full block: most layers of tests and configurations have none."""
        from concurrent.futures import ThreadPoolExecutor

        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="ociworks-gzip")
        return self._pool.submit(_deflate, block, self._dictionary, self._level, zlib.Z_SYNC_FLUSH)

    def _count(self, block: bytes) -> None:
        self._crc = zlib.crc32(block, self._crc)
        self._size += len(block)


def _deflate(block: bytes, dictionary: bytes, level: int, flush: int) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, _RAW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return deflater.compress(block) + deflater.flush(flush)
