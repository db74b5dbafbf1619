"""Owners, modes, times and attributes, applied to descriptors or without following links: never through a name alone.

The order matters to the kernel: chown clears set-uid bits and file capabilities, so it comes first; writing attributes
comes before the times.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ociworks.errors import TarError, quote
from ociworks.image._unpack.xattrs import record_owner, set_xattrs

if TYPE_CHECKING:
    from ociworks.image._unpack.policy import Budget, UnpackOptions
    from ociworks.image.tar.entry import TarEntry

__all__ = ["apply_to_link", "apply_to_node", "apply_to_open"]


def apply_to_open(fd: int, entry: TarEntry, options: UnpackOptions, budget: Budget, mode: int) -> None:
    """Everything but the time, on an open file or directory; ``mode`` may differ from the entry's for a while."""
    if not options.rootless:
        os.fchown(fd, *options.host_owner(entry.uid, entry.gid))
    os.fchmod(fd, mode)
    if entry.xattrs:
        set_xattrs(fd, entry, budget, options)
    if options.record_owners and options.rootless:
        record_owner(fd, entry, budget)


def apply_to_link(dirfd: int, name: bytes, entry: TarEntry, options: UnpackOptions, budget: Budget) -> None:
    """Owner and time of a symlink itself. It has no mode of its own, and the kernel takes no ``user.*`` for it."""
    if not options.rootless:
        uid, gid = options.host_owner(entry.uid, entry.gid)
        os.chown(name, uid, gid, dir_fd=dirfd, follow_symlinks=False)
    if entry.xattrs:
        budget.skip(entry.path, "extended attributes of a symlink left out", once="symlink xattrs")
    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=dirfd, follow_symlinks=False)


def apply_to_node(dirfd: int, name: bytes, entry: TarEntry, options: UnpackOptions) -> None:
    """Owner, mode and time of a FIFO or device, which is never opened: that could block, or reach a driver."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dirfd)
    try:
        if stat.S_ISLNK(os.fstat(handle).st_mode):
            raise TarError("the tree changed while it was unpacked", quote(entry.path))
        if not options.rootless:
            uid, gid = options.host_owner(entry.uid, entry.gid)
            os.chown(name, uid, gid, dir_fd=dirfd, follow_symlinks=False)
        # fchmod(2) refuses O_PATH descriptors; the magic link reaches exactly this inode.
        os.chmod(f"/proc/self/fd/{handle}", entry.mode)
    finally:
        os.close(handle)
    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=dirfd, follow_symlinks=False)
