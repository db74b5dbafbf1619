"""How the container sees the host's control groups."""

from __future__ import annotations

import os

from ociworks._values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ociworks.runtime.cgroups.detect import Hierarchies, Hierarchy
    from ociworks.runtime.plan import ops

__all__ = ["Groups", "cgroup_layout", "delegated_files", "need_mounts"]


@frozen(kw_only=True)
class Groups:
    """The host's hierarchies, the container's group in each (if any), and whether it sees only those."""

    hierarchies: Hierarchies
    directories: tuple[str, ...]
    own_namespace: bool
    is_root: bool = False
    """Whether these are the roots of what it sees."""


def cgroup_layout(groups: Groups) -> tuple[ops.Hierarchy, ...]:
    """What to mount for a mount of type ``cgroup``: a single tree on v2, one directory per hierarchy otherwise."""
    mounts = groups.hierarchies.mounts
    if groups.hierarchies.mode == "v2":
        return (("", "cgroup2", (), _host_path(mounts[0], groups), ()),)
    return tuple(_show(mount, groups) for mount in mounts)


def need_mounts(groups: Groups, layout: Iterable[ops.Hierarchy]) -> bool:
    """Whether the container needs file systems of its own to see its groups.

    Of version 1 there are many, which the kernel has to make and to end; where a group of ours is the root of what the
    container sees, a bind shows it the same.
    """
    bound = groups.is_root and groups.hierarchies.mode != "v2"
    return groups.own_namespace and not (bound and all(each[3] in groups.directories for each in layout))


def delegated_files() -> tuple[str, ...]:
    """The files that make a group another user's to divide (cgroups(7), Delegating a hierarchy)."""
    try:
        with open("/sys/kernel/cgroup/delegate", encoding="ascii") as stream:
            return tuple(stream.read().split())
    except FileNotFoundError:
        return ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def _show(mount: Hierarchy, groups: Groups) -> ops.Hierarchy:
    host_path = _host_path(mount, groups)
    if mount.version == 2:
        return ("unified", "cgroup2", (), host_path, ())
    names = [name.removeprefix("name=") for name in mount.controllers]
    links = tuple(names) if len(names) > 1 else ()
    options = tuple(option for name in mount.controllers for option in _options(name))
    return (",".join(names), "cgroup", options, host_path, links)


def _options(controller: str) -> ops.Options:
    if controller.startswith("name="):
        return (("none", None), ("name", controller.removeprefix("name=")))
    return ((controller, None),)


def _host_path(mount: Hierarchy, groups: Groups) -> str:
    inside = mount.mount_point + os.sep
    return next((path for path in groups.directories if path.startswith(inside)), mount.mount_point)
