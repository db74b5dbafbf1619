"""How a container ended, left on disk exactly once: space for it is taken at creation, and a rename publishes it."""

from __future__ import annotations

import os

from ociworks.runtime import _cgroupkill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["FILE", "Exit", "Oom"]

FILE: Final = "exit.json"
_PREPARED: Final = ".exit.json"
_SIZE: Final = 256
_KILLED: Final = -9


class Exit:
    """The place for the exit status in the state directory ``place``; a full disk cannot prevent writing it."""

    def __init__(self, place: int) -> None:
        self._place = place
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(_PREPARED, flags, 0o600, dir_fd=place)
        os.write(self._fd, b" " * _SIZE)

    def publish(self, status: int, now: bytes, lost: int, *, oom: bool) -> None:
        """Write it; of a container that was deleted meanwhile, nobody wants to know."""
        text = b'{"version":1,"status":%d,"oomKilled":%s,"exitedAt":"%s","logLost":%d}' % (
            status,
            b"true" if oom else b"false",
            now,
            lost,
        )
        try:
            os.pwrite(self._fd, text.ljust(_SIZE - 1) + b"\n", 0)
            os.rename(_PREPARED, FILE, src_dir_fd=self._place, dst_dir_fd=self._place)
        except FileNotFoundError:
            return


class Oom:
    """Whether the kernel killed something in these control groups for want of memory.

    systemd removes the group of a scope as soon as it is empty, perhaps before we have read its counter. The one of the
    slice above has the same kills, beside those of other scopes; what is known to be of others is taken off.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        names = [f"{group}/{name}" for group in groups for name in ("memory.events", "memory.oom_control")]
        self._files = [fd for fd in map(_open, names) if fd >= 0]
        self._others = 0
        scope = next((group for group in groups if group.endswith(".scope")), "")
        self.above = _open(f"{os.path.dirname(scope)}/memory.events") if scope else -1
        """The counter of the slice, ready for EPOLLPRI when it changes; -1 without one."""
        self.look()

    def look(self) -> bool:
        """Take off what was of others until now, since the kernel counts a kill below first; whether it can be told."""
        above = _count(self.above)
        if above is not None and self._own() == 0:
            self._others = above
        return above is not None

    def happened(self, status: int) -> bool:
        """Ask the counters, which stay readable after the last process has ended, as long as nobody removes them."""
        own = self._own()
        if own is None and status == _KILLED:
            return (_count(self.above) or 0) > self._others
        return bool(own)

    def _own(self) -> int | None:
        found = [count for count in map(_count, self._files) if count is not None]
        return sum(found) if found else None


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return -1  # no memory controller here


def _count(fd: int) -> int | None:
    """How many were killed; None when nobody counts, or the group was removed."""
    try:
        lines = os.pread(fd, 4096, 0).splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(b"oom_kill ")), b"")
    return _cgroupkill.number(found[9:].decode("ascii")) if found else None
