"""The directory that a pod's logs go to: below a configured one, and nobody else's (CR-06)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

from ociworks._linux import path
from ociworks.errors import InvalidRequest, PodError, quote

__all__ = ["check_log_directory", "make_log_directory"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RESOLVE: Final = path.RESOLVE_BENEATH | path.RESOLVE_NO_SYMLINKS
_MAX_DEPTH: Final = 16


def check_log_directory(name: str, roots: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The configured directory that ``name`` is below, and the names below that. InvalidRequest when there is none."""
    parts = tuple(part for part in name.split("/")[1:] if part)
    for root in roots:
        above = tuple(part for part in root.split("/") if part)
        below = parts[len(above) :]
        if name.startswith("/") and parts[: len(above)] == above and 0 < len(below) <= _MAX_DEPTH:
            _check_parts(name, below)
            return "/" + "/".join(above), below
    raise InvalidRequest(
        f"config.log_directory: expected a directory below {', '.join(roots)}, got {quote(name)}"
    )


def make_log_directory(name: str, roots: Sequence[str]) -> None:
    """Make it and what is missing above it, 0755. No link is followed below the configured directory.

    InvalidRequest when something on the way is a link, no directory, or another user's.
    """
    root, parts = check_log_directory(name, roots)
    os.makedirs(root, 0o755, exist_ok=True)
    current = os.open(root, _DIRECTORY)
    try:
        for part in parts:
            child = _enter(name, current, part)
            os.close(current)
            current = child
    except OSError as error:
        raise PodError(f"config.log_directory: {quote(name)}: {error.strerror}") from error
    finally:
        os.close(current)


def _enter(name: str, parent: int, part: str) -> int:
    try:
        os.mkdir(part, 0o755, dir_fd=parent)
    except FileExistsError:
        made = False
    else:
        made = True
    try:
        fd = path.openat2(parent, part, _DIRECTORY | os.O_NOFOLLOW, resolve=_RESOLVE)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise InvalidRequest(f"config.log_directory: {quote(name)}: {quote(part)} is no directory") from error
    try:
        if made:
            os.fchmod(fd, 0o755)
        _check_owner(name, part, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_owner(name: str, part: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o002:
        raise InvalidRequest(
            f"config.log_directory: {quote(name)}: {quote(part)} is not this user's alone to write"
        )


def _check_parts(name: str, parts: Sequence[str]) -> None:
    for part in parts:
        if part in (".", "..") or len(part) > 255 or not part.isprintable():
            raise InvalidRequest(f"config.log_directory: expected plain names, got {quote(name)}")
