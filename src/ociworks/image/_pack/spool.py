"""Bytes that stay as they were written: small ones in memory, large ones in a temporary file without a name.

Nobody else can reach such a file, it needs no cleaning up, and the kernel frees it with the last descriptor: with
the last reference to its :class:`Spool`, or when the process ends, however it ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import TYPE_CHECKING, Final

from ociworks.errors import ImageError

if TYPE_CHECKING:
    from ociworks.spec.digest import BytesLike

__all__ = ["Spool", "SpoolReader"]

_IN_MEMORY: Final = 1 << 20


class Spool:
    """Written once, front to back; then read by any number of readers, from several threads too."""

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._memory = bytearray()
        self._fd = -1
        self.size = 0

    def write(self, data: BytesLike, /) -> None:
        """Add ``data``. Large contents go to the directory that TMPDIR names; raises ``OSError`` when it is full."""
        self.size += len(data)
        if self._fd < 0 and self.size <= self._in_memory:
            self._memory += data
            return
        if self._fd < 0:
            self._fd = _unnamed_file()
            weakref.finalize(self, os.close, self._fd)
            _write(self._fd, self._memory)
            self._memory = bytearray()
        _write(self._fd, data)

    def read_at(self, position: int, size: int) -> bytes:
        """At most ``size`` bytes from ``position``; empty only at the end."""
        if self._fd < 0:
            return bytes(memoryview(self._memory)[position : position + size])
        data = os.pread(self._fd, min(size, self.size - position), position)
        if not data and size and position < self.size:
            raise ImageError("a temporary file of a layer has become shorter")
        return data


class SpoolReader:
    """One pass over a spool, which it keeps alive."""

    def __init__(self, spool: Spool) -> None:
        self._spool: Spool | None = spool
        self._position = 0

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; empty only at the end."""
        if self._spool is None:
            raise ImageError("reading from a stream that was closed")
        data = self._spool.read_at(self._position, size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Let go of the spool."""
        self._spool = None


def _unnamed_file() -> int:
    with tempfile.TemporaryFile(buffering=0, prefix="ociworks-") as file:
        return os.dup(file.fileno())


def _write(fd: int, data: BytesLike) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
