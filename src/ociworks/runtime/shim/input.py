"""The container's standard input, a pipe or the terminal; what waits for a program that does not read is bounded."""

from __future__ import annotations

import os

from ociworks.runtime.shim.loop import WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ociworks.runtime.shim.loop import Loop

__all__ = ["Input"]

_MOST: Final = 64 << 10


class Input:
    """Writes to ``fd`` as it takes it. ``drained`` is called when there is room again."""

    def __init__(self, loop: Loop, fd: int, drained: Callable[[], None], *, terminal: bool) -> None:
        self._loop, self._fd, self._drained, self._terminal = loop, fd, drained, terminal
        self._waiting = b""
        self._ending = False
        os.set_blocking(fd, False)

    @property
    def full(self) -> bool:
        """Whether clients should send no more for now."""
        return len(self._waiting) >= _MOST

    def write(self, data: bytes) -> None:
        """Add to what waits, and write what the program takes; when it takes nothing any more, nothing happens."""
        if self._fd < 0 or self._ending:
            return
        idle = not self._waiting
        self._waiting += data
        if idle:
            self._write(0)
            if self._waiting:
                self._loop.watch(self._fd, WRITE, self._write)

    def end(self) -> None:
        """Close the pipe when all has been written. A terminal has no end."""
        if self._terminal or self._fd < 0:
            return
        self._ending = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close it now; again is harmless."""
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._waiting = b""

    def _write(self, _events: int) -> None:
        was_full = self.full
        try:
            self._waiting = self._waiting[os.write(self._fd, self._waiting[:4096]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self.close()
            self._drained()
            return
        if not self._waiting:
            self._loop.forget(self._fd)
            if self._ending:
                self.close()
        if was_full and not self.full:
            self._drained()
