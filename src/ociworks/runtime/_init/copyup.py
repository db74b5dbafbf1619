"""What a directory has, copied into the tmpfs that will cover it (``tmpcopyup``; ATTACKS UN-23).

Names are reached by descriptors and never followed. Directories, files and links keep mode, owner and times, and all
but links their extended attributes, as far as the tmpfs takes them; whatever else is there is left out.
"""

from __future__ import annotations

import errno
import os
import stat

from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["copy"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE: Final = 1 << 30
_NOBODYS: Final = frozenset((errno.EINVAL,))
"""What is said of an owner whom the user namespace does not have."""
_NOT_HERE: Final = frozenset((errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ENODATA))
"""What is said of attributes that a file system, or its user namespace, does not take: those are left out."""
_DEEPEST: Final = 100
"""Levels; each holds four descriptors."""


def copy(place: int, made: int) -> None:
    """Copy the directory ``place`` into the root of the mount ``made``, whose own mode and owner stay."""
    source = os.open(".", _DIRECTORY, dir_fd=place)
    try:
        target = os.open(".", _DIRECTORY, dir_fd=made)
        try:
            _entries(source, target, 0)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _entries(source: int, target: int, depth: int) -> None:
    for name in os.listdir(source):
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFDIR:
            _directory(source, target, name, info, depth)
        elif kind == stat.S_IFREG:
            _file(source, target, name, info)
        elif kind == stat.S_IFLNK:
            _link(source, target, name, info)


def _directory(source: int, target: int, name: str, info: os.stat_result, depth: int) -> None:
    if depth == _DEEPEST:
        raise StepError(f"tmpcopyup: deeper than {_DEEPEST} directories", name, errno.ELOOP)
    inner = os.open(name, _DIRECTORY, dir_fd=source)
    try:
        os.mkdir(name, 0o700, dir_fd=target)
        made = os.open(name, _DIRECTORY, dir_fd=target)
        try:
            _entries(inner, made, depth + 1)
            _keep(inner, made, info)
        finally:
            os.close(made)
    finally:
        os.close(inner)


def _file(source: int, target: int, name: str, info: os.stat_result) -> None:
    opened = os.open(name, _READ, dir_fd=source)
    try:
        made = os.open(name, _CREATE, 0o600, dir_fd=target)
        try:
            while os.sendfile(made, opened, None, _PIECE):
                pass
            _keep(opened, made, info)
        finally:
            os.close(made)
    finally:
        os.close(opened)


def _link(source: int, target: int, name: str, info: os.stat_result) -> None:
    os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    try:
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
    except OSError as error:
        _check(error, _NOBODYS)
    os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _keep(source: int, made: int, info: os.stat_result) -> None:
    """Owner, mode, extended attributes and times, in the order in which none undoes another."""
    try:
        os.fchown(made, info.st_uid, info.st_gid)
    except OSError as error:
        _check(error, _NOBODYS)
    os.fchmod(made, stat.S_IMODE(info.st_mode))
    _attributes(source, made)
    os.utime(made, ns=(info.st_atime_ns, info.st_mtime_ns))


def _attributes(source: int, made: int) -> None:
    try:
        names = os.listxattr(source)
    except OSError as error:
        _check(error, _NOT_HERE)
        return
    for name in names:
        try:
            os.setxattr(made, name, os.getxattr(source, name))
        except OSError as error:
            _check(error, _NOT_HERE)


def _check(error: OSError, expected: frozenset[int]) -> None:
    if error.errno not in expected:
        raise error
