"""One file or directory of a snapshot, read without mounting it: what an overlay of the layers would show at a path.

Links are followed inside the layers, whiteouts and opaque directories count, nothing is reached by a joined path.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from ociworks.image.store._marks import Dialect, is_opaque, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["open_directories", "open_file"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MOST_LINKS: Final = 40


def open_file(layers: Sequence[int], path: str, dialect: Dialect) -> int | None:
    """A descriptor of the regular file at ``path`` in layers' trees, topmost first; None when there is none."""
    waiting = path.split("/")[::-1]
    walked: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            walked = walked[:-1]
            continue
        if part in ("", "."):
            continue
        found = _entry(layers, walked, part, dialect)
        if isinstance(found, str):
            links += 1
            if links > _MOST_LINKS:
                return None
            walked = [] if found.startswith("/") else walked
            waiting += found.split("/")[::-1]
        elif found is None:
            return None
        elif stat.S_ISREG(os.fstat(found).st_mode) and not any(each not in ("", ".") for each in waiting):
            return found
        else:
            os.close(found)
            walked.append(part)
    return None


def open_directories(layers: Sequence[int], path: str, dialect: Dialect) -> list[int]:
    """Descriptors of the directories that are the one at ``path`` together, topmost first; empty when there is none."""
    waiting = path.split("/")[::-1]
    walked: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            walked = walked[:-1]
        elif part not in ("", "."):
            found = _entry(layers, walked, part, dialect)
            if isinstance(found, str):
                links += 1
                if links > _MOST_LINKS:
                    return []
                walked = [] if found.startswith("/") else walked
                waiting += found.split("/")[::-1]
            elif found is None:
                return []
            else:
                is_directory = stat.S_ISDIR(os.fstat(found).st_mode)
                os.close(found)
                if not is_directory:
                    return []
                walked.append(part)
    return _directories(layers, walked, dialect)


def _entry(layers: Sequence[int], walked: Sequence[str], name: str, dialect: Dialect) -> int | str | None:
    """What the topmost layer has that has the name: a descriptor of a file or directory, a link's text, or None."""
    opened = _directories(layers, walked, dialect)
    try:
        for directory in opened:
            try:
                info = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISLNK(info.st_mode):
                return os.readlink(name, dir_fd=directory)
            if is_whiteout(info) or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
                return None
            return os.open(name, _READ, dir_fd=directory)
        return None
    finally:
        for fd in opened:
            os.close(fd)


def _directories(layers: Sequence[int], walked: Sequence[str], dialect: Dialect) -> list[int]:
    """The directories that are this one together, topmost first; no part of ``walked`` is a link."""
    current = _visible([os.dup(fd) for fd in layers], dialect)
    for part in walked:
        below: list[int] = []
        try:
            for directory in current:
                try:
                    info = os.stat(part, dir_fd=directory, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not stat.S_ISDIR(info.st_mode):
                    break
                below.append(os.open(part, _DIRECTORY, dir_fd=directory))
        finally:
            for fd in current:
                os.close(fd)
        current = _visible(below, dialect)
    return current


def _visible(directories: list[int], dialect: Dialect) -> list[int]:
    """Those down to the first that hides what is below it; the others are closed."""
    count = next((end for end, fd in enumerate(directories, 1) if is_opaque(fd, dialect)), len(directories))
    for fd in directories[count:]:
        os.close(fd)
    return directories[:count]
