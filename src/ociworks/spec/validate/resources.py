"""Rules for limits: numbers that contradict each other, or that no controller takes."""

from __future__ import annotations

from ociworks.errors import Problem, quote
from ociworks.spec._where import member
from ociworks.spec.validate._checks import check_cpu_list, check_range, check_unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import (
        CPU,
        BlockIO,
        HugepageLimit,
        InterfacePriority,
        Memory,
        Pids,
        Rdma,
        Resources,
        ThrottleDevice,
        WeightDevice,
    )

__all__ = ["RULES"]

_PAGE_SIZE: Final = r"[1-9][0-9]*[KMG]B"
_UNIFIED: Final = r"[a-z][a-z0-9_]*(?:\.[A-Za-z0-9_]+)+"
_SECTION: Final = "runtime-spec config-linux.md"
_BLOCK_IO: Final = f"{_SECTION}, Block IO"
_HIGHEST: Final = 2**63 - 1
_NUMBERS: Final = 2**32 - 1


def _is(text: str, pattern: str) -> bool:
    import re  # a command loads it only when it needs it

    return re.fullmatch(pattern, text, re.ASCII) is not None


def _memory(value: Memory, at: str) -> Iterator[Problem]:
    """Bytes or -1; a reservation within the limit, and the limit within what swap allows in all."""
    section = f"{_SECTION}, Memory"
    limits = {
        "limit": value.limit,
        "reservation": value.reservation,
        "swap": value.swap,
        "kernel": value.kernel,
        "kernelTCP": value.kernel_tcp,
    }
    for name, number in limits.items():
        yield from check_range(number, -1, _HIGHEST, f"{at}.{name}", section)
    yield from check_range(value.swappiness, 0, 100, f"{at}.swappiness", section)
    limit, reservation, swap = value.limit or 0, value.reservation or 0, value.swap or 0
    if 0 < limit < reservation:
        message = f"expected at most the limit {limit}, got {reservation}"
        yield Problem(f"{at}.reservation", message, section)
    if 0 < swap < limit:
        message = f"is memory and swap together: expected at least the limit {limit}, got {swap}"
        yield Problem(f"{at}.swap", message, section)


def _cpu(value: CPU, at: str) -> Iterator[Problem]:
    """Lists of CPUs, and a burst within the quota."""
    section = f"{_SECTION}, CPU"
    yield from check_cpu_list(value.cpus, f"{at}.cpus", section)
    yield from check_cpu_list(value.mems, f"{at}.mems", section)
    yield from check_range(value.idle, 0, 1, f"{at}.idle", section)
    quota, burst = value.quota or 0, value.burst or 0
    if 0 < quota < burst:
        yield Problem(f"{at}.burst", f"expected at most the quota {quota}, got {burst}", section)
    runtime, period = value.realtime_runtime or 0, value.realtime_period or 0
    if 0 < period < runtime:
        message = f"expected at most the period {period}, got {runtime}"
        yield Problem(f"{at}.realtimeRuntime", message, section)


def _pids(value: Pids, at: str) -> Iterator[Problem]:
    """A count, or -1."""
    yield from check_range(value.limit, -1, _HIGHEST, f"{at}.limit", f"{_SECTION}, PIDs")


def _block_io(value: BlockIO, at: str) -> Iterator[Problem]:
    """Weights that the controller takes."""
    yield from _weight(value.weight, f"{at}.weight")
    yield from _weight(value.leaf_weight, f"{at}.leafWeight")


def _weight(number: int | None, at: str) -> Iterator[Problem]:
    """Zero is how the Go tools write "not set"."""
    if number != 0:
        yield from check_range(number, 10, 1000, at, _BLOCK_IO)


def _weight_device(value: WeightDevice, at: str) -> Iterator[Problem]:
    """A device, and at least one weight."""
    yield from _numbers(value, at)
    if value.weight is None and value.leaf_weight is None:
        yield Problem(at, "expected weight or leafWeight", _BLOCK_IO)
    yield from _weight(value.weight, f"{at}.weight")
    yield from _weight(value.leaf_weight, f"{at}.leafWeight")


def _throttle_device(value: ThrottleDevice, at: str) -> Iterator[Problem]:
    """A device and a rate."""
    yield from _numbers(value, at)
    if value.rate is None:
        yield Problem(f"{at}.rate", "is required", _BLOCK_IO)


def _numbers(value: WeightDevice | ThrottleDevice, at: str) -> Iterator[Problem]:
    yield from check_range(value.major, 0, _NUMBERS, f"{at}.major", _BLOCK_IO)
    yield from check_range(value.minor, 0, _NUMBERS, f"{at}.minor", _BLOCK_IO)


def _hugepage_limit(value: HugepageLimit, at: str) -> Iterator[Problem]:
    """A page size such as 2MB."""
    if not _is(value.page_size, _PAGE_SIZE):
        message = f"expected a size such as 2MB or 1GB, got {quote(value.page_size)}"
        yield Problem(f"{at}.pageSize", message, f"{_SECTION}, Huge page limits")


def _interface_priority(value: InterfacePriority, at: str) -> Iterator[Problem]:
    """The name becomes part of a line in a control file."""
    if not value.name or any(char.isspace() for char in value.name):
        message = f"{quote(value.name)} is no name of a network interface"
        yield Problem(f"{at}.name", message, f"{_SECTION}, Network")


def _rdma(value: Rdma, at: str) -> Iterator[Problem]:
    """At least one limit."""
    if value.hca_handles is None and value.hca_objects is None:
        yield Problem(at, "expected hcaHandles or hcaObjects", f"{_SECTION}, RDMA")


def _resources(value: Resources, at: str) -> Iterator[Problem]:
    """Page sizes once each, and file names that stay in the cgroup's directory."""
    yield from check_unique(
        value.hugepage_limits,
        lambda limit: limit.page_size,
        lambda index: f"{at}.hugepageLimits[{index}].pageSize",
        f"{_SECTION}, Huge page limits",
    )
    for name in value.unified:
        if not _is(name, _UNIFIED):
            where = f"{at}.unified{member(name)}"
            yield Problem(where, "expected a file name such as memory.high", f"{_SECTION}, Unified")


RULES: Final = {
    "BlockIO": _block_io,
    "CPU": _cpu,
    "HugepageLimit": _hugepage_limit,
    "InterfacePriority": _interface_priority,
    "Memory": _memory,
    "Pids": _pids,
    "Rdma": _rdma,
    "Resources": _resources,
    "ThrottleDevice": _throttle_device,
    "WeightDevice": _weight_device,
}
