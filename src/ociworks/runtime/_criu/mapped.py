"""Binds with IDs of their own: criu knows nothing of them, so it is given mounts to bind from that have them already.

Each is a copy of the whole mount that the source is in: criu takes over what that shares with others, for which the
root of the one has to be above that of the other.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Any

from attrs import frozen

from ociworks.errors import NotSupported, quote
from ociworks.runtime._criu.within import unescaped
from ociworks.runtime.plan import ops

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociworks.runtime.plan import Plan

__all__ = ["Mapped", "mapped"]


@frozen
class Mapped:
    """A mount to be made (as ``plan.sources`` has it), and where the source is in it."""

    tree: tuple[Any, ...]
    within: str


def mapped(planned: Plan) -> Mapping[str, Mapped]:
    """What is to be mounted for them, by destination. Raises NotSupported and OSError."""
    found = {}
    binds: list[Any] = [op.args for op in planned.operations if op.name == "bind"]
    for source, target, _, _, _, _, (kind, number, _) in binds:
        if kind == "idmap":
            if posixpath.normpath(source).startswith(f"{planned.rootfs}/"):
                raise NotSupported(f"a mount with IDs of its own, of {quote(source)} in the container itself")
            point, within = _mount_of(source)
            tree = (point, False, True, ops.UNCHANGED, planned.sources[number][4], False, False)
            found[posixpath.normpath(posixpath.join("/", target))] = Mapped(tree, within)
    return found


def _mount_of(source: str) -> tuple[str, str]:
    """Where the mount is that something is in, and where it is there. NotSupported when others are in front of it."""
    number, real = _found(source)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        points = {fields[0]: fields[4] for fields in map(str.split, stream)}
    point = unescaped(points[number])
    if _found(point)[0] != number:
        raise NotSupported(f"a mount with IDs of its own, of {quote(source)}, whose mount another one hides")
    return point, posixpath.relpath(real, point)


def _found(path: str) -> tuple[str, str]:
    """The number of the mount that a path leads to, and the path without links."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as stream:
            number = next(line.split()[1] for line in stream if line.startswith("mnt_id:"))
        return number, os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
