"""The standard streams of this process, which a container may get as its own."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["fill_standard"]

_LAST: Final = 2


def fill_standard() -> None:
    """Open the null device where this process has no standard stream, before anything of ours takes that number.

    Otherwise a channel, or a pipe of another container, would become the stream of the next container (RT-16).
    """
    try:
        for fd in range(_LAST + 1):
            os.fstat(fd)
    except OSError:
        while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= _LAST:
            pass
        os.close(fd)
