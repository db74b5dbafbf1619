"""Namespaces and id maps of a configuration (runtime-spec config-linux.md, Namespaces and User namespace mappings)."""

from __future__ import annotations

import os
from itertools import pairwise

from ociworks._linux import numbers as kernel
from ociworks._values import frozen
from ociworks.errors import InvalidSpec, MissingDependency, NotSupported, Problem, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from ociworks.spec.runtime import IDMapping, Linux

__all__ = [
    "KINDS",
    "IDMaps",
    "Namespaces",
    "format_map",
    "id_maps",
    "joined_maps",
    "namespaces",
    "time_offsets",
]

KINDS: Final = {
    "mount": kernel.CLONE_NEWNS,
    "pid": kernel.CLONE_NEWPID,
    "network": kernel.CLONE_NEWNET,
    "ipc": kernel.CLONE_NEWIPC,
    "uts": kernel.CLONE_NEWUTS,
    "user": kernel.CLONE_NEWUSER,
    "cgroup": kernel.CLONE_NEWCGROUP,
    "time": kernel.CLONE_NEWTIME,
}
"""The kernel's flag for each type in a configuration."""

_HELPER_DIRECTORIES: Final = "/usr/bin:/usr/sbin:/bin:/sbin"
_MAX_ID: Final = 2**32 - 1
_MAX_LINES: Final = 340
_MAX_MAP: Final = 4095
"""Lines and bytes of a map: what the kernel takes in its one write."""


@frozen(kw_only=True)
class Namespaces:
    """Which namespaces are made (``new``), joined by path, and by either way not the caller's (``private``)."""

    new: int
    joins: tuple[tuple[int, str], ...]

    @property
    def private(self) -> int:
        """The flags of every namespace that the container does not share with the caller."""
        flags = self.new
        for kind, _ in self.joins:
            flags |= kind
        return flags


def namespaces(linux: Linux) -> Namespaces:
    """Sort the namespaces of a configuration. InvalidSpec for unknown or repeated types."""
    new = 0
    joins: list[tuple[int, str]] = []
    seen: set[str] = set()
    for index, namespace in enumerate(linux.namespaces):
        where = f"$.linux.namespaces[{index}]"
        if namespace.type not in KINDS:
            raise InvalidSpec([Problem(f"{where}.type", f"unknown namespace type {quote(namespace.type)}")])
        if namespace.type in seen:
            raise InvalidSpec([Problem(where, f"a second namespace of type {namespace.type}")])
        seen.add(namespace.type)
        if namespace.path:
            joins.append((KINDS[namespace.type], namespace.path))
        else:
            new |= KINDS[namespace.type]
    return Namespaces(new=new, joins=tuple(joins))


@frozen(kw_only=True)
class IDMaps:
    """The maps of a new user namespace as the kernel reads them, and who may write them."""

    uid_map: str
    gid_map: str
    deny_setgroups: bool
    helpers: tuple[str, str] | None = None
    """newuidmap and newgidmap, by absolute path, when the caller may not write the maps itself."""

    def host_uid(self, uid: int) -> int:
        """What a user of the container is outside; -1 for one that is not mapped."""
        numbers = [int(word) for word in self.uid_map.split()]  # trusted: written by us
        for inside, outside, size in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
            if inside <= uid < inside + size:
                return outside + uid - inside
        return -1

    def encode(self) -> tuple[str, str, bool, tuple[str, str] | None]:
        """The plain form that the launcher reads."""
        return (self.uid_map, self.gid_map, self.deny_setgroups, self.helpers)


def id_maps(linux: Linux) -> IDMaps:
    """The id maps of a configuration with a new user namespace (RT-28: all is judged before anything is made)."""
    uid_map = format_map(linux.uid_mappings, "$.linux.uidMappings")
    gid_map = format_map(linux.gid_mappings, "$.linux.gidMappings")
    if os.geteuid() == 0:
        return IDMaps(uid_map=uid_map, gid_map=gid_map, deny_setgroups=False)
    if _is_single(linux.uid_mappings, os.geteuid()) and _is_single(linux.gid_mappings, os.getegid()):
        return IDMaps(uid_map=uid_map, gid_map=gid_map, deny_setgroups=True)
    return IDMaps(uid_map=uid_map, gid_map=gid_map, deny_setgroups=False, helpers=_helpers())


def joined_maps(linux: Linux) -> tuple[str, str] | None:
    """The maps that a user namespace joined by path must have; None when the configuration does not say."""
    if not linux.uid_mappings and not linux.gid_mappings:
        return None
    return format_map(linux.uid_mappings, "$.linux.uidMappings"), format_map(
        linux.gid_mappings, "$.linux.gidMappings"
    )


def time_offsets(linux: Linux, found: Namespaces) -> str:
    """The clocks' offsets as the kernel reads them; empty for none.

    InvalidSpec when the time namespace is joined, which has its offsets already. NotSupported for kernels without any.
    """
    if kernel.CLONE_NEWTIME & found.private and not os.path.exists("/proc/self/timens_offsets"):
        raise NotSupported("$.linux.namespaces: this kernel has no time namespaces")
    given = linux.time_offsets
    offsets = {} if given is None else {"monotonic": given.monotonic, "boottime": given.boottime}
    lines = [
        f"{clock} {offset.secs or 0} {offset.nanosecs or 0}"
        for clock, offset in offsets.items()
        if offset is not None
    ]
    if lines and not found.new & kernel.CLONE_NEWTIME:
        message = "the time namespace is joined and has offsets already"
        raise InvalidSpec([Problem("$.linux.timeOffsets", message)])
    return "\n".join(lines)


def _is_single(mappings: Iterable[IDMapping], own: int) -> bool:
    return [(mapping.host_id, mapping.size) for mapping in mappings] == [(own, 1)]


def format_map(mappings: tuple[IDMapping, ...], where: str) -> str:
    """A map as the kernel reads it. InvalidSpec for ranges that are none, overlap, or are too many."""
    if not mappings:
        raise InvalidSpec([Problem(where, "a new user namespace needs at least one mapping")])
    for index, mapping in enumerate(mappings):
        last = max(mapping.container_id, mapping.host_id) + mapping.size
        if mapping.size == 0 or last > _MAX_ID:
            raise InvalidSpec(
                [Problem(f"{where}[{index}]", f"expected a range of 1 or more below 2**32-1, got {mapping}")]
            )
    for side in ("container_id", "host_id"):
        ranges = sorted((getattr(mapping, side), mapping.size) for mapping in mappings)
        for (start, size), (following, _) in pairwise(ranges):
            if start + size > following:
                raise InvalidSpec([Problem(where, f"ranges overlap at {following} ({side})")])
    text = "\n".join(f"{mapping.container_id} {mapping.host_id} {mapping.size}" for mapping in mappings)
    if len(mappings) > _MAX_LINES or len(text) > _MAX_MAP:
        message = (
            f"the kernel takes {_MAX_LINES} ranges in {_MAX_MAP} bytes, got {len(mappings)} in {len(text)}"
        )
        raise InvalidSpec([Problem(where, message)])
    return text


def _helpers() -> tuple[str, str]:
    import shutil

    found = [shutil.which(name, path=_HELPER_DIRECTORIES) for name in ("newuidmap", "newgidmap")]
    if found[0] is None or found[1] is None:
        raise MissingDependency(
            "mapping more than your own identity needs newuidmap and newgidmap (Debian: apt-get install uidmap)"
        )
    return found[0], found[1]
