"""Namespaces and id maps of a configuration (runtime-spec config-linux.md, Namespaces and User namespace mappings)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from attrs import frozen

from ociworks._linux import process
from ociworks.errors import InvalidSpec, MissingDependency, Problem, quote
from ociworks.spec.runtime import IDMapping, Linux

__all__ = ["KINDS", "IDMaps", "Namespaces", "id_maps", "namespaces"]

KINDS: Final = {
    "mount": process.CLONE_NEWNS,
    "pid": process.CLONE_NEWPID,
    "network": process.CLONE_NEWNET,
    "ipc": process.CLONE_NEWIPC,
    "uts": process.CLONE_NEWUTS,
    "user": process.CLONE_NEWUSER,
    "cgroup": process.CLONE_NEWCGROUP,
    "time": process.CLONE_NEWTIME,
}
"""The kernel's flag for each type in a configuration."""

_HELPER_DIRECTORIES: Final = "/usr/bin:/usr/sbin:/bin:/sbin"
_MAX_ID: Final = 2**32 - 1


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

    def encode(self) -> tuple[str, str, bool, tuple[str, str] | None]:
        """The plain form that the launcher reads."""
        return (self.uid_map, self.gid_map, self.deny_setgroups, self.helpers)


def id_maps(linux: Linux) -> IDMaps:
    """The id maps of a configuration with a new user namespace (RT-28: all is judged before anything is made)."""
    uid_map = _format(linux.uid_mappings, "$.linux.uidMappings")
    gid_map = _format(linux.gid_mappings, "$.linux.gidMappings")
    if os.geteuid() == 0:
        return IDMaps(uid_map=uid_map, gid_map=gid_map, deny_setgroups=False)
    if _is_single(linux.uid_mappings, os.geteuid()) and _is_single(linux.gid_mappings, os.getegid()):
        return IDMaps(uid_map=uid_map, gid_map=gid_map, deny_setgroups=True)
    return IDMaps(uid_map=uid_map, gid_map=gid_map, deny_setgroups=False, helpers=_helpers())


def _is_single(mappings: Iterable[IDMapping], own: int) -> bool:
    return [(mapping.host_id, mapping.size) for mapping in mappings] == [(own, 1)]


def _format(mappings: tuple[IDMapping, ...], where: str) -> str:
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
    return "\n".join(f"{mapping.container_id} {mapping.host_id} {mapping.size}" for mapping in mappings)


def _helpers() -> tuple[str, str]:
    found = [shutil.which(name, path=_HELPER_DIRECTORIES) for name in ("newuidmap", "newgidmap")]
    if found[0] is None or found[1] is None:
        raise MissingDependency(
            "mapping more than your own identity needs newuidmap and newgidmap (Debian: apt-get install uidmap)"
        )
    return found[0], found[1]
