"""Paths by directory descriptor: the one primitive through which untrusted names are resolved.

``openat2`` asks the kernel to keep resolution inside a directory; everything later is relative to the descriptor
that it returns. Nothing here joins an untrusted name to a path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys

from ociworks._linux.libc import cstring, libc, oserror, syscall, syscall_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "IN_ROOT",
    "RESOLVE_BENEATH",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "RESOLVE_NO_XDEV",
    "filesystem_type",
    "makedirs_in_root",
    "open_in_root",
    "openat2",
    "remove_tree",
    "remove_tree_at",
    "rename_new",
    "start_writeback",
    "sync_filesystem",
]

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10
IN_ROOT: Final = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
"""How names inside a root filesystem are resolved: links are relative to the root, magic links are refused."""

_SYS_OPENAT2: Final = 437
_HOW: Final = struct.Struct("=QQQ")
"""struct open_how: flags, mode, resolve."""
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY
_RETRIES: Final = 64
_MAX_OPEN: Final = 64
_MAX_TRIES: Final = 1 << 16
_RENAME_NOREPLACE: Final = 1


def openat2(dirfd: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): a close-on-exec descriptor for ``path`` below ``dirfd``.

    EAGAIN (a concurrent rename made the kernel unsure that it stayed inside) is tried again a bounded number of times.
    """
    raw = cstring(path)
    how = _HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    for attempt in range(_RETRIES):
        try:
            return syscall(_SYS_OPENAT2, dirfd, raw, how, len(how), call="openat2", path=path)
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == _RETRIES - 1:
                raise
    raise AssertionError  # unreachable: the last attempt raises


def open_in_root(rootfd: int, path: str | bytes, flags: int, *, mode: int = 0) -> int:
    """Open ``path`` as a process chrooted at ``rootfd`` would see it; magic links are refused with ELOOP."""
    return openat2(rootfd, path, flags, mode=mode, resolve=IN_ROOT)


def makedirs_in_root(rootfd: int, path: str | bytes, *, mode: int = 0o755) -> int:
    """Make the missing directories of ``path`` inside the root and return an O_PATH descriptor of the last.

    Existing components may be links (resolved inside the root); missing ones are made by mkdirat, one at a time.
    Raises NotADirectoryError when a component is something else, and FileNotFoundError for a dangling link.
    """
    parts = [part for part in cstring(path).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ValueError(f"'..' in {path!r}")
    try:
        return open_in_root(rootfd, b"/".join(parts) or b".", _DIRECTORY)
    except FileNotFoundError:
        return _make_missing(rootfd, parts, mode)


def _make_missing(rootfd: int, parts: list[bytes], mode: int) -> int:
    walked = b"."
    current = openat2(rootfd, b".", _DIRECTORY)
    try:
        for part in parts:
            walked += b"/" + part
            try:
                child = open_in_root(rootfd, walked, _DIRECTORY)
            except FileNotFoundError:
                os.mkdir(part, mode, dir_fd=current)
                child = openat2(current, part, _DIRECTORY | os.O_NOFOLLOW)
            os.close(current)
            current = child
    except BaseException:
        os.close(current)
        raise
    return current


def rename_new(old: str, new: str) -> None:
    """Rename a file or directory (absolute paths); FileExistsError when there is anything under the new name."""
    number = syscall_number("renameat2")
    syscall(number, -1, cstring(old), -1, cstring(new), _RENAME_NOREPLACE, call="renameat2", path=new)


def remove_tree(name: str) -> None:
    """Remove the directory of this absolute path and all below it; nothing when it or its parent is not there."""
    parent, _, last = name.rpartition("/")
    try:
        os.rmdir(name)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOTDIR, errno.EACCES):
            raise
    else:
        return
    try:
        place = os.open(parent or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_tree_at(place, last, missing_ok=True)
    finally:
        os.close(place)


def remove_tree_at(dirfd: int, name: str | bytes, *, missing_ok: bool = False) -> None:
    """Remove ``name`` in ``dirfd`` and all below it, by descriptors: links are never followed, mounts never crossed.

    Iterative, with a bounded number of descriptors: what is deeper is first moved up to the top of the tree. A
    directory of the caller's that forbids it is made writable. Raises OSError(EXDEV) at a mount point.
    """
    name = cstring(name)
    try:
        info = os.stat(name, dir_fd=dirfd, follow_symlinks=False)
    except FileNotFoundError:
        if missing_ok:
            return
        raise
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=dirfd)
        return
    stack = [_Doomed(dirfd, name)]
    try:
        while stack:
            child = stack[-1].next_directory()
            if child is None:
                stack.pop().remove()
            elif len(stack) < _MAX_OPEN:
                stack.append(_Doomed(stack[-1].fd, child))
            else:
                stack[-1].move_up(child, stack[0])
    finally:
        for doomed in stack:
            os.close(doomed.fd)


