"""Places in the root where something is mounted: resolved once, made when they are missing (ATTACKS RT-11, RT-13).

Links of the image are followed inside the root, also when they dangle: then what they lead to is made. Directories are
made one at a time by mkdirat, files by mknodat; nothing is opened for writing.
"""

from __future__ import annotations

import errno
import os
import stat

from ociworks._linux import path
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["directory", "existing", "file", "kernel_directory"]

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY
_PLAIN: Final = path.RESOLVE_IN_ROOT | path.RESOLVE_NO_SYMLINKS
_MOST_LINKS: Final = 40
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR)


def directory(context: Context, target: str) -> tuple[int, str]:
    """A descriptor of the directory ``target`` in the root, made when missing, and its name without links."""
    return _place(context, target, _DIRECTORY, is_file=False)


def file(context: Context, target: str) -> tuple[int, str]:
    """The same for what is no directory; an empty file is made when nothing is there."""
    return _place(context, target, os.O_PATH, is_file=True)


def _place(context: Context, target: str, flags: int, *, is_file: bool) -> tuple[int, str]:
    try:
        return path.openat2(context.root, target, flags, resolve=_PLAIN), target
    except FileNotFoundError:
        parts = _make(context.root, target, is_file=is_file)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        try:
            found = path.open_in_root(context.root, target, flags)
        except FileNotFoundError:
            parts = _make(context.root, target, is_file=is_file)
        else:
            return found, _name(context, found)
    name = "/" + "/".join(parts)
    return path.openat2(context.root, name, flags | os.O_NOFOLLOW, resolve=_PLAIN), name


def _name(context: Context, place: int) -> str:
    """The path in the root of what a descriptor refers to; the kernel's word, through the host's procfs."""
    root = os.readlink(f"/proc/self/fd/{context.root}")
    name = os.readlink(f"/proc/self/fd/{place}")
    if root == "/":
        return name
    if name != root and not name.startswith(root + "/"):
        raise StepError("a place outside of the root", name, errno.EXDEV)
    return name[len(root) :] or "/"


def existing(context: Context, target: str) -> int:
    """A descriptor of what is at ``target`` in the root; -1 when nothing can be."""
    try:
        return path.open_in_root(context.root, target, os.O_PATH)
    except OSError as error:
        if error.errno in _ABSENT:
            return -1
        raise


def kernel_directory(context: Context, target: str) -> int:
    """The place for procfs or sysfs: a real directory on the whole way, never reached through a link."""
    try:
        return path.openat2(context.root, target, _DIRECTORY, resolve=_PLAIN)
    except OSError as error:
        if error.errno == errno.ELOOP:
            text = "must be mounted on ordinary directory, found a symbolic link in the image"
            raise StepError(text, target, errno.ELOOP) from None
        if error.errno != errno.ENOENT:
            raise
    os.close(directory(context, target)[0])
    return kernel_directory(context, target)


def _make(root: int, target: str, *, is_file: bool) -> list[str]:
    """Make what is missing; the parts of the resolved path, of which none is a link."""
    waiting = [part for part in reversed(target.split("/")) if part]
    walked: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            walked = walked[:-1]
        elif part != ".":
            link = _step(root, walked, part, is_file=is_file and not waiting)
            if link is None:
                walked.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise StepError(os.strerror(errno.ELOOP), target, errno.ELOOP)
            walked = [] if link.startswith("/") else walked
            waiting += [each for each in reversed(link.split("/")) if each]
    return walked


def _step(root: int, walked: list[str], part: str, *, is_file: bool) -> str | None:
    """Make one part unless it is there; the text of the link that is there instead."""
    parent = path.openat2(root, "/".join(walked) or ".", _DIRECTORY, resolve=_PLAIN)
    try:
        try:
            info = os.stat(part, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            if is_file:
                os.mknod(part, stat.S_IFREG | 0o644, dir_fd=parent)
            else:
                os.mkdir(part, 0o755, dir_fd=parent)
            return None
        return os.readlink(part, dir_fd=parent) if stat.S_ISLNK(info.st_mode) else None
    finally:
        os.close(parent)
