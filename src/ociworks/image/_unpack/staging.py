"""A private directory that becomes visible under its name only when it is complete.

It is made beside its place, mode 0700 from the first moment, and held by flock(2) until it was renamed or removed.
The kernel lets go of a lock with its process, so a staging directory that can be locked belongs to nobody: the next
one made beside it removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from ociworks._linux.path import remove_tree_at
from ociworks.errors import BundleExists, ImageError, quote
from ociworks.image._unpack.directories import open_directory

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["PREFIX", "Staging", "remove_stale"]

PREFIX: Final = b".ociworks-unpack-"
_log = logging.getLogger(__name__)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PRIVATE: Final = 0o700
_TRIES: Final = 16


class Staging:
    """``with Staging(path) as staging:`` fill ``staging.fd``, then ``staging.publish()``; else it is removed.

    Raises :class:`ociworks.errors.BundleExists` when ``path`` is taken by anything but an empty directory that only
    the caller can enter.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        parent, name = os.path.split(os.path.abspath(path))
        if not name:
            raise ImageError("the file system's root cannot become a bundle")
        self.path = os.path.join(parent, name)
        self._name = os.fsencode(name)
        self._parent = parent
        self._parentfd = -1
        self._staged = b""
        self.fd = -1

    def __enter__(self) -> Self:
        try:
            self._parentfd = os.open(self._parent, _DIRECTORY)
        except OSError as error:
            raise ImageError(f"cannot unpack into {quote(self._parent)}: {error.strerror}") from error
        try:
            self._check_place()
            remove_stale(self._parentfd)
            self._staged, self.fd = _make_locked(self._parentfd)
        except BaseException:
            os.close(self._parentfd)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._staged:
                remove_tree_at(self._parentfd, self._staged, missing_ok=True)
        finally:
            os.close(self.fd)
            os.close(self._parentfd)

    def publish(self) -> None:
        """Give the directory its name, in one step."""
        self._check_place()
        try:
            os.rename(self._staged, self._name, src_dir_fd=self._parentfd, dst_dir_fd=self._parentfd)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise self._taken() from error
            raise
        self._staged = b""

    def _check_place(self) -> None:
        """The place is free, or an empty directory (rename replaces only such) that is the caller's own and private."""
        try:
            info = os.stat(self._name, dir_fd=self._parentfd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if (
            not stat.S_ISDIR(info.st_mode)
            or info.st_uid != os.geteuid()
            or stat.S_IMODE(info.st_mode) & 0o077
        ):
            raise self._taken()
        fd = os.open(self._name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._parentfd)
        try:
            if os.listdir(fd):
                raise self._taken()
        finally:
            os.close(fd)

    def _taken(self) -> BundleExists:
        return BundleExists(
            f"{quote(self.path)} exists: expected nothing, or an empty directory of yours with mode 0700"
        )


def remove_stale(parentfd: int) -> None:
    """Remove staging directories whose process is gone; those of others, and those in use, stay."""
    for name in map(os.fsencode, os.listdir(parentfd)):
        if name.startswith(PREFIX):
            with contextlib.suppress(OSError):
                _remove_when_stale(parentfd, name)


def _remove_when_stale(parentfd: int, name: bytes) -> None:
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parentfd)
    try:
        if os.fstat(fd).st_uid != os.geteuid():
            return
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _log.info("unpack: removing %s, left by a process that is gone", quote(name))
        remove_tree_at(parentfd, name, missing_ok=True)
    finally:
        os.close(fd)


def _make_locked(parentfd: int) -> tuple[bytes, int]:
    """Make a directory and lock it. A cleaner may be faster than the lock, so the name is looked at again after it."""
    for _ in range(_TRIES):
        name = PREFIX + secrets.token_hex(8).encode()
        os.mkdir(name, _PRIVATE, dir_fd=parentfd)
        try:
            fd, _ = open_directory(parentfd, name)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, _PRIVATE)  # a umask may have taken bits away; mkdir gave no more
            if os.stat(name, dir_fd=parentfd, follow_symlinks=False).st_ino == os.fstat(fd).st_ino:
                return name, fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise ImageError("cannot make a staging directory: others keep removing it")
