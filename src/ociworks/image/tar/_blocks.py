"""A byte stream as 512-byte blocks, content without copying, and nothing beyond what the stream really has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ociworks.errors import TarError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociworks.spec.digest import Readable

__all__ = ["BLOCK", "ZERO_BLOCK", "Blocks"]

BLOCK: Final = 512
ZERO_BLOCK: Final = bytes(BLOCK)
_READ: Final = 1 << 20


class Blocks:
    """Reads ``source`` in pieces as large as it gives them, and hands out parts of these."""

    __slots__ = ("_data", "_position", "_source", "_view")

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._data = b""
        self._view = memoryview(b"")
        self._position = 0

    def block(self) -> bytes:
        """The next block; empty when the stream ends exactly here, TarError when it ends inside of one."""
        start = self._position
        if start + BLOCK <= len(self._data):
            self._position = start + BLOCK
            return self._data[start : start + BLOCK]
        if start == len(self._data) and not self._fill():
            return b""
        return self.take(BLOCK)

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes, copied; the caller bounds ``size``."""
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Exactly ``size`` bytes as views; each is valid as long as it is kept."""
        while size > 0:
            available = len(self._data) - self._position
            if not available:
                if not self._fill():
                    raise TarError(f"archive ends early: {size} more bytes expected")
                continue
            step = min(size, available)
            start = self._position
            # Moved on before the hand-over: a consumer that stops leaves the position right.
            self._position = start + step
            size -= step
            yield self._view[start : start + step]

    def skip(self, size: int) -> None:
        """Pass ``size`` bytes by; ends with TarError at the end of the stream, however large ``size`` is."""
        for _ in self.pieces(size):
            pass

    def only_zeros_left(self) -> bool:
        """Read to the end; whether every byte was zero."""
        zeros = bytes(_READ)
        while True:
            rest = self._data[self._position :]
            if rest != zeros[: len(rest)]:
                return False
            if not self._fill():
                return True

    def _fill(self) -> bool:
        self._data = self._source.read(_READ)
        self._view = memoryview(self._data)
        self._position = 0
        return bool(self._data)
