"""The file-descriptor mount API (Linux 5.2 and later; mount_setattr needs 5.12).

A mount is made detached, given its attributes, and then attached to a descriptor that was resolved once:
no path is looked up twice.
"""

from __future__ import annotations

import ctypes
import os

from ociworks._linux.libc import cstring, libc, oserror, syscall, syscall_number
from ociworks._linux.numbers import (
    ATTR_ATIME,
    ATTR_IDMAP,
    ATTR_NOATIME,
    ATTR_NODEV,
    ATTR_NODIRATIME,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_NOSYMFOLLOW,
    ATTR_RDONLY,
    ATTR_RELATIME,
    ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "ATTR_ATIME",
    "ATTR_IDMAP",
    "ATTR_NOATIME",
    "ATTR_NODEV",
    "ATTR_NODIRATIME",
    "ATTR_NOEXEC",
    "ATTR_NOSUID",
    "ATTR_NOSYMFOLLOW",
    "ATTR_RDONLY",
    "ATTR_RELATIME",
    "ATTR_STRICTATIME",
    "AT_EMPTY_PATH",
    "AT_RECURSIVE",
    "MNT_DETACH",
    "MS_PRIVATE",
    "MS_SHARED",
    "MS_SLAVE",
    "MS_UNBINDABLE",
    "attach",
    "clone_tree",
    "make_filesystem",
    "pivot_root",
    "set_attributes",
    "unmount",
]

AT_RECURSIVE: Final = 0x8000
AT_EMPTY_PATH: Final = 0x1000
AT_SYMLINK_NOFOLLOW: Final = 0x100
MNT_DETACH: Final = 2

_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_MOUNT_SETATTR: Final = 442

_CLONE: Final = 1
_FROM_EMPTY_PATH: Final = 0x04
_TO_EMPTY_PATH: Final = 0x40
_SET_FLAG: Final = 0
_SET_STRING: Final = 1
_CREATE: Final = 6
_CLOEXEC: Final = 1
_AT_FDCWD: Final = -100

libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
libc.umount2.restype = ctypes.c_int


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def clone_tree(dirfd: int, path: str | bytes, *, recursive: bool = False, follow: bool = True) -> int:
    """open_tree(2): a detached copy of the mount at ``path`` (all mounts below it too when ``recursive``)."""
    raw = cstring(path)
    flags = (
        _CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if follow else AT_SYMLINK_NOFOLLOW)
    )
    if not raw:
        flags |= AT_EMPTY_PATH
    return syscall(_OPEN_TREE, dirfd, raw, flags, call="open_tree", path=path)


def make_filesystem(fstype: str, options: tuple[tuple[str, str | None], ...], attributes: int) -> int:
    """fsopen, fsconfig for each option, fsmount: a detached mount. A value of None makes a flag option.

    Options are single keys and values; nothing is split or joined on the way to the kernel.
    """
    name = cstring(fstype)
    context = syscall(_FSOPEN, name, _CLOEXEC, call="fsopen", path=fstype)
    try:
        for key, value in options:
            _configure(context, fstype, key, value)
        syscall(_FSCONFIG, context, _CREATE, call="fsconfig create", path=fstype)
        return syscall(_FSMOUNT, context, _CLOEXEC, attributes, call="fsmount", path=fstype)
    finally:
        os.close(context)


def _configure(context: int, fstype: str, key: str, value: str | None) -> None:
    command = _SET_FLAG if value is None else _SET_STRING
    argument = 0 if value is None else cstring(value)
    syscall(_FSCONFIG, context, command, cstring(key), argument, call=f"fsconfig {key}", path=fstype)


def attach(mount: int, target: int) -> None:
    """move_mount(2): attach the detached ``mount`` on the directory or file that ``target`` refers to."""
    syscall(
        _MOVE_MOUNT,
        mount,
        b"",
        target,
        b"",
        _FROM_EMPTY_PATH | _TO_EMPTY_PATH,
        call="move_mount",
    )


def set_attributes(
    mount: int,
    *,
    set_: int = 0,
    clear: int = 0,
    propagation: int = 0,
    recursive: bool = False,
    path: str = "",
    user_namespace: int = 0,
) -> None:
    """mount_setattr(2) on the mount that a descriptor refers to, or on ``path`` when ``mount`` is AT_FDCWD (-100).

    With ATTR_IDMAP in ``set_``, ``user_namespace`` is the descriptor of the namespace whose maps are applied.
    """
    raw = cstring(path)
    attr = _MountAttr(set_, clear, propagation, user_namespace)
    flags = (AT_RECURSIVE if recursive else 0) | (0 if raw else AT_EMPTY_PATH)
    syscall(
        _MOUNT_SETATTR,
        mount,
        raw,
        flags,
        ctypes.addressof(attr),
        ctypes.sizeof(attr),
        call="mount_setattr",
        path=path or None,
    )


def pivot_root(new: str | bytes, old: str | bytes) -> None:
    """pivot_root(2)."""
    syscall(syscall_number("pivot_root"), cstring(new), cstring(old), call="pivot_root", path=new)


def unmount(path: str | bytes, flags: int = 0) -> None:
    """umount2(2)."""
    if libc.umount2(cstring(path), flags) == -1:
        raise oserror("umount2", path)
