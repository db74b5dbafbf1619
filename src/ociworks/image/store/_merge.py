"""Layer directories into one plain tree: what overlayfs shows, copied, where it cannot be mounted.

The topmost layer that has a name decides; directories of several layers become one, and the topmost describes it. Two
names of one inode in a layer are two names of one inode in the copy. Names are reached by descriptors and never
followed; sockets are left out, since nobody listens on them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ociworks.image.store._marks import Dialect, is_mark, is_opaque, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Owners", "merge"]

Owners = Callable[[int, int], tuple[int, int]]
"""User and group of a copy, by those in the layer."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE: Final = 1 << 30
_CANNOT_COPY: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def merge(layers: Sequence[int], target: int, dialect: Dialect, owners: Owners | None = None) -> None:
    """Copy what ``layers`` (directories, topmost first) show together into the empty directory ``target``.

    Owners are kept by root, or become what ``owners`` makes of them, and are the caller's otherwise. Raises
    ``OSError``.
    """
    visible = next((end for end, fd in enumerate(layers, 1) if is_opaque(fd, dialect)), len(layers))
    _Merge(target, dialect, (owners or _same) if os.geteuid() == 0 else None).directory(
        list(layers[:visible]), target
    )


def _same(uid: int, gid: int) -> tuple[int, int]:
    return uid, gid


class _Merge:
    def __init__(self, root: int, dialect: Dialect, owners: Owners | None) -> None:
        self._dialect = dialect
        self._owners = owners
        self._root = root
        self._linked: dict[tuple[int, int], bytes] = {}
        """Inodes of several names: where their first copy is. The tree is our own, and no part of a path is a link."""

    def directory(self, layers: list[int], target: int, path: bytes = b"") -> None:
        """Merge directories, topmost first, into ``target``, which is at ``path``; the descriptors stay open."""
        seen: set[bytes] = set()
        for depth, layer in enumerate(layers):
            with os.scandir(layer) as entries:
                names = sorted(os.fsencode(entry.name) for entry in entries)
            for name in names:
                if name not in seen:
                    seen.add(name)
                    self._entry(layers[depth:], target, path + name)
        info = os.fstat(layers[0])
        self._describe(layers[0], target, info)
        os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))

    def _entry(self, layers: list[int], target: int, path: bytes) -> None:
        """One name, as the first of ``layers`` has it."""
        name = path.rpartition(b"/")[2]
        info = os.stat(name, dir_fd=layers[0], follow_symlinks=False)
        if is_whiteout(info) or stat.S_ISSOCK(info.st_mode):
            return
        if stat.S_ISDIR(info.st_mode):
            self._subdirectory(layers, name, target, path)
        elif first := self._linked.get((info.st_dev, info.st_ino)):
            os.link(first, name, src_dir_fd=self._root, dst_dir_fd=target, follow_symlinks=False)
        else:
            self._copy(layers[0], name, target, info)
            if info.st_nlink > 1:
                self._linked[info.st_dev, info.st_ino] = path

    def _subdirectory(self, layers: list[int], name: bytes, target: int, path: bytes) -> None:
        below = _opened(layers, name, self._dialect)
        try:
            os.mkdir(name, 0o700, dir_fd=target)
            made = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                self.directory(below, made, path + b"/")
            finally:
                os.close(made)
        finally:
            for fd in below:
                os.close(fd)

    def _copy(self, source: int, name: bytes, target: int, info: os.stat_result) -> None:
        if stat.S_ISREG(info.st_mode):
            self._file(source, name, target, info)
            return
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, stat.S_IFMT(info.st_mode) | 0o600, info.st_rdev, dir_fd=target)
        if self._owners is not None:
            os.chown(name, *self._owners(info.st_uid, info.st_gid), dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=target)
        os.utime(name, ns=(info.st_mtime_ns, info.st_mtime_ns), dir_fd=target, follow_symlinks=False)

    def _file(self, source: int, name: bytes, target: int, info: os.stat_result) -> None:
        old = os.open(name, _READ, dir_fd=source)
        try:
            new = os.open(name, _CREATE, 0o600, dir_fd=target)
            try:
                _content(old, new, info.st_size)
                self._describe(old, new, info)
                os.utime(new, ns=(info.st_mtime_ns, info.st_mtime_ns))
            finally:
                os.close(new)
        finally:
            os.close(old)

    def _describe(self, old: int, new: int, info: os.stat_result) -> None:
        """Owner, mode and attributes; chown first, because it takes set-id bits and capabilities away."""
        if self._owners is not None:
            os.fchown(new, *self._owners(info.st_uid, info.st_gid))
        os.fchmod(new, stat.S_IMODE(info.st_mode))
        for attribute in _attributes(old):
            os.setxattr(new, attribute, os.getxattr(old, attribute))


def _opened(layers: list[int], name: bytes, dialect: Dialect) -> list[int]:
    """The directories that are one directory together, down to the first that hides what is below it."""
    found: list[int] = []
    try:
        for layer in layers:
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=layer)
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                break
            found.append(fd)
            if is_opaque(fd, dialect):
                break
    except BaseException:
        for fd in found:
            os.close(fd)
        raise
    return found


def _attributes(fd: int) -> list[str]:
    try:
        return [name for name in os.listxattr(fd) if not is_mark(name)]
    except OSError as error:
        if error.errno in {errno.ENOTSUP, errno.EOPNOTSUPP}:
            return []
        raise


def _content(old: int, new: int, size: int) -> None:
    """Copy the data, holes staying holes, in the kernel where it can."""
    os.ftruncate(new, size)
    position = 0
    while position < size:
        try:
            start = os.lseek(old, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(old, start, os.SEEK_HOLE)
        _range(old, new, start, end)
        position = end


def _range(old: int, new: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(old, new, min(end - start, _PIECE), start, start)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
            done = os.pwrite(new, os.pread(old, min(end - start, 1 << 20), start), start)
        if not done:
            return
        start += done
