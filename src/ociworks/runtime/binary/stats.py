"""What ``events --stats`` prints (runc's types/events.go), as `ContainerStats`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ociworks.errors import ContainerError
from ociworks.runtime import cgroups
from ociworks.runtime.cgroups.counters import (
    BlockIOStats,
    ContainerStats,
    CPUStats,
    HugepageStats,
    MemoryStats,
    PidsStats,
)
from ociworks.spec.frozen import FrozenDict

__all__ = ["group_stats", "parse_stats"]

_UNLIMITED = 1 << 62


def parse_stats(raw: bytes) -> ContainerStats:
    """One document of statistics. ContainerError for what is none."""
    try:
        data = _table(_table(json.loads(raw)).get("data"))
    except ValueError as error:
        raise ContainerError(f"expected statistics as JSON: {error}") from error
    return ContainerStats(
        cpu=_cpu(_table(data.get("cpu"))),
        memory=_memory(_table(data.get("memory"))),
        pids=PidsStats(current=_number(data, "pids", "current"), limit=_limit(data, "pids", "limit") or None),
        block_io=_block_io(_table(data.get("blkio"))),
        hugepages=FrozenDict(
            {
                size: HugepageStats(usage=_number(value, "usage"), failures=_number(value, "failcnt"))
                for size, value in _table(data.get("hugetlb")).items()
                if isinstance(value, dict)
            }
        ),
    )


def group_stats(pid: int) -> ContainerStats:
    """The same from the control groups that a process is in. CgroupError when they cannot be read."""
    return cgroups.stats(cgroups.groups_of(pid))


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _number(value: object, *names: str) -> int:
    for name in names:
        value = _table(value).get(name)
    return value if isinstance(value, int) else 0


def _limit(value: object, *names: str) -> int | None:
    found = _number(value, *names)
    return found if found < _UNLIMITED else None


def _cpu(cpu: Mapping[str, object]) -> CPUStats:
    return CPUStats(
        usage=_number(cpu, "usage", "total"),
        user=_number(cpu, "usage", "user"),
        system=_number(cpu, "usage", "kernel"),
        periods=_number(cpu, "throttling", "periods"),
        throttled_periods=_number(cpu, "throttling", "throttledPeriods"),
        throttled=_number(cpu, "throttling", "throttledTime"),
    )


def _memory(memory: Mapping[str, object]) -> MemoryStats:
    usage, both = _number(memory, "usage", "usage"), _number(memory, "swap", "usage")
    raw = {name: value for name, value in _table(memory.get("raw")).items() if isinstance(value, int)}
    return MemoryStats(
        usage=usage,
        limit=_limit(memory, "usage", "limit"),
        peak=_number(memory, "usage", "max") or None,
        swap=max(both - usage, 0),
        oom_kills=raw.get("oom_kill", 0),
        stat=FrozenDict(raw),
    )


def _block_io(blkio: Mapping[str, object]) -> tuple[BlockIOStats, ...]:
    found: dict[tuple[int, int], dict[str, int]] = {}
    for name, fields in (
        ("ioServiceBytesRecursive", {"read": "read_bytes", "write": "write_bytes"}),
        ("ioServicedRecursive", {"read": "reads", "write": "writes"}),
    ):
        listed = blkio.get(name)
        for entry in listed if isinstance(listed, list) else []:
            field = fields.get(str(_table(entry).get("op", "")).lower())
            if field is not None:
                device = (_number(entry, "major"), _number(entry, "minor"))
                found.setdefault(device, {})[field] = _number(entry, "value")
    return tuple(BlockIOStats(major=major, minor=minor, **values) for (major, minor), values in found.items())
