"""Writes to kernel settings, through a procfs that is one and that nobody covered or linked away (ATTACKS RT-12).

A container that joins a mount namespace by path meets the ``/proc`` of whoever prepared that.
"""

from __future__ import annotations

import errno
import os

from ociworks._linux import path
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["read", "write"]

_MAGIC: Final = 0x9FA0
_ROOT: Final = 1
"""The inode of a procfs' root (PROC_ROOT_INO)."""
_RESOLVE: Final = path.RESOLVE_BENEATH | path.RESOLVE_NO_MAGICLINKS | path.RESOLVE_NO_XDEV


def read(name: str) -> bytes:
    """The beginning of ``/proc/<name>``, not of anything mounted there; ``self`` may be part of it."""
    fd = _open(name, os.O_RDONLY, links=True)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def write(name: str, value: bytes, *, links: bool = False) -> None:
    """One write to ``/proc/<name>``, not through anything mounted there; ``links``: ``self`` may be part of it."""
    fd = _open(name, os.O_WRONLY, links=links)
    try:
        os.write(fd, value)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"/proc/{name}") from None
    finally:
        os.close(fd)


def _open(name: str, flags: int, *, links: bool) -> int:
    resolve = _RESOLVE if links else _RESOLVE | path.RESOLVE_NO_SYMLINKS
    base = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if path.filesystem_type(base) != _MAGIC or os.stat(base).st_ino != _ROOT:
            raise StepError("expected the root of a procfs", "/proc", errno.ENODEV)
        return path.openat2(base, name, flags, resolve=resolve)
    finally:
        os.close(base)
