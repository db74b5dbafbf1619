"""overlayfs from descriptors: the directories are opened once, and reach the kernel as ``/proc/self/fd/N``.

Linux 6.8 takes lower directories one at a time, so their number is bounded by overlayfs alone (500). Older kernels take
one string of a page, which holds about two hundred names of this form.
"""

from __future__ import annotations

import ctypes
import errno
import os

from ociworks._linux.libc import cstring, libc, oserror
from ociworks._linux.mount import attach, make_filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["mount_overlay"]

_FSTYPE: Final = "overlay"
_OLD: Final = (errno.EINVAL, errno.ENOSYS)
"""What kernels before 6.8 say of ``lowerdir+``."""
_PAGE: Final = 4096

_libc_mount = libc.mount
_libc_mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc_mount.restype = ctypes.c_int


def mount_overlay(
    target: int,
    lowers: Sequence[int],
    *,
    upper: int | None = None,
    work: int | None = None,
    user: bool = False,
    volatile: bool = False,
) -> None:
    """Mount an overlay on the directory ``target``; ``lowers`` are directories, the topmost first.

    With ``upper`` and ``work`` (both on one file system, ``work`` empty) it can be written. ``user`` reads overlayfs's
    marks from ``user.overlay.*`` attributes, as a mount in a user namespace must. ``volatile`` leaves out every sync of
    what is written, also the one of the whole file system at the end, where the kernel can (Linux 5.10); ``upper`` and
    ``work`` cannot be mounted again then. Raises ``OSError``.
    """
    if volatile and upper is not None:
        try:
            _mount(target, lowers, (*_options(upper, work, user=user), ("volatile", None)))
        except OSError as error:
            if error.errno not in _OLD:
                raise
        else:
            return
    _mount(target, lowers, _options(upper, work, user=user))


def _mount(target: int, lowers: Sequence[int], options: tuple[tuple[str, str | None], ...]) -> None:
    try:
        mount = make_filesystem(_FSTYPE, (*(("lowerdir+", _path(fd)) for fd in lowers), *options), 0)
    except OSError as error:
        if error.errno not in _OLD:
            raise
        _mount_old(target, lowers, options)
        return
    try:
        attach(mount, target)
    finally:
        os.close(mount)


def _path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _options(upper: int | None, work: int | None, *, user: bool) -> tuple[tuple[str, str | None], ...]:
    writable = () if upper is None or work is None else (("upperdir", _path(upper)), ("workdir", _path(work)))
    return (*writable, ("userxattr", None)) if user else writable


def _mount_old(target: int, lowers: Sequence[int], options: Sequence[tuple[str, str | None]]) -> None:
    """mount(2): one string for everything."""
    words = ["lowerdir=" + ":".join(map(_path, lowers))]
    words += [key if value is None else f"{key}={value}" for key, value in options]
    data = cstring(",".join(words))
    if len(data) >= _PAGE:
        raise OSError(errno.E2BIG, f"mount overlay: {len(lowers)} layers need Linux 6.8")
    if _libc_mount(b"overlay", cstring(_path(target)), cstring(_FSTYPE), 0, data) == -1:
        raise oserror("mount overlay", _path(target))
