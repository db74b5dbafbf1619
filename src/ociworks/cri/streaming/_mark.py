"""What a program and all that come of it bear, whatever they leave behind: a limit that limits nothing.

Real-time processes may run without a pause for as long as RLIMIT_RTTIME says, in microseconds. Where there is no such
limit, one of seventy thousand years is as good, and there are enough of them to tell programs apart by. Limits are
inherited, also by who leaves its parent, its session and its streams.
"""

from __future__ import annotations

import itertools
import resource
import secrets
from typing import Final

from ociworks.spec.runtime import Rlimit

__all__ = ["bears", "limits_of", "new_mark"]

_LINE: Final = b"Max realtime timeout"
_UNLIMITED: Final = 2**64 - 1
_marks: Final = itertools.count((1 << 61) + secrets.randbits(60))
"""Another server's are others, as what it began may still be there."""


def new_mark() -> int:
    """A mark that nobody bears; 0 where this server is limited itself: then such a limit means something."""
    mine = resource.getrlimit(resource.RLIMIT_RTTIME)
    return next(_marks) if mine == (resource.RLIM_INFINITY, resource.RLIM_INFINITY) else 0


def limits_of(mark: int) -> tuple[Rlimit, ...]:
    """The limits of a program that is to bear it; whoever wants may still raise them."""
    return (Rlimit(type="RLIMIT_RTTIME", soft=mark, hard=_UNLIMITED),) if mark else ()


def bears(pid: int, mark: int) -> bool:
    """Whether this process has the mark; nobody has 0."""
    if not mark:
        return False
    try:
        with open(f"/proc/{pid}/limits", "rb") as stream:
            lines = stream.read(8192).splitlines()
    except OSError:
        return False
    return any(line.startswith(_LINE) and str(mark).encode() in line.split() for line in lines)
