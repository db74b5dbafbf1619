"""The layers below one that is applied in overlay form: what a mount of them would show (overlayfs.rst).

Each layer is a directory in the form that :mod:`ociworks.image._unpack.overlay` makes. Places are canonical paths
(tuples of components), and are opened below the layer's descriptor without following any link.

=====================================  =============================================================
in a layer                             means
=====================================  =============================================================
character device 0:0                   nothing is here, whatever is further below
directory with ``overlay.opaque=y``    nothing further below is in it
directory                              its names, and those of directories further below
anything else                          hides everything further below
=====================================  =============================================================
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from ociworks._linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Found", "Lower", "Parts", "beneath", "is_whiteout"]

Parts = tuple[bytes, ...]

_RESOLVE: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_HANDLE: Final = os.O_PATH | os.O_NOFOLLOW
_NO_ATTRIBUTE: Final = (errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP)


class Found(NamedTuple):
    """What is at a place, and the descriptor of the layer that has it."""

    layer: int
    info: os.stat_result


def is_whiteout(info: os.stat_result) -> bool:
    """Whether this is overlayfs's mark for "nothing here"."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def beneath(fd: int, parts: Parts, flags: int = _HANDLE) -> int | None:
    """Open a place below ``fd``, no link followed; None when there is nothing."""
    try:
        return openat2(fd, b"/".join(parts) or b".", flags, resolve=_RESOLVE)
    except (FileNotFoundError, NotADirectoryError):
        return None


class Lower:
    """Layers by their descriptors, base first; ``opaque`` is the name of the attribute that they mark with."""

    def __init__(self, layers: Sequence[int], opaque: bytes) -> None:
        self._opaque = opaque
        self._stacks: dict[Parts, tuple[int, ...]] = {(): tuple(reversed(layers))}

    def look(self, parts: Parts) -> Found | None:
        """What is at ``parts``; the topmost of the directories when it is one."""
        if not parts:
            return next((Found(layer, os.fstat(layer)) for layer in self._stacks[()]), None)
        for layer in self._stack(parts[:-1]):
            info = _stat(layer, parts)
            if info is not None:
                return None if is_whiteout(info) else Found(layer, info)
        return None

    def is_directory(self, parts: Parts) -> bool:
        """Whether there is a directory at ``parts``."""
        return bool(self._stack(parts))

    def names(self, parts: Parts) -> set[bytes]:
        """What the directory at ``parts`` shows."""
        found: set[bytes] = set()
        for layer in self._stack(parts):
            fd = beneath(layer, parts, os.O_RDONLY | os.O_DIRECTORY)
            if fd is not None:
                try:
                    found.update(map(os.fsencode, os.listdir(fd)))
                finally:
                    os.close(fd)
        return {name for name in found if self.look((*parts, name)) is not None}

    def _stack(self, parts: Parts) -> tuple[int, ...]:
        """The layers, topmost first, whose directories are merged at ``parts``."""
        known = self._stacks.get(parts)
        if known is None:
            known = self._stacks[parts] = tuple(self._merged(parts))
        return known

    def _merged(self, parts: Parts) -> list[int]:
        merged = []
        for layer in self._stack(parts[:-1]):
            handle = beneath(layer, parts)
            if handle is None:
                continue
            try:
                if not stat.S_ISDIR(os.fstat(handle).st_mode):
                    break
                merged.append(layer)
                if self._is_opaque(handle):
                    break
            finally:
                os.close(handle)
        return merged

    def _is_opaque(self, handle: int) -> bool:
        try:
            # fgetxattr(2) refuses O_PATH descriptors; the magic link reaches exactly this directory.
            return os.getxattr(f"/proc/self/fd/{handle}", self._opaque) == b"y"
        except OSError as error:
            if error.errno in _NO_ATTRIBUTE:
                return False
            raise


def _stat(layer: int, parts: Parts) -> os.stat_result | None:
    handle = beneath(layer, parts)
    if handle is None:
        return None
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)
