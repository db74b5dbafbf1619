"""Limits as files of version 1 controllers, in an order that a new group accepts.

Each function takes the part of ``linux.resources`` that concerns one controller and the directory of the group in
that controller's hierarchy. runtime-spec config-linux.md names the files section by section.
"""

from __future__ import annotations

from ociworks.errors import NotSupported
from ociworks.runtime.cgroups.settings import (
    HUGEPAGE,
    burst,
    device,
    limit,
    one,
    optional,
    pids_limit,
    positive,
    rdma_entry,
    shares_of,
    swap_needs_limit,
    swappiness_of,
    word,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ociworks.runtime.cgroups.rules import DeviceTable, Key
    from ociworks.runtime.cgroups.settings import Setting
    from ociworks.spec.runtime import CPU, BlockIO, HugepageLimit, Memory, Network, Pids, Rdma, ThrottleDevice

__all__ = [
    "blkio",
    "cpu",
    "cpuset",
    "device_changes",
    "devices",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "pids",
    "rdma",
]

_INTERFACE = r"[^\s/:]{1,15}"


def memory(value: Memory, directory: str) -> list[Setting]:
    """Memory before memory-and-swap, which must never be the smaller one."""
    where = "$.linux.resources.memory"
    if value.kernel is not None and value.kernel > 0:
        raise NotSupported(
            f"{where}.kernel: Linux no longer limits kernel memory apart; set the memory limit"
        )
    swap_needs_limit(value.swap, value.limit)
    settings: list[Setting] = []
    for name, number, member in (
        ("memory.limit_in_bytes", value.limit, "limit"),
        ("memory.memsw.limit_in_bytes", value.swap, "swap"),
        ("memory.soft_limit_in_bytes", value.reservation, "reservation"),
        ("memory.kmem.tcp.limit_in_bytes", value.kernel_tcp, "kernelTCP"),
    ):
        if number is not None:
            settings.append(one(directory, name, limit(number, f"{where}.{member}")))
    if value.disable_oom_killer:
        settings.append(one(directory, "memory.oom_control", 1))
    if value.use_hierarchy:
        settings.append(one(directory, "memory.use_hierarchy", 1))
    if value.swappiness is not None:
        settings.append(one(directory, "memory.swappiness", swappiness_of(value.swappiness)))
    return settings


def cpu(value: CPU, directory: str) -> list[Setting]:
    """Period before quota, quota before burst (the kernel compares them); real-time period before its runtime."""
    where = "$.linux.resources.cpu"
    quota = 0 if not value.quota else limit(value.quota, f"{where}.quota")
    idle = [] if value.idle is None else [one(directory, "cpu.idle", value.idle)]
    numbers = (
        ("cpu.shares", shares_of(value.shares)),
        ("cpu.cfs_period_us", value.period),
        ("cpu.cfs_quota_us", quota),
        ("cpu.rt_period_us", value.realtime_period),
        ("cpu.rt_runtime_us", positive(value.realtime_runtime, f"{where}.realtimeRuntime")),
    )
    settings = [one(directory, name, number) for name, number in numbers if number]
    settings += [] if value.burst is None else [burst(directory, "cpu.cfs_burst_us", value.burst)]
    # An idle group refuses shares: it is set idle last, and first when it shall no longer be.
    return settings + idle if value.idle else idle + settings


def cpuset(value: CPU, directory: str) -> list[Setting]:
    """The processors and memory nodes; the same files in both versions."""
    names = (("cpus", value.cpus), ("mems", value.mems))
    return [
        one(
            directory,
            f"cpuset.{name}",
            word(text, r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", f"$.linux.resources.cpu.{name}"),
        )
        for name, text in names
        if text
    ]


def pids(value: Pids, directory: str) -> list[Setting]:
    """The number of tasks."""
    return [] if value.limit is None else [one(directory, "pids.max", pids_limit(value.limit))]


def blkio(value: BlockIO, directory: str) -> list[Setting]:
    """Weights (by the BFQ scheduler where the kernel has it, by the older CFQ otherwise) and rates."""
    where = "$.linux.resources.blockIO"
    settings: list[Setting] = []
    if value.weight:
        settings.append(_weight(directory, "weight", str(value.weight)))
    if value.leaf_weight:
        settings.append(one(directory, "blkio.leaf_weight", value.leaf_weight))
    for entry in value.weight_device:
        numbers = device(entry.major, entry.minor, f"{where}.weightDevice")
        if entry.weight:
            settings.append(_weight(directory, "weight_device", f"{numbers} {entry.weight}"))
        if entry.leaf_weight:
            settings.append(one(directory, "blkio.leaf_weight_device", f"{numbers} {entry.leaf_weight}"))
    settings += _throttle(directory, "read_bps_device", value.throttle_read_bps_device)
    settings += _throttle(directory, "write_bps_device", value.throttle_write_bps_device)
    settings += _throttle(directory, "read_iops_device", value.throttle_read_iops_device)
    settings += _throttle(directory, "write_iops_device", value.throttle_write_iops_device)
    return settings


def _weight(directory: str, name: str, value: str) -> Setting:
    raw = value.encode("ascii")
    return ((f"{directory}/blkio.bfq.{name}", raw), (f"{directory}/blkio.{name}", raw))


def _throttle(directory: str, name: str, entries: Iterable[ThrottleDevice]) -> list[Setting]:
    where = "$.linux.resources.blockIO"
    return [
        one(
            directory,
            f"blkio.throttle.{name}",
            f"{device(entry.major, entry.minor, where)} {entry.rate or 0}",
        )
        for entry in entries
    ]


def hugetlb(values: Iterable[HugepageLimit], directory: str) -> list[Setting]:
    """Usage, and reservations where the kernel can limit them."""
    settings: list[Setting] = []
    for value in values:
        size = word(value.page_size, HUGEPAGE, "$.linux.resources.hugepageLimits")
        settings.append(one(directory, f"hugetlb.{size}.limit_in_bytes", value.limit))
        settings.append(optional(directory, f"hugetlb.{size}.rsvd.limit_in_bytes", value.limit))
    return settings


def net_cls(value: Network, directory: str) -> list[Setting]:
    """The class of the group's packets."""
    return [] if value.class_id is None else [one(directory, "net_cls.classid", value.class_id)]


def net_prio(value: Network, directory: str) -> list[Setting]:
    """The priority of the group's packets, by interface."""
    where = "$.linux.resources.network.priorities"
    return [
        one(directory, "net_prio.ifpriomap", f"{word(entry.name, _INTERFACE, where)} {entry.priority}")
        for entry in value.priorities
    ]


def rdma(values: Mapping[str, Rdma], directory: str) -> list[Setting]:
    """RDMA resources by device; the same file in both versions."""
    return [
        one(directory, "rdma.max", rdma_entry(name, value.hca_handles, value.hca_objects))
        for name, value in values.items()
    ]


def devices(table: DeviceTable, directory: str) -> list[Setting]:
    """The default first, which clears what was inherited; then the exceptions to it."""
    first, rest = ("allow", "deny") if table.allow else ("deny", "allow")
    return [
        one(directory, f"devices.{first}", "a"),
        *(one(directory, f"devices.{rest}", _entry(key, access)) for key, access in table.exceptions.items()),
    ]


def device_changes(before: DeviceTable, after: DeviceTable, directory: str) -> list[Setting]:
    """From one table to another without taking away, even for a moment, what both grant."""
    if before.allow != after.allow:
        return devices(after, directory)
    grant, withdraw = ("deny", "allow") if after.allow else ("allow", "deny")
    return [
        one(directory, f"devices.{verb}", _entry(key, access))
        for verb, more, less in ((grant, after, before), (withdraw, before, after))
        for key, letters in more.exceptions.items()
        if (access := "".join(letter for letter in letters if letter not in less.exceptions.get(key, "")))
    ]


def _entry(key: Key, access: str) -> str:
    kind, major, minor = key
    return f"{kind} {'*' if major is None else major}:{'*' if minor is None else minor} {access}"
