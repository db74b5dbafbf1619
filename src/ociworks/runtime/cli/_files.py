"""Files that the command line names (CL-02): pid files, documents, sockets."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["MAX_DOCUMENT", "listening", "preserved", "read_document", "write_pid"]

MAX_DOCUMENT: Final = 4 << 20
"""Bytes of a process or of resources."""


def preserved(count: int) -> tuple[int, ...]:
    """The first ``count`` descriptors after the standard ones, which the caller must have left open for us (RT-07).

    All of our own are close-on-exec, so what is not came from outside. Raises ValueError for another.
    """
    if count < 0:
        raise ValueError(f"preserve-fds: expected no negative number, got {count}")
    fds = tuple(range(3, 3 + count))
    for fd in fds:
        try:
            given = os.get_inheritable(fd)
        except OSError:
            given = False
        if not given:
            raise ValueError(f"file descriptor {fd} is to be preserved, but it was not passed to us")
    return fds


def listening() -> int:
    """How many sockets we were given by sd_listen_fds(3)."""
    count, pid = os.environ.get("LISTEN_FDS", ""), os.environ.get("LISTEN_PID", "")
    if pid != str(os.getpid()) or not (count.isascii() and count.isdigit() and len(count) < 4):
        return 0
    return int(count)  # trusted: a few ASCII digits


def write_pid(path: str, pid: int) -> None:
    """Write a pid file as a whole, replacing what is there: a link is replaced, not followed. Raises OSError."""
    if not path:
        raise ValueError("the pid file needs a name")
    parent, base = os.path.split(os.path.abspath(path))
    place = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = f".{base[:200]}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o644, dir_fd=place)
        try:
            os.write(fd, str(pid).encode())
            os.close(fd)
            os.rename(temporary, base, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            os.unlink(temporary, dir_fd=place)
            raise
    finally:
        os.close(place)


def read_document(path: str) -> bytes:
    """The bytes of a regular file, or of a pipe without a name (a shell's ``<(…)``), read once, with a bound.

    ``-`` is standard input. Raises OSError and ValueError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.dup(0) if path == "-" else os.open(path, flags)
    with os.fdopen(fd, "rb") as stream:
        if path != "-" and not (stat.S_ISREG(os.fstat(fd).st_mode) or _is_pipe(fd)):
            raise ValueError(f"{path!a}: expected a regular file")
        if path != "-":
            os.set_blocking(fd, True)
        raw = stream.read(MAX_DOCUMENT + 1)
    if len(raw) > MAX_DOCUMENT:
        raise ValueError(f"{path!a}: larger than {MAX_DOCUMENT} bytes")
    return raw


def _is_pipe(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
