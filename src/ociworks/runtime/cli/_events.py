"""``events``: statistics and memory shortages, a JSON document a line, with the members that runc's have."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ociworks.runtime import Container, _facts
from ociworks.runtime.cgroups import ContainerStats
from ociworks.runtime.cli._call import Call

if TYPE_CHECKING:
    from ociworks.runtime._facts import Value
    from ociworks.runtime.cgroups.counters import Pressure

__all__ = ["main", "stats_members"]

_INTERVAL: Final = 5.0
_UNLIMITED: Final = (1 << 64) - 1


def main(call: Call) -> int:
    """Print statistics once, or until the container has ended, with what happens to it in between."""
    interval = call.flags.seconds("interval", _INTERVAL)
    if interval <= 0:
        raise ValueError("duration interval must be greater than 0")
    container = call.container()
    if container.status == "stopped":
        raise ValueError(f"container with id {container.id} is not running")
    if call.flags.flag("stats"):
        _print_stats(container)
        return 0
    gc.enable()
    with container.events() as watch:
        due = time.monotonic() + interval
        while True:
            for event in watch.read(max(0.0, due - time.monotonic())):
                if event.kind == "stopped":
                    return 0
                if event.kind == "oom":
                    _print({"type": "oom", "id": container.id})
            if time.monotonic() >= due:
                _print_stats(container)
                due += interval


def _print_stats(container: Container) -> None:
    _print({"type": "stats", "id": container.id, "data": stats_members(container.stats())})


def _print(document: Mapping[str, Value]) -> None:
    sys.stdout.write(f"{_facts.dumps(document)}\n")
    sys.stdout.flush()


def stats_members(stats: ContainerStats) -> dict[str, Value]:
    """The statistics under runc's names: nanoseconds, bytes, and the largest number for no limit."""
    return {
        "cpu": _cpu(stats),
        "cpuset": _cpuset(stats),
        "memory": _memory(stats),
        "pids": _pids(stats),
        "blkio": _block_io(stats),
        "hugetlb": {
            size: {"usage": pages.usage, "max": pages.peak or 0, "failcnt": pages.failures}
            for size, pages in stats.hugepages.items()
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _cpu(stats: ContainerStats) -> dict[str, Value]:
    cpu = stats.cpu
    if cpu is None:
        return {"usage": {"kernel": 0, "user": 0}, "throttling": {}}
    usage: dict[str, Value] = {"total": cpu.usage, "kernel": cpu.system, "user": cpu.user}
    if cpu.per_cpu:
        usage["percpu"] = cpu.per_cpu
    if cpu.per_cpu_user:
        usage.update(percpu_kernel=cpu.per_cpu_system, percpu_user=cpu.per_cpu_user)
    throttling: dict[str, Value] = {
        "periods": cpu.periods,
        "throttledPeriods": cpu.throttled_periods,
        "throttledTime": cpu.throttled,
    }
    return {"usage": usage, "throttling": throttling, **_stalls(cpu.pressure)}


def _cpuset(stats: ContainerStats) -> dict[str, Value]:
    if stats.cpuset is None:
        return {}
    return {"cpus": stats.cpuset.cpus, "mems": stats.cpuset.mems, **stats.cpuset.settings}


def _stalls(pressure: Pressure | None) -> dict[str, Value]:
    """Where the kernel measures them."""
    if pressure is None:
        return {}

    def row(shares: tuple[float, float, float], total: int) -> Value:
        return {**dict(zip(("avg10", "avg60", "avg300"), shares, strict=True)), "total": total}

    some, full = row(pressure.some, pressure.some_total), row(pressure.full, pressure.full_total)
    return {"psi": {"some": some, "full": full}}


def _memory(stats: ContainerStats) -> dict[str, Value]:
    memory = stats.memory
    if memory is None:
        return {}
    return {
        "cache": memory.stat.get("cache", memory.stat.get("file", 0)),
        "usage": _entry(memory.usage, memory.limit, memory.peak, memory.failures),
        "swap": _entry(memory.swap, memory.swap_limit, memory.swap_peak),
        "kernel": _entry(memory.kernel, None, None),
        "kernelTCP": _entry(memory.kernel_tcp, None, None),
        "raw": dict(memory.stat),
        **_stalls(memory.pressure),
    }


def _entry(usage: int | None, limit: int | None, peak: int | None, failures: int = 0) -> dict[str, Value]:
    return {
        "limit": _UNLIMITED if limit is None else limit,
        "usage": usage or 0,
        "max": peak or 0,
        "failcnt": failures,
    }


def _pids(stats: ContainerStats) -> dict[str, Value]:
    if stats.pids is None:
        return {}
    members: dict[str, Value] = {"current": stats.pids.current}
    if stats.pids.limit is not None:
        members["limit"] = stats.pids.limit
    return members


def _block_io(stats: ContainerStats) -> dict[str, Value]:
    devices = stats.block_io or ()

    def rows(*fields: tuple[str, str]) -> list[Value]:
        return [
            {"major": device.major, "minor": device.minor, "op": op, "value": getattr(device, name)}
            for device in devices
            for op, name in fields
        ]

    return {
        "ioServiceBytesRecursive": rows(
            ("Read", "read_bytes"), ("Write", "write_bytes"), ("Discard", "discard_bytes")
        ),
        "ioServicedRecursive": rows(("Read", "reads"), ("Write", "writes"), ("Discard", "discards")),
        **_stalls(stats.io_pressure),
    }
