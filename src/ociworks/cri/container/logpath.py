"""Where a container's log goes: a file below its pod's directory, reached through nobody else's links (CR-06).

Every directory on the way belongs to this user, and nobody else may write in it, so what was found there stays there;
the shim holds the last one open and opens the file in it without following links, also when the log is rotated.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ociworks._linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from ociworks.errors import InvalidRequest, PodError, quote

__all__ = ["log_path", "remove_empty_log"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_MAX_DEPTH: Final = 16
_MAX_PATH: Final = 4000


def log_path(directory: str, name: str, roots: Sequence[str]) -> str:
    """The absolute path of the log; empty when the request has none. Missing directories are made, 0755.

    Raises InvalidRequest for a directory that is not below a configured one, for a name that leaves it, and for
    anything on the way that is a link or somebody else's; PodError when the host refuses.
    """
    if not directory or not name:
        return ""
    root, below = _split(directory, roots)
    inner = _parts("log_path", name)
    try:
        os.makedirs(root, mode=0o755, exist_ok=True)
        current = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for part in (*below, *inner[:-1]):
                child = _enter(current, part)
                os.close(current)
                current = child
            _check_target(current, inner[-1])
        finally:
            os.close(current)
    except OSError as error:
        raise PodError(f"log of a container: {quote(directory)}/{quote(name)}: {error.strerror}") from error
    return "/".join((root.rstrip("/"), *below, *inner))


def remove_empty_log(path: str, roots: Sequence[str]) -> None:
    """Remove a log, as :func:`log_path` names it, to which nothing was written; no link is followed. OSError."""
    root, (*below, name) = _split(path, roots)
    start = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        directory = openat2(start, "/".join(below) or ".", _DIRECTORY, resolve=_BENEATH)
    finally:
        os.close(start)
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISREG(info.st_mode) and not info.st_size:
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def _split(directory: str, roots: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The configured directory that this one is below, and the way from there."""
    for root in roots:
        start = root.rstrip("/") + "/"
        if directory.startswith(start) and directory.strip("/") != root.strip("/"):
            return root, _parts("log_directory", directory[len(start) :].rstrip("/"))
    raise InvalidRequest(f"log_directory: expected one below {', '.join(roots)}, got {quote(directory)}")


def _parts(field: str, name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    bad = any(part == ".." or len(part.encode()) > 255 or not part.isprintable() for part in parts)
    if not parts or bad or name.startswith("/") or name.endswith("/") or len(name) > _MAX_PATH:
        raise InvalidRequest(f"{field}: expected the relative path of a file, got {quote(name)}")
    if len(parts) > _MAX_DEPTH:
        raise InvalidRequest(f"{field}: expected at most {_MAX_DEPTH} directories")
    return parts


def _enter(parent: int, part: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(part, 0o755, dir_fd=parent)
    try:
        fd = openat2(parent, part, _DIRECTORY, resolve=_BENEATH)
    except OSError as error:
        raise InvalidRequest(f"log_path: {quote(part)} is no directory: {error.strerror}") from error
    info = os.fstat(fd)
    if info.st_uid not in (0, os.geteuid()) or stat.S_IMODE(info.st_mode) & 0o022:
        os.close(fd)
        raise InvalidRequest(f"log_path: {quote(part)} is not this user's alone to write")
    return fd


def _check_target(directory: int, name: str) -> None:
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(info.st_mode):
        raise InvalidRequest(f"log_path: {quote(name)} is there, and no regular file")