class _Doomed:
    """A directory that is being emptied."""

    __slots__ = ("_left", "_moved", "_name", "_parent", "fd")

    def __init__(self, parent: int, name: bytes) -> None:
        self._parent = parent
        self._name = name
        self._left: list[bytes] = []
        self._moved = 0
        self.fd = _open_doomed(parent, name)

    def next_directory(self) -> bytes | None:
        """Unlink the files in here; the name of a subdirectory, or None when nothing is left."""
        if not self._left:
            with os.scandir(self.fd) as entries:
                found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
            self._left = [name for name, is_directory in found if is_directory]
            for name, is_directory in found:
                if not is_directory:
                    os.unlink(name, dir_fd=self.fd)
        return self._left.pop() if self._left else None

    def move_up(self, name: bytes, top: _Doomed) -> None:
        """Make ``name`` a child of ``top``, which finds it when it looks again."""
        os.close(_open_doomed(self.fd, name))  # a mount is noticed, and the directory made writable
        for _ in range(_MAX_TRIES):
            top._moved += 1
            try:
                os.rename(name, b".removed-%d" % top._moved, src_dir_fd=self.fd, dst_dir_fd=top.fd)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
            else:
                return
        raise OSError(errno.EEXIST, "cannot move a deep directory up", name)

    def remove(self) -> None:
        """Close and remove it, now empty."""
        os.close(self.fd)
        os.rmdir(self._name, dir_fd=self._parent)


def _open_doomed(dirfd: int, name: bytes) -> int:
    """Open a subdirectory for reading; make it readable and writable where the caller may and must."""
    resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
    try:
        fd = openat2(dirfd, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=resolve)
    except PermissionError:
        handle = openat2(dirfd, name, _DIRECTORY | os.O_NOFOLLOW, resolve=resolve)
        try:
            # fchmod(2) refuses O_PATH descriptors; the magic link reaches exactly this directory.
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
            fd = openat2(dirfd, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=resolve)
        finally:
            os.close(handle)
    try:
        if os.fstat(fd).st_mode & 0o300 != 0o300:
            os.fchmod(fd, 0o700)
    except BaseException:
        os.close(fd)
        raise
    return fd


_libc_fstatfs = libc.fstatfs
_libc_fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]
_libc_fstatfs.restype = ctypes.c_int


def filesystem_type(fd: int) -> int:
    """The magic number of the file system behind ``fd`` (statfs(2), f_type)."""
    buffer = ctypes.create_string_buffer(256)
    if _libc_fstatfs(fd, ctypes.addressof(buffer)) == -1:
        raise oserror("fstatfs")
    return int.from_bytes(buffer.raw[:8], sys.byteorder, signed=True)


_libc_syncfs = libc.syncfs
_libc_syncfs.argtypes = [ctypes.c_int]
_libc_syncfs.restype = ctypes.c_int


def sync_filesystem(fd: int) -> None:
    """syncfs(2): everything that was written to the file system of ``fd`` is on the disk."""
    if _libc_syncfs(fd) == -1:
        raise oserror("syncfs")


_SYNC_FILE_RANGE_WRITE: Final = 2
_libc_sync_file_range = libc.sync_file_range
_libc_sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_libc_sync_file_range.restype = ctypes.c_int


def start_writeback(fd: int) -> None:
    """sync_file_range(2): begin to write a file back, without waiting for it; a hint, so never an error."""
    _libc_sync_file_range(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)
