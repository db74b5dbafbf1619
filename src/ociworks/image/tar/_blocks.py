"""A byte stream as 512-byte blocks, content without copying, and nothing beyond what the stream really has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ociworks.errors import TarError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociworks.spec.digest import Readable

__all__ = ["BLOCK", "ZERO_BLOCK", "Blocks"]

BLOCK: Final = 512
ZERO_BLOCK: Final = bytes(BLOCK)
_READ: Final = 1 << 20


class Blocks:
    """Reads ``source`` in pieces as large as it gives them, and hands out parts of these.

    ``forward`` passes bytes of the source by without reading them; what is behind its end is noticed by the next read.
    """

    __slots__ = ("_before", "_data", "_forward", "_position", "_source", "_view")

    def __init__(self, source: Readable, forward: Callable[[int], object] | None = None) -> None:
        self._source = source
        self._forward = forward
        self._before = 0
        self._data = b""
        self._view = memoryview(b"")
        self._position = 0

    @property
    def offset(self) -> int:
        """Where in the source the next byte is."""
        return self._before + self._position

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
        beyond = size - (len(self._data) - self._position)
        if self._forward is not None and beyond > 0:
            self._forward(beyond)
            self._before += len(self._data) + beyond
            self._replace(b"")
            return
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
        self._before += len(self._data)
        self._replace(self._source.read(_READ))
        return bool(self._data)

    def _replace(self, data: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self._position = 0
