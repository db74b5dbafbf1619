"""Files below a directory descriptor: opened without following links, replaced by rename, locked by flock(2).

The kernel releases a lock when its holder dies, however that happens; so a lock says that somebody is at work, and a
temporary file without one has been abandoned.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from ociworks.errors import LayoutError, LimitExceeded, NotSupported, quote

__all__ = [
    "claim",
    "create_locked",
    "directory",
    "locked",
    "open_regular",
    "read_file",
    "remove_if_abandoned",
    "same_file",
    "start_writing",
    "write_all",
    "write_new",
]

_COMMON: Final = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final = os.O_RDONLY | _COMMON | getattr(os, "O_DIRECTORY", 0)
_READ: Final = os.O_RDONLY | _COMMON | getattr(os, "O_NONBLOCK", 0)
_CREATE: Final = os.O_WRONLY | _COMMON | os.O_CREAT | os.O_EXCL
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
"""What opening says of a missing file, of a link, of a socket: no file that could be read."""

_CLAIM: Final = os.O_WRONLY | _COMMON | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
_ATTEMPTS: Final = 16
_PAUSE: Final = 0.02
"""Seconds between two looks at a lock that another holds: flock(2) has no timeout, and a wait must be stoppable."""


def _flock(fd: int, *, wait: bool = True, shared: bool = False) -> bool:
    """Take the lock; False if another holds it and ``wait`` is not set."""
    try:
        import fcntl
    except ImportError:
        raise NotSupported("layouts on disk need flock(2), which this operating system lacks") from None
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(fd, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def directory(root: int, *names: str, create: bool = False) -> Iterator[int]:
    """A descriptor of ``root/names…``, no part of which may be a link; missing ones are made with mode 0700.

    Without ``create`` a missing part raises ``FileNotFoundError``.
    """
    with contextlib.ExitStack() as stack:
        fd = root
        for name in names:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=fd)
            fd = _open_directory(fd, name)
            stack.callback(os.close, fd)
        yield fd


def _open_directory(parent: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise LayoutError(f"layout: expected {quote(name)} to be a directory") from None
        raise


@contextlib.contextmanager
def locked(root: int, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a directory, against other processes and other threads; ``shared`` with others that share it."""
    fd = os.open(".", _DIRECTORY, dir_fd=root)
    try:
        _flock(fd, shared=shared)
        yield
    finally:
        os.close(fd)


def open_regular(parent: int, name: str) -> int | None:
    """Open a regular file for reading; None when there is none, or something else, without waiting for it."""
    try:
        fd = os.open(name, _READ, dir_fd=parent)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd


def read_file(parent: int, name: str, maximum: int) -> bytes | None:
    """The content of a small regular file, None when there is none; raises ``LimitExceeded``."""
    fd = open_regular(parent, name)
    if fd is None:
        return None
    with open(fd, "rb") as file:
        content = file.read(maximum + 1)
    if len(content) > maximum:
        raise LimitExceeded(f"file {quote(name)}", "max_document", maximum)
    return content


def create_locked(parent: int, prefix: str) -> tuple[int, str]:
    """A new file, locked, open for writing, and its name."""
    for _ in range(_ATTEMPTS):
        name = prefix + secrets.token_hex(12)
        fd = os.open(name, _CREATE, 0o644, dir_fd=parent)
        _flock(fd)
        # A cleaner may have found the file before it was locked.
        if os.fstat(fd).st_nlink:
            return fd, name
        os.close(fd)
    raise LayoutError("layout: new temporary files are removed as fast as they are made")


def claim(parent: int, name: str, checkpoint: Callable[[], object]) -> int:
    """The file of this name, locked, open for writing, made if it is not there: one holder at a time.

    Waits for the holder, and calls ``checkpoint`` meanwhile, which may raise. A holder that died has left what it
    wrote, so the file need not be empty.
    """
    while True:
        fd = _open_claim(parent, name)
        try:
            while not _flock(fd, wait=False):
                checkpoint()
                time.sleep(_PAUSE)
            # The holder has removed or renamed it meanwhile: then this lock is on a file that is no longer meant.
            if same_file(parent, name, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _open_claim(parent: int, name: str) -> int:
    try:
        fd = os.open(name, _CLAIM, 0o644, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise LayoutError(f"layout: expected {quote(name)} to be a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise LayoutError(f"layout: expected {quote(name)} to be a regular file")
    return fd


def same_file(parent: int, name: str, fd: int) -> bool:
    """Whether the name still is the open file's."""
    try:
        named = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(fd))


def remove_if_abandoned(parent: int, name: str) -> bool:
    """Remove a temporary file whose lock is free; whether there is nothing, or nobody, left behind that name."""
    fd = open_regular(parent, name)
    if fd is None:
        return True
    try:
        if not _flock(fd, wait=False):
            return False
        # The name may be another's by now: only under its lock it is known whose file this is.
        if same_file(parent, name, fd):
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(fd)
    return True


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data``."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def write_new(parent: int, name: str, content: bytes) -> None:
    """Make a file of mode 0600 that is not there yet; raises ``FileExistsError``."""
    fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
    try:
        write_all(fd, content)
    finally:
        os.close(fd)


def start_writing(fd: int) -> None:
    """Have the disk begin with what was written so far, where the system can be told."""
    if sys.platform == "linux":
        from ociworks._linux.path import start_writeback

        start_writeback(fd)
