"""The caller's side of a container's terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

__all__ = ["Console"]


class Console:
    """The master of a container's terminal: bytes in, bytes out, and its size. Closing it hangs the terminal up.

    The terminal is as the kernel makes it: it echoes, and a line ends with CR LF (termios(3), ECHO and ONLCR).
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor, for select and friends; -1 when closed."""
        return self._fd

    def read(self, size: int = 65536) -> bytes:
        """Up to ``size`` bytes of output; empty when every process has closed the terminal."""
        try:
            return os.read(self._fd, size)
        except OSError as error:
            if error.errno == errno.EIO:  # EIO: no process holds the other side any more
                return b""
            raise

    def write(self, data: bytes) -> int:
        """Type ``data``; returns how many bytes were taken."""
        return os.write(self._fd, data)

    def resize(self, width: int, height: int) -> None:
        """Set the size in characters; programs get SIGWINCH."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def size(self) -> tuple[int, int]:
        """The size in characters as (width, height)."""
        height, width, _, _ = struct.unpack("HHHH", fcntl.ioctl(self._fd, termios.TIOCGWINSZ, bytes(8)))
        return width, height

    def close(self) -> None:
        """Close the master; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
