"""Criu, as a single-threaded helper starts it: with mounts of its own, among them the root filesystem."""

from __future__ import annotations

import _signal
import fcntl
import os

from ociworks._linux import mount, process
from ociworks.runtime._init import programs, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    from ociworks.runtime._init.rootfs import Layers

__all__ = ["start"]

_HIGH: Final = 512
_AT_FDCWD: Final = -100


def start(
    argv: Sequence[str],
    env: Mapping[str, str],
    fds: Sequence[int],
    source: str,
    target: str,
    layers: Layers | None,
) -> int:
    """Start a program with these descriptors as 0, 1, 2 and so on; its pid.

    On the directory ``target`` it has the tree at ``source``, or an overlay of ``layers``; nobody else sees that.
    """
    pid, pidfd = process.clone(process.CLONE_NEWNS)
    if pid:
        os.close(pidfd)
        return pid
    try:
        mount.set_attributes(_AT_FDCWD, propagation=mount.MS_SLAVE, recursive=True, path="/")
        rootfs.mount_root(source, target, layers)
        for number in programs.DEFAULT:
            _signal.signal(number, _signal.SIG_DFL)
        for fd, free in [(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH), at) for at, fd in enumerate(fds)]:
            os.dup2(fd, free)
        os.execve(argv[0], list(argv), env)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(127)
