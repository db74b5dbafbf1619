"""Limits as files of version 2 controllers.

``linux.resources`` was written for version 1: where the units differ, the conversions of runtime-spec
config-linux.md and of its other implementations are used, each with its formula here. What version 2 has no file
for is refused, never left out.
"""

from __future__ import annotations

from ociworks.errors import CgroupError, NotSupported, quote
from ociworks.runtime.cgroups.settings import (
    HUGEPAGE,
    burst,
    device,
    limit,
    one,
    optional,
    shares_of,
    swap_needs_limit,
    word,
)
from ociworks.runtime.cgroups.v1 import cpuset, rdma

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ociworks.runtime.cgroups.settings import Setting
    from ociworks.spec.runtime import CPU, BlockIO, HugepageLimit, Memory, ThrottleDevice

__all__ = [
    "cpu",
    "cpu_weight",
    "cpuset",
    "hugetlb",
    "io",
    "io_weight",
    "memory",
    "rdma",
    "unified",
    "unified_controller",
]


def memory(value: Memory, directory: str) -> list[Setting]:
    """``memory.swap.max`` counts swap alone, so it is the difference of the two limits."""
    where = "$.linux.resources.memory"
    _refuse(f"{where}.kernel", value.kernel is not None and value.kernel > 0)
    _refuse(f"{where}.kernelTCP", value.kernel_tcp is not None and value.kernel_tcp > 0)
    _refuse(f"{where}.swappiness", value.swappiness is not None)
    _refuse(f"{where}.disableOOMKiller", value.disable_oom_killer)
    swap_needs_limit(value.swap, value.limit)
    settings: list[Setting] = []
    if value.swap is not None:
        swap = value.swap if value.swap == -1 else value.swap - (value.limit or 0)
        # A kernel that does not count swap has no file, and nothing that "none" or "any amount" would change.
        make = optional if swap in (-1, 0) else one
        settings.append(make(directory, "memory.swap.max", _maximum(swap)))
    if value.limit is not None:
        settings.append(one(directory, "memory.max", _maximum(limit(value.limit, f"{where}.limit"))))
    if value.reservation is not None:
        low = _maximum(limit(value.reservation, f"{where}.reservation"))
        settings.append(one(directory, "memory.low", low))
    return settings


def cpu(value: CPU, directory: str) -> list[Setting]:
    """Shares become a weight; quota and period one file."""
    where = "$.linux.resources.cpu"
    _refuse(f"{where}.realtimeRuntime", value.realtime_runtime)
    _refuse(f"{where}.realtimePeriod", value.realtime_period)
    settings: list[Setting] = []
    if shares := shares_of(value.shares):
        settings.append(one(directory, "cpu.weight", cpu_weight(shares)))
    if value.quota or value.period:
        quota = _maximum(limit(value.quota, f"{where}.quota")) if value.quota else "max"
        # A quota alone leaves the period as it is, which in a new group is the default.
        settings.append(one(directory, "cpu.max", f"{quota} {value.period}" if value.period else quota))
    if value.burst is not None:
        settings.append(burst(directory, "cpu.max.burst", value.burst))
    idle = [] if value.idle is None else [one(directory, "cpu.idle", value.idle)]
    return settings + idle if value.idle else idle + settings


def cpu_weight(shares: int) -> int:
    """The ``cpu.weight`` (1…10000) for v1 shares (2…262144).

    A quadratic in log2(shares), chosen by the OCI runtimes so that the least, the default and the greatest meet:
    2 → 1, 1024 → 100, 262144 → 10000. (A straight line made the default weight of containers 39.)
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    import math  # a command loads it only for shares

    logarithm = math.log2(shares)
    return math.ceil(10 ** ((logarithm * logarithm + 125 * logarithm) / 612 - 7 / 34))


def io(value: BlockIO, directory: str) -> list[Setting]:
    """Weights (BFQ's own file keeps the v1 range) and rates."""
    where = "$.linux.resources.blockIO"
    _refuse(f"{where}.leafWeight", value.leaf_weight)
    settings: list[Setting] = []
    if value.weight:
        settings.append(_weight(directory, "", value.weight))
    for entry in value.weight_device:
        _refuse(f"{where}.weightDevice.leafWeight", entry.leaf_weight)
        if entry.weight:
            numbers = device(entry.major, entry.minor, f"{where}.weightDevice")
            settings.append(_weight(directory, f"{numbers} ", entry.weight))
    settings += _throttle(directory, "rbps", value.throttle_read_bps_device)
    settings += _throttle(directory, "wbps", value.throttle_write_bps_device)
    settings += _throttle(directory, "riops", value.throttle_read_iops_device)
    settings += _throttle(directory, "wiops", value.throttle_write_iops_device)
    return settings


def io_weight(weight: int) -> int:
    """The ``io.weight`` (1…10000) for a v1 weight (10…1000), by a straight line."""
    if not 10 <= weight <= 1000:
        raise CgroupError(f"$.linux.resources.blockIO.weight: expected 10 to 1000, got {weight}")
    return 1 + (weight - 10) * 9999 // 990


def _weight(directory: str, prefix: str, weight: int) -> Setting:
    line = f"default {io_weight(weight)}" if not prefix else f"{prefix}{io_weight(weight)}"
    return (
        (f"{directory}/io.bfq.weight", f"{prefix}{weight}".encode("ascii")),
        (f"{directory}/io.weight", line.encode("ascii")),
    )


def _throttle(directory: str, name: str, entries: Iterable[ThrottleDevice]) -> list[Setting]:
    where = "$.linux.resources.blockIO"
    return [
        one(directory, "io.max", f"{device(entry.major, entry.minor, where)} {name}={entry.rate or 'max'}")
        for entry in entries
    ]


def hugetlb(values: Iterable[HugepageLimit], directory: str) -> list[Setting]:
    """Usage of huge pages, and reservations where the kernel can limit them."""
    settings: list[Setting] = []
    for value in values:
        size = word(value.page_size, HUGEPAGE, "$.linux.resources.hugepageLimits")
        settings.append(one(directory, f"hugetlb.{size}.max", value.limit))
        settings.append(optional(directory, f"hugetlb.{size}.rsvd.max", value.limit))
    return settings


def unified(values: Mapping[str, str], directory: str) -> list[Setting]:
    """Files by their own names; they come last and so win over converted limits."""
    settings: list[Setting] = []
    for name, value in values.items():
        unified_controller(name)
        lines = [line for line in value.split("\n") if line]
        for line in lines:  # nested-keyed files take one line a write
            if not line.isascii() or not line.isprintable():
                raise CgroupError(
                    f"$.linux.resources.unified[{quote(name)}]: unprintable value {quote(line)}"
                )
            settings.append(one(directory, name, line))
        if not lines:
            raise CgroupError(f"$.linux.resources.unified[{quote(name)}]: nothing to write")
    return settings


def unified_controller(name: str) -> str:
    """The controller of a ``unified`` member; CgroupError for what is no controller's plain file name."""
    where = "$.linux.resources.unified"
    word(name, r"[a-z]+(\.[A-Za-z0-9_-]+)+", where)
    controller = name.partition(".")[0]
    if controller == "cgroup":
        raise CgroupError(f"{where}: {quote(name)} is the runtime's; name a controller's file")
    return controller


def _maximum(value: int) -> str:
    return "max" if value == -1 else str(value)


def _refuse(where: str, asked: object) -> None:
    if asked:
        raise NotSupported(
            f"{where}: version 2 control groups have nothing like it; remove it from the configuration"
        )
