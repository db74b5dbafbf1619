"""A directory tree as entries and content: sorted, by descriptors, links never followed.

================  =============================================================================================
found             becomes
================  =============================================================================================
file              a file; a second name of the same inode a hard link to the first
directory         a directory, in front of what is in it; not the top itself when it becomes the root
symlink           a symlink, its text as it is
FIFO, device      the same; character device 0:0 and names that start with ``.wh.`` mean deletions: refused
socket            left out and reported: it means nothing without its process
================  =============================================================================================

A tree that changes while it is read gives :class:`ociworks.errors.LayerError`, or a layer of what was there; what is
read was always opened below the top, one component at a time.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from attrs import frozen

from ociworks.errors import LayerError, LimitExceeded, quote
from ociworks.image.tar.entry import NO_XATTRS, TarEntry
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits
from ociworks.image.tar.whiteout import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociworks.image.tar.entry import EntryType

__all__ = [
    "KINDS",
    "Content",
    "Found",
    "Parts",
    "TreeOptions",
    "all_xattrs",
    "entry_of",
    "open_found",
    "readlink",
    "tree_entries",
    "walk",
    "with_content",
    "xattrs_of",
]

_log = logging.getLogger(__name__)

Parts = tuple[bytes, ...]
Content = tuple[()] | Iterator[bytes]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIECE: Final = 1 << 20
_OVERLAY: Final = (b"user.overlay.", b"trusted.overlay.")
KINDS: Final[dict[int, EntryType]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


@frozen(kw_only=True)
class TreeOptions:
    """How files become entries; None keeps what each file has."""

    owner: tuple[int, int] | None = None
    mtime_ns: int | None = None
    xattrs: bool = False
    limits: Limits = DEFAULT_LIMITS
    skipped: Callable[[bytes, str], None] | None = None

    def skip(self, parts: Parts, reason: str) -> None:
        """Report something that is left out."""
        path = b"/".join(parts)
        _log.warning("pack: %s: %s", quote(path), reason)
        if self.skipped is not None:
            self.skipped(path, reason)


class Found(NamedTuple):
    """A name in an open directory, which stays open until the walk goes on."""

    parts: Parts
    dirfd: int
    info: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether the walk goes into it next."""
        return stat.S_ISDIR(self.info.st_mode)


def walk(rootfd: int, limits: Limits = DEFAULT_LIMITS) -> Iterator[Found]:
    """Everything below ``rootfd``, sorted by name, a directory before what is in it.

    Raises LayerError when something vanishes or changes its type meanwhile or cannot be read, LimitExceeded for more
    entries, longer paths or deeper trees than ``limits`` would let in again.
    """
    stack = [_Level(rootfd, ())]
    count = 0
    try:
        while stack:
            level = stack[-1]
            if not level.names:
                level.close(rootfd)
                stack.pop()
                continue
            found = level.next()
            count += 1
            _check(found.parts, count, limits)
            yield found
            if found.is_directory:
                stack.append(_Level(_enter(found), found.parts))
    finally:
        for level in stack:
            level.close(rootfd)


class _Level:
    """An open directory, and the names in it that are still to come."""

    __slots__ = ("fd", "names", "parts")

    def __init__(self, fd: int, parts: Parts) -> None:
        self.fd = fd
        self.parts = parts
        self.names = sorted(map(os.fsencode, os.listdir(fd)), reverse=True)

    def next(self) -> Found:
        name = self.names.pop()
        parts = (*self.parts, name)
        try:
            return Found(parts, self.fd, os.stat(name, dir_fd=self.fd, follow_symlinks=False))
        except OSError as error:
            raise _unreadable(parts, error) from error

    def close(self, rootfd: int) -> None:
        if self.fd != rootfd:
            os.close(self.fd)


def _check(parts: Parts, count: int, limits: Limits) -> None:
    if count > limits.entries_per_layer:
        raise LimitExceeded("entries of a layer", "entries_per_layer", limits.entries_per_layer)
    if len(parts) > limits.depth:
        raise LimitExceeded(f"components of {quote(b'/'.join(parts))}", "depth", limits.depth)
    if sum(map(len, parts)) + len(parts) > limits.path_bytes:
        raise LimitExceeded(f"bytes of the name {quote(b'/'.join(parts))}", "path_bytes", limits.path_bytes)


def _enter(found: Found) -> int:
    return _open(found, _DIRECTORY)


def open_found(found: Found) -> int:
    """Open a regular file; it is the one that was found, or LayerError."""
    return _open(found, _FILE)


def _open(found: Found, flags: int) -> int:
    try:
        fd = os.open(found.parts[-1], flags, dir_fd=found.dirfd)
    except OSError as error:
        raise _unreadable(found.parts, error) from error
    info = os.fstat(fd)
    if not os.path.samestat(info, found.info) or stat.S_IFMT(info.st_mode) != stat.S_IFMT(found.info.st_mode):
        os.close(fd)
        raise _changed(found.parts)
    return fd


