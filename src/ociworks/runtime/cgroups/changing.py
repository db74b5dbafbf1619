"""Changing the limits of groups that exist (runc update, CRI UpdateContainerResources).

The settings are those of a new group; only their order depends on what is in force now. Either all of them hold
afterwards or none (:mod:`~ociworks.runtime.cgroups.rollback`). Devices come last: in version 2 the new program is
attached before the old one is detached, in version 1 only what differs is written, so that a running program never
loses a device that it may keep.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from ociworks.errors import CgroupError, NotSupported
from ociworks.runtime._cgroupbpf import attach
from ociworks.runtime._cgroupkill import number, read_text
from ociworks.runtime.cgroups import v1
from ociworks.runtime.cgroups.devices_bpf import device_program
from ociworks.runtime.cgroups.operations import cgroup_errors
from ociworks.runtime.cgroups.plan import Place, find, limits
from ociworks.runtime.cgroups.reading import UNLIMITED
from ociworks.runtime.cgroups.rollback import apply_all
from ociworks.runtime.cgroups.rules import reduce_rules

if TYPE_CHECKING:
    from ociworks.runtime.cgroups.detect import Hierarchies
    from ociworks.runtime.cgroups.rules import DeviceTable
    from ociworks.runtime.cgroups.settings import Setting
    from ociworks.spec.runtime import Resources

__all__ = ["update"]


def update(
    hierarchies: Hierarchies,
    directories: Sequence[str],
    resources: Resources,
    before: Resources | None = None,
    *,
    scope: str = "",
) -> None:
    """Write the limits that ``resources`` has; what it does not name stays. All of them, or none.

    Device rules are replaced as a whole: they are judged as a new container's are. ``before`` has those in force.
    ``scope`` is the unit of systemd that shall know, too; it hears of it last, when the groups have taken everything.
    Raises NotSupported or CgroupError, before the first write for what cannot be.
    """

    def place(controller: str) -> Place:
        mount = find(hierarchies, controller)
        for directory in directories:
            if directory.startswith(mount.mount_point + "/"):
                return mount.version, directory
        raise CgroupError(f"update: the container has no group for {controller}")

    table = reduce_rules(resources.devices) if resources.devices else None
    with cgroup_errors():
        settings = _ordered(limits(_completed(resources, place), place))
        filtered = [] if table is None else _device_settings(hierarchies, place, table, before)
        apply_all([*settings, *filtered])
        if table is not None and hierarchies.find("devices") is None:
            _replace_program(hierarchies, directories, table)
    if scope:
        _tell_systemd(hierarchies, resources, scope, table)


def _tell_systemd(
    hierarchies: Hierarchies, resources: Resources, scope: str, table: DeviceTable | None
) -> None:
    from ociworks.runtime.systemd import manager
    from ociworks.runtime.systemd.properties import device_properties, properties

    filtered = device_properties(table) if table is not None else ()
    manager.change(scope, (*properties(resources, 2 if hierarchies.mode == "v2" else 1), *filtered))


def _device_settings(
    hierarchies: Hierarchies, place: Callable[[str], Place], table: DeviceTable, before: Resources | None
) -> list[Setting]:
    """The files of version 1, none in version 2."""
    if hierarchies.find("devices") is None:
        if hierarchies.unified is None:
            raise NotSupported("update: this host has neither a devices controller nor version 2 groups")
        return []
    _, directory = place("devices")
    if before is None:
        return v1.devices(table, directory)
    return v1.device_changes(reduce_rules(before.devices), table, directory)


def _replace_program(hierarchies: Hierarchies, directories: Sequence[str], table: DeviceTable) -> None:
    unified = hierarchies.unified
    leaf = next(
        (path for path in directories if unified and path.startswith(unified.mount_point + "/")), None
    )
    if leaf is None:
        raise CgroupError("update: the container has no group in the unified hierarchy")
    descriptor = os.open(leaf, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        attach(descriptor, device_program(table))
    finally:
        os.close(descriptor)


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
        elif memory.limit == -1 and memory.swap is None and _counts_swap(version, directory):
            memory = attrs.evolve(memory, swap=-1)
    if cpu is not None and cpu.period and not cpu.quota:
        version, directory = place("cpu")
        name = "cpu.cfs_quota_us" if version == 1 else "cpu.max"
        cpu = attrs.evolve(cpu, quota=_number(f"{directory}/{name}"))
    return attrs.evolve(resources, memory=memory, cpu=cpu)


def _counts_swap(version: int, directory: str) -> bool:
    return version == 2 or os.path.exists(f"{directory}/memory.memsw.limit_in_bytes")


def _ordered(settings: Sequence[Setting]) -> list[Setting]:
    """Let no value on the way contradict another: the kernel compares each write with what the group has then."""
    ordered = list(settings)
    _swap(ordered, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", when=_grows)
    _swap(ordered, "cpu.cfs_period_us", "cpu.cfs_quota_us", when=lambda _, quota: not _grows(_, quota))
    _swap(ordered, "cpu.rt_period_us", "cpu.rt_runtime_us", when=lambda _, runtime: not _grows(_, runtime))
    _swap(ordered, "cpu.cfs_quota_us", "cpu.cfs_burst_us", when=lambda _, burst: not _grows(_, burst))
    _swap(ordered, "cpu.max", "cpu.max.burst", when=lambda _, burst: not _grows(_, burst))
    return ordered


def _swap(ordered: list[Setting], first: str, second: str, *, when: Callable[[int, int], bool]) -> None:
    """Put ``second`` before ``first`` when the number that it has, and the one that it gets, say so."""
    by_name = {setting[0][0].rpartition("/")[2]: index for index, setting in enumerate(ordered)}
    before, after = by_name.get(first), by_name.get(second)
    if before is None or after is None or not os.path.exists(ordered[after][0][0]):
        return
    path, value = ordered[after][0]
    if when(_number(path), number(value.decode("ascii"))):
        ordered[before], ordered[after] = ordered[after], ordered[before]


def _grows(now: int, new: int) -> bool:
    return new == -1 or 0 <= now < new


def _number(path: str) -> int:
    """The first number in a file; -1 for unlimited."""
    word = read_text(path).split()[0]
    return -1 if word == "max" or number(word) >= UNLIMITED else number(word)
