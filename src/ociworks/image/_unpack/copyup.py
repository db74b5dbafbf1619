"""What a layer in overlay form must take along from the layers below, with all that can be seen of it.

A directory in which the layer has something, because the upper directory's own metadata is what a mount shows; and the
target of a hard link, because two names of one file must be in one layer. overlayfs does the same.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from ociworks.errors import TarError
from ociworks.image._unpack.lower import beneath
from ociworks.image._unpack.xattrs import copy_xattrs

if TYPE_CHECKING:
    from ociworks.image._unpack.lower import Found, Parts

__all__ = ["copy_metadata", "copy_node"]

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE: Final = 0o600
_READ: Final = 1 << 20
_NO_RANGES: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def copy_metadata(found: Found, parts: Parts, fd: int, *, chown: bool, extra: int = 0) -> None:
    """Owner, mode (with ``extra`` bits) and attributes of what is at ``parts`` below, to an open file or directory."""
    info = found.info
    if chown:
        os.fchown(fd, info.st_uid, info.st_gid)
    os.fchmod(fd, stat.S_IMODE(info.st_mode) | extra)
    handle = beneath(found.layer, parts)
    if handle is None:
        raise TarError("a layer below changed while another one was unpacked")
    try:
        copy_xattrs(handle, fd)
    finally:
        os.close(handle)


def copy_node(found: Found, parts: Parts, dirfd: int, *, chown: bool) -> None:
    """A file or symlink to the same name in ``dirfd``, where there is nothing."""
    name, info = parts[-1], found.info
    if stat.S_ISLNK(info.st_mode):
        os.symlink(_target(found, parts), name, dir_fd=dirfd)
        if chown:
            os.chown(name, info.st_uid, info.st_gid, dir_fd=dirfd, follow_symlinks=False)
        os.utime(name, ns=(info.st_mtime_ns, info.st_mtime_ns), dir_fd=dirfd, follow_symlinks=False)
        return
    target = os.open(name, _CREATE, _PRIVATE, dir_fd=dirfd)
    try:
        _copy_content(found, parts, target)
        copy_metadata(found, parts, target, chown=chown)
        os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))
    finally:
        os.close(target)


def _target(found: Found, parts: Parts) -> bytes:
    handle = beneath(found.layer, parts)
    if handle is None:
        raise TarError("a layer below changed while another one was unpacked")
    try:
        return os.readlink(b"", dir_fd=handle)
    finally:
        os.close(handle)


def _copy_content(found: Found, parts: Parts, target: int) -> None:
    source = beneath(found.layer, parts, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if source is None:
        raise TarError("a layer below changed while another one was unpacked")
    try:
        try:
            while os.copy_file_range(source, target, 1 << 30):
                pass
        except OSError as error:
            if error.errno not in _NO_RANGES:
                raise
            while data := os.read(source, _READ):
                view = memoryview(data)
                while view:
                    view = view[os.write(target, view) :]
    finally:
        os.close(source)