def tree_entries(rootfd: int, top: Parts, options: TreeOptions) -> Iterator[tuple[TarEntry, Content]]:
    """The entries of a layer that has the tree below ``rootfd`` at ``top``. Read each content before going on."""
    if top:
        yield _top(rootfd, top, options), ()
    names: dict[tuple[int, int], Parts] = {}
    for found in walk(rootfd, options.limits):
        entry = entry_of(found, top, options, names)
        if entry is not None:
            yield from with_content(found, entry)


def with_content(found: Found, entry: TarEntry) -> Iterator[tuple[TarEntry, Content]]:
    """The entry with its content; the file is open exactly as long as it is the current one."""
    if entry.type != "file":
        yield entry, ()
        return
    fd = open_found(found)
    try:
        yield entry, file_content(fd, found)
    finally:
        os.close(fd)


def file_content(fd: int, found: Found) -> Iterator[bytes]:
    """The content of an open file, which must still be as it was found when it ends."""
    left = found.info.st_size
    while left and (data := os.read(fd, min(left, _PIECE))):
        left -= len(data)
        yield data
    now = os.fstat(fd)
    if left or (now.st_size, now.st_mtime_ns) != (found.info.st_size, found.info.st_mtime_ns):
        raise _changed(found.parts)


def entry_of(
    found: Found, top: Parts, options: TreeOptions, names: dict[tuple[int, int], Parts]
) -> TarEntry | None:
    """What was found as an entry; None when it is left out. ``names`` remembers the first name of each inode."""
    info = found.info
    parts = (*top, *found.parts)
    _refuse(found)
    kind = KINDS.get(stat.S_IFMT(info.st_mode))
    if kind is None:
        options.skip(parts, "a socket is left out")
        return None
    if info.st_nlink > 1 and kind in ("file", "symlink"):
        first = names.setdefault((info.st_dev, info.st_ino), parts)
        if first != parts:
            return _entry(parts, "hardlink", info, options)._replace(target=b"/".join(first))
    entry = _entry(parts, kind, info, options)
    if kind == "file":
        entry = entry._replace(size=info.st_size)
    elif kind == "symlink":
        entry = entry._replace(target=readlink(found), mode=0o777)
    elif kind in ("char", "block"):
        entry = entry._replace(device=(os.major(info.st_rdev), os.minor(info.st_rdev)))
    return entry._replace(xattrs=xattrs_of(found)) if options.xattrs else entry


def _refuse(found: Found) -> None:
    shown = quote(b"/".join(found.parts))
    if found.parts[-1].startswith(PREFIX):
        raise LayerError(f"{shown} is named like a whiteout: in a layer it would delete another file")
    if stat.S_ISCHR(found.info.st_mode) and found.info.st_rdev == 0:
        raise LayerError(
            f"{shown} is a whiteout of overlayfs: use Layer.from_overlay_upper for this directory"
        )


def _top(rootfd: int, top: Parts, options: TreeOptions) -> TarEntry:
    return _entry(top, "directory", os.fstat(rootfd), options)


def _entry(parts: Parts, kind: EntryType, info: os.stat_result, options: TreeOptions) -> TarEntry:
    uid, gid = options.owner or (info.st_uid, info.st_gid)
    mtime = info.st_mtime_ns if options.mtime_ns is None else options.mtime_ns
    return TarEntry(parts, kind, stat.S_IMODE(info.st_mode), uid, gid, 0, mtime, b"", (0, 0), NO_XATTRS)


def readlink(found: Found) -> bytes:
    """The text of a symlink."""
    try:
        return os.fsencode(os.readlink(found.parts[-1], dir_fd=found.dirfd))
    except OSError as error:
        raise _unreadable(found.parts, error) from error


def xattrs_of(found: Found) -> Mapping[bytes, bytes]:
    """The attributes that unpacking would set again: ``user.*`` and file capabilities; never overlayfs's own."""
    from ociworks.image._unpack.xattrs import xattr_rule

    attributes = all_xattrs(found)
    kept = {name: value for name, value in attributes.items() if not name.startswith(_OVERLAY)}
    return {name: value for name, value in kept.items() if xattr_rule(name) != "skip"}


def all_xattrs(found: Found) -> dict[bytes, bytes]:
    """All attributes that the caller can see. The last component is looked at itself, and nothing is followed."""
    place = b"/proc/self/fd/%d/%s" % (found.dirfd, found.parts[-1])
    try:
        names = [os.fsencode(name) for name in os.listxattr(place, follow_symlinks=False)]
        return {name: os.getxattr(place, name, follow_symlinks=False) for name in names}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EOPNOTSUPP):
            return {}
        raise _unreadable(found.parts, error) from error


def _changed(parts: Parts) -> LayerError:
    return LayerError(
        f"{quote(b'/'.join(parts))} changed while it was read: try again when nobody writes to it"
    )


def _unreadable(parts: Parts, error: OSError) -> LayerError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODATA):
        return _changed(parts)
    return LayerError(f"cannot read {quote(b'/'.join(parts))}: {error.strerror}")
