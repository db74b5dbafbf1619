"""How a container ended, left on disk exactly once: space for it is taken at creation, and a rename publishes it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["FILE", "Exit", "Oom"]

FILE: Final = "exit.json"
_PREPARED: Final = ".exit.json"
_SIZE: Final = 256


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
    """Whether the kernel killed something in these control groups for want of memory."""

    def __init__(self, groups: Sequence[str]) -> None:
        self._files = []
        for path in (
            f"{group}/{name}" for group in groups for name in ("memory.events", "memory.oom_control")
        ):
            try:
                self._files.append(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            except OSError:
                continue  # no memory controller here

    def happened(self) -> bool:
        """Ask the kernel's counters; they stay readable after the last process has ended."""
        return any(self._count(fd) for fd in self._files)

    def _count(self, fd: int) -> bool:
        try:
            lines = os.pread(fd, 4096, 0).splitlines()
        except OSError:
            return False  # the group was removed
        return any(line.startswith(b"oom_kill ") and line != b"oom_kill 0" for line in lines)
