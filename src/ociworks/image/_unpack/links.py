"""Links among the parents of an entry, in overlay form: resolved over this layer and all below it.

The kernel sees one layer at a time, so what ``RESOLVE_IN_ROOT`` would do is done here: a place is a tuple of components
without links, an absolute target starts at the root, ``..`` ends there, and no name reaches a system call but as the
last one of a canonical place.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from ociworks.image._unpack.lower import beneath, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociworks.image._unpack.directories import State
    from ociworks.image._unpack.lower import Lower, Parts

__all__ = ["Links"]

_MAX_LINKS: Final = 40
_MAX_LOOKS: Final = 4096


class Links:
    """Follows links over the layer at ``rootfd``, whose directories are in ``states``, and the layers below."""

    def __init__(self, rootfd: int, lower: Lower, states: Mapping[Parts, State]) -> None:
        self._rootfd = rootfd
        self._lower = lower
        self._states = states
        self.begin()

    def begin(self) -> None:
        """Start to count: 40 links, as in the kernel, and a bounded number of components on the way of one name."""
        self._followed = self._looked = 0

    def follow(self, parts: Parts) -> Parts:
        """Where the link at ``parts`` leads over all layers; every component must exist, as the kernel has it."""
        self._followed += 1
        if self._followed > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        text = self._read_link(parts)
        place = () if text.startswith(b"/") else parts[:-1]
        for part in text.split(b"/"):
            if part == b"..":
                place = place[:-1]
            elif part not in (b"", b"."):
                place = self._existing((*place, part))
        return place

    def _existing(self, parts: Parts) -> Parts:
        self._looked += 1
        if self._looked > _MAX_LOOKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        info = self._stat_merged(parts)
        if stat.S_ISLNK(info.st_mode):
            return self.follow(parts)
        if not stat.S_ISDIR(info.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return parts

    def _stat_merged(self, parts: Parts) -> os.stat_result:
        """What is at a canonical place over this layer and those below."""
        handle = beneath(self._rootfd, parts)
        if handle is not None:
            try:
                info = os.fstat(handle)
            finally:
                os.close(handle)
            if not is_whiteout(info):
                return info
        found = None if handle is not None or self._is_hidden(parts) else self._lower.look(parts)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return found.info

    def _is_hidden(self, parts: Parts) -> bool:
        """Whether this layer hides what is at ``parts`` below, there or above."""
        for end in range(len(parts)):
            state = self._states.get(parts[:end])
            if state is None:
                return end > 0 and parts[end - 1] in self._states[parts[: end - 1]].upper
            if state.cleared or parts[end] in state.hidden:
                return True
        return False

    def _read_link(self, parts: Parts) -> bytes:
        handle = beneath(self._rootfd, parts)
        if handle is None:
            found = self._lower.look(parts)
            handle = beneath(found.layer, parts) if found else None
        if handle is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            return os.readlink(b"", dir_fd=handle)
        finally:
            os.close(handle)
