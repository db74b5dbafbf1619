"""Changing the limits of groups that exist (runc update, CRI UpdateContainerResources).

The settings are those of a new group; only their order depends on what is in force now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from ociworks.errors import CgroupError, NotSupported
from ociworks.runtime._cgroupfs import apply_setting
from ociworks.runtime._cgroupkill import number, read_text
from ociworks.runtime.cgroups.operations import cgroup_errors
from ociworks.runtime.cgroups.plan import Place, find, limits
from ociworks.runtime.cgroups.stats import UNLIMITED

if TYPE_CHECKING:
    from ociworks.runtime.cgroups.detect import Hierarchies
    from ociworks.runtime.cgroups.settings import Setting
    from ociworks.spec.runtime import Resources

__all__ = ["update"]


def update(hierarchies: Hierarchies, directories: Sequence[str], resources: Resources) -> None:
    """Write the limits that ``resources`` has; what it does not name stays.

    Raises NotSupported or CgroupError before the first write for what cannot be; CgroupError when the kernel
    refuses a value, and then the limits before it are in force already.
    """
    if resources.devices:
        raise NotSupported("update: the devices of a running container cannot be changed")

    def place(controller: str) -> Place:
        mount = find(hierarchies, controller)
        for directory in directories:
            if directory.startswith(mount.mount_point + "/"):
                return mount.version, directory
        raise CgroupError(f"update: the container has no group for {controller}")

    with cgroup_errors():
        resources = _completed(resources, place)
        settings = limits(resources, place)
        for setting in _ordered(settings):
            apply_setting(setting)


def _completed(resources: Resources, place: Callable[[str], Place]) -> Resources:
    """Fill in from the group what a setting shares a file or a rule with."""
    memory, cpu = resources.memory, resources.cpu
    if memory is not None and (memory.limit, memory.swap) != (None, None):
        version, directory = place("memory")
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if version == 1
            else ("memory.max", "memory.current")
        )
        limit, usage = (_number(f"{directory}/{name}") for name in names)
        if memory.check_before_update and memory.limit is not None and 0 < memory.limit < usage:
            raise CgroupError(
                f"update: {usage} bytes are in use, more than the new memory limit {memory.limit}"
            )
        if memory.limit is None:
            memory = attrs.evolve(memory, limit=limit)
        elif memory.limit == -1 and memory.swap is None:
            memory = attrs.evolve(memory, swap=-1)
    if cpu is not None and cpu.period and not cpu.quota:
        version, directory = place("cpu")
        name = "cpu.cfs_quota_us" if version == 1 else "cpu.max"
        cpu = attrs.evolve(cpu, quota=_number(f"{directory}/{name}"))
    return attrs.evolve(resources, memory=memory, cpu=cpu)


def _ordered(settings: Sequence[Setting]) -> list[Setting]:
    """Put a growing outer limit before its inner one: memory-and-swap before memory (version 1)."""
    ordered = list(settings)
    by_name = {setting[0][0].rpartition("/")[2]: index for index, setting in enumerate(ordered)}
    inner, outer = by_name.get("memory.limit_in_bytes"), by_name.get("memory.memsw.limit_in_bytes")
    if inner is not None and outer is not None:
        path, value = ordered[outer][0]
        new, now = number(value.decode("ascii")), _number(path)
        if new == -1 or 0 <= now < new:
            ordered[inner], ordered[outer] = ordered[outer], ordered[inner]
    return ordered


def _number(path: str) -> int:
    """The first number in a file; -1 for unlimited."""
    word = read_text(path).split()[0]
    return -1 if word == "max" or number(word) >= UNLIMITED else number(word)
