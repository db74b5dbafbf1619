"""Slices of systemd that hold the scopes of a pod's containers: ``a-b.slice`` is in ``a.slice``.

systemd has the limits that it knows as properties, so that it keeps them; all of them are also written to the slice's
control group, for those that it has no property for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ociworks.runtime import cgroups
from ociworks.runtime._cgroupkill import write
from ociworks.runtime.cgroups.operations import cgroup_errors
from ociworks.runtime.systemd import manager
from ociworks.runtime.systemd.properties import accounting, properties
from ociworks.runtime.systemd.scope import expand
from ociworks.spec.runtime import Resources

if TYPE_CHECKING:
    from ociworks.runtime.systemd.scope import Property

__all__ = ["hand_down", "is_slice", "is_there", "limit", "start", "stop"]

_ALWAYS: Final[tuple[Property, ...]] = (
    ("Description", "s", "pods of ociworks"),
    ("DefaultDependencies", "b", False),
    ("CollectMode", "s", "inactive-or-failed"),
)


def is_slice(parent: str) -> bool:
    """Whether it names a slice, and no path."""
    return not parent.startswith("/")


def is_there(name: str) -> bool:
    """Whether the slice has control groups, which it has as long as it is active."""
    return any(os.path.isdir(path) for path in _directories(name))


def start(name: str, resources: Resources) -> None:
    """Make a slice that is not there, and those above it that are missing. Raises CgroupError, NotSupported."""
    version = 2 if cgroups.detect().mode == "v2" else 1
    manager.start_slice(name, (*_ALWAYS, *accounting(version), *properties(resources, version)))
    if resources != Resources():
        _write(name, resources, scope="")


def limit(name: str, resources: Resources) -> None:
    """Change the limits of a slice: all or none. Raises CgroupError, NotSupported."""
    _write(name, resources, scope=f"system:{name}")


def stop(names: Iterable[str]) -> list[str]:
    """Stop those that hold nothing any more; the others. Raises CgroupError."""
    still = []
    for name in sorted(names, key=len, reverse=True):
        if _holds_groups(name):
            still.append(name)
        elif is_there(name):
            manager.stop(f"system:{name}")
    return still


def hand_down(planned: cgroups.CgroupPlan) -> None:
    """Let a group of version 2 have the controllers that its planned limits need. Raises CgroupError."""
    for (path, words), *_ in planned.settings:
        if path.endswith("/cgroup.subtree_control"):
            with cgroup_errors():
                write(path, words)


def _write(name: str, resources: Resources, scope: str) -> None:
    hierarchies = cgroups.detect()
    planned = cgroups.plan(hierarchies, "/" + "/".join(expand(name)), "", resources, devices=False)
    hand_down(planned)
    cgroups.update(hierarchies, planned.directories, resources, scope=scope)


def _directories(name: str) -> list[str]:
    inner = "/".join(expand(name))
    return [f"{mount.mount_point}/{inner}" for mount in cgroups.detect().mounts]


def _holds_groups(name: str) -> bool:
    for directory in _directories(name):
        try:
            with os.scandir(directory) as entries:
                if any(entry.is_dir(follow_symlinks=False) for entry in entries):
                    return True
        except FileNotFoundError:
            continue
    return False
