"""In the launcher: trees and user namespaces that a container's binds need and its init may not open or make.

What is opened here is detached and shared with nobody; the init attaches it in its own mount namespace.
"""

from __future__ import annotations

import os

from ociworks._linux import mount, path
from ociworks.runtime._init import maps
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

__all__ = ["change", "close_all", "map_ids", "open_all", "open_tree"]

_AT_FDCWD: Final = -100
_EPERM: Final = 1
_EINVAL: Final = 22
_EOPNOTSUPP: Final = 95


def open_all(requests: Sequence[tuple[Any, ...]]) -> list[int]:
    """Open each source; -1 in the place of a tree that may be missing and is."""
    opened: list[int] = []
    try:
        for name, recursive, follow, attributes, mapping, below, may_miss in requests:
            if not name:
                opened.append(maps.user_namespace(mapping))
                continue
            try:
                opened.append(open_tree(name, recursive=recursive, follow=follow))
            except OSError:
                if not may_miss:
                    raise
                opened.append(-1)
                continue
            mount.set_attributes(opened[-1], propagation=mount.MS_SLAVE, recursive=True)
            if mapping is not None:
                _map_by(opened[-1], mapping, recursive=below)
            change(opened[-1], attributes)
    except BaseException:
        close_all(opened)
        raise
    return opened


def close_all(fds: Sequence[int]) -> None:
    """Close what was opened."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def open_tree(name: str, *, recursive: bool, follow: bool) -> int:
    """A detached copy of the mount at a path on the host; without ``follow`` no part of the path may be a link."""
    if follow:
        return mount.clone_tree(_AT_FDCWD, name, recursive=recursive)
    place = path.openat2(_AT_FDCWD, name, os.O_PATH, resolve=path.RESOLVE_NO_SYMLINKS)
    try:
        return mount.clone_tree(place, "", recursive=recursive)
    finally:
        os.close(place)


def change(made: int, attributes: tuple[int, int, int, int, int, int]) -> None:
    """Give a bind its attributes: exactly those, or if the kernel has locked some, those beside what is locked."""
    set_, clear, locked_set, locked_clear, set_all, clear_all = attributes
    if set_ or clear:
        try:
            mount.set_attributes(made, set_=set_, clear=clear)
        except OSError as error:
            if error.errno != _EPERM:
                raise
            mount.set_attributes(made, set_=locked_set, clear=locked_clear)
    if set_all or clear_all:
        mount.set_attributes(made, set_=set_all, clear=clear_all, recursive=True)


def map_ids(made: int, user_namespace: int, *, recursive: bool) -> None:
    """Map the owners that a detached mount shows, as that user namespace maps its ids."""
    try:
        mount.set_attributes(made, set_=mount.ATTR_IDMAP, user_namespace=user_namespace, recursive=recursive)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        raise StepError("a file system here does not take mapped owners", number=_EOPNOTSUPP) from None


def _map_by(made: int, mapping: tuple[str, str], *, recursive: bool) -> None:
    namespace = maps.user_namespace(mapping)
    try:
        map_ids(made, namespace, recursive=recursive)
    finally:
        os.close(namespace)
