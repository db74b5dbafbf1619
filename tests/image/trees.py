"""Everything that can be seen of a tree, to compare two of them in full."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["tree"]

Seen = dict[str, tuple[object, ...]]


def tree(root: Path, *, top: bool = False, links: bool = True) -> Seen:
    """Name → kind and mode, owner, content or target, device, time, hard-link group, attributes; ``top`` adds ``.``.

    A group is named by its first name, so that inode numbers do not matter; without ``links`` groups are left out.
    """
    found: Seen = {}
    groups: dict[int, str] = {}
    for path in (*([root] if top else []), *sorted(root.rglob("*"))):
        info, name = path.lstat(), str(path.relative_to(root))
        kind = stat.S_IFMT(info.st_mode)
        group = groups.setdefault(info.st_ino, name) if links else ""
        number = info.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
        found[name] = (
            stat.filemode(info.st_mode),
            (info.st_uid, info.st_gid),
            _content(path, kind),
            number,
            info.st_mtime_ns,
            group,
            _attributes(path),
        )
    return found


def _content(path: Path, kind: int) -> object:
    if kind == stat.S_IFREG:
        return path.read_bytes()
    return os.readlink(path) if kind == stat.S_IFLNK else None


def _attributes(path: Path) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
