"""One stream of the container's output. It is read as fast as it comes, whatever happens to what was read."""

from __future__ import annotations

import os

from ociworks.runtime.shim.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ociworks.runtime.shim.loop import Loop

__all__ = ["Output"]

_CHUNK: Final = 64 << 10


class Output:
    """Reads ``fd``, gives what it read to ``sink``, and at the end nothing (``b""``), once."""

    def __init__(self, loop: Loop, fd: int, sink: Callable[[bytes], None]) -> None:
        self._loop, self._fd, self._sink = loop, fd, sink
        os.set_blocking(fd, False)
        loop.watch(fd, READ, self._ready)

    @property
    def ended(self) -> bool:
        """Whether it was read to its end."""
        return self._fd < 0

    def drain(self) -> None:
        """Read what there is, and take that for the end: of a terminal whose other side we hold too."""
        while not self.ended and self._read():
            pass
        self.close()

    def close(self) -> None:
        """Read no more; again is harmless."""
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._sink(b"")

    def _ready(self, _events: int) -> None:
        self._read()

    def _read(self) -> bool:
        """Read once; False when there is nothing now."""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: a terminal that was hung up
            data = b""
        if data:
            self._sink(data)
        else:
            self.close()
        return bool(data)
