"""What a container used: one reading of its groups' counters, from either version, in the same units."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import attrs

from ociworks.runtime._cgroupkill import number, read_text
from ociworks.runtime.cgroups.operations import cgroup_errors
from ociworks.spec.frozen import FrozenDict

__all__ = ["BlockIOStats", "CPUStats", "ContainerStats", "HugepageStats", "MemoryStats", "PidsStats", "stats"]

UNLIMITED = 1 << 62  # v1 writes "no limit" as the greatest multiple of the page size
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class CPUStats:
    """Times in nanoseconds since the container was created; ``periods`` are enforcement intervals of its quota."""

    usage: int = 0
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0


@attrs.frozen(kw_only=True)
class MemoryStats:
    """Bytes; ``limit`` None is unlimited. ``swap`` is swap alone. ``oom_kills`` counts processes killed for memory.

    ``stat`` has the kernel's own detailed counters under the kernel's names.
    """

    usage: int = 0
    limit: int | None = None
    peak: int | None = None
    swap: int | None = None
    swap_limit: int | None = None
    oom_kills: int = 0
    stat: Mapping[str, int] = FrozenDict()

    @property
    def working_set(self) -> int:
        """Usage without file pages that can be dropped: what memory pressure is judged by."""
        inactive = self.stat.get("total_inactive_file", self.stat.get("inactive_file", 0))
        return max(self.usage - inactive, 0)


@attrs.frozen(kw_only=True)
class PidsStats:
    """Tasks (threads count); ``limit`` None is unlimited."""

    current: int = 0
    limit: int | None = None


@attrs.frozen(kw_only=True)
class BlockIOStats:
    """Bytes and operations of one block device."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0


@attrs.frozen(kw_only=True)
class HugepageStats:
    """Bytes in huge pages of one size, and how often the limit was hit."""

    usage: int = 0
    failures: int = 0


@attrs.frozen(kw_only=True)
class ContainerStats:
    """One reading. A part is None when no controller counts it on this host."""

    cpu: CPUStats | None = None
    memory: MemoryStats | None = None
    pids: PidsStats | None = None
    block_io: tuple[BlockIOStats, ...] | None = None
    hugepages: Mapping[str, HugepageStats] = FrozenDict()


class _Files:
    """The files of all the container's groups by name: each is in one hierarchy only."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._where: dict[str, str] = {}
        # On hybrid hosts both versions have a cpu.stat; the one with the controller behind it is version 1.
        for directory in sorted(directories, key=lambda path: os.path.exists(f"{path}/cgroup.controllers")):
            for name in os.listdir(directory):
                self._where.setdefault(name, directory)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def names(self) -> list[str]:
        return sorted(self._where)

    def text(self, name: str) -> str:
        """The content, "" when there is no such file."""
        return read_text(f"{self._where[name]}/{name}") if name in self._where else ""

    def number(self, name: str) -> int | None:
        """The number in the file; None for "max", the v1 spelling of it, and a missing file."""
        text = self.text(name).strip()
        if text in ("", "max"):
            return None
        value = number(text)
        return value if value < UNLIMITED else None

    def table(self, name: str) -> dict[str, int]:
        """Lines of a name and a number."""
        pairs = (line.split() for line in self.text(name).splitlines())
        return {pair[0]: number(pair[1]) for pair in pairs if len(pair) == 2}


def stats(directories: Sequence[str]) -> ContainerStats:
    """Read the counters of a container's groups. Raises CgroupError, also when the groups are gone."""
    with cgroup_errors():
        files = _Files(directories)
        return ContainerStats(
            cpu=_cpu(files),
            memory=_memory(files),
            pids=_pids(files),
            block_io=_block_io(files),
            hugepages=_hugepages(files),
        )


def _cpu(files: _Files) -> CPUStats | None:
    if "cpuacct.usage" in files:
        return _cpu_v1(files)
    if "cpu.stat" not in files:
        return None
    table = files.table("cpu.stat")
    if "usage_usec" not in table:
        return None
    return CPUStats(
        usage=table["usage_usec"] * 1000,
        user=table.get("user_usec", 0) * 1000,
        system=table.get("system_usec", 0) * 1000,
        periods=table.get("nr_periods", 0),
        throttled_periods=table.get("nr_throttled", 0),
        throttled=table.get("throttled_usec", 0) * 1000,
    )


def _cpu_v1(files: _Files) -> CPUStats:
    table = files.table("cpu.stat")
    ticks = files.table("cpuacct.stat")
    return CPUStats(
        usage=files.number("cpuacct.usage") or 0,
        user=files.number("cpuacct.usage_user") or ticks.get("user", 0) * _TICK,
        system=files.number("cpuacct.usage_sys") or ticks.get("system", 0) * _TICK,
        periods=table.get("nr_periods", 0),
        throttled_periods=table.get("nr_throttled", 0),
        throttled=table.get("throttled_time", 0),
    )


def _memory(files: _Files) -> MemoryStats | None:
    if "memory.usage_in_bytes" in files:
        return _memory_v1(files)
    if "memory.current" not in files:
        return None
    return MemoryStats(
        usage=files.number("memory.current") or 0,
        limit=files.number("memory.max"),
        peak=files.number("memory.peak"),
        swap=files.number("memory.swap.current"),
        swap_limit=files.number("memory.swap.max"),
        oom_kills=files.table("memory.events").get("oom_kill", 0),
        stat=FrozenDict(files.table("memory.stat")),
    )


def _memory_v1(files: _Files) -> MemoryStats:
    usage = files.number("memory.usage_in_bytes") or 0
    limit = files.number("memory.limit_in_bytes")
    both, both_limit = (
        files.number("memory.memsw.usage_in_bytes"),
        files.number("memory.memsw.limit_in_bytes"),
    )
    return MemoryStats(
        usage=usage,
        limit=limit,
        peak=files.number("memory.max_usage_in_bytes"),
        swap=None if both is None else max(both - usage, 0),
        swap_limit=None if both_limit is None or limit is None else both_limit - limit,
        oom_kills=files.table("memory.oom_control").get("oom_kill", 0),
        stat=FrozenDict(files.table("memory.stat")),
    )


def _pids(files: _Files) -> PidsStats | None:
    if "pids.current" not in files:
        return None
    return PidsStats(current=files.number("pids.current") or 0, limit=files.number("pids.max"))


def _block_io(files: _Files) -> tuple[BlockIOStats, ...] | None:
    if "io.stat" in files:
        return _io_v2(files.text("io.stat"))
    size, count = "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"
    if size not in files:
        return None
    found: dict[str, dict[str, int]] = {}
    for name, fields in ((size, ("read_bytes", "write_bytes")), (count, ("reads", "writes"))):
        for line in files.text(name).splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in ("Read", "Write"):
                found.setdefault(words[0], {})[fields[words[1] == "Write"]] = number(words[2])
    return _devices(found)


def _io_v2(text: str) -> tuple[BlockIOStats, ...]:
    names = {"rbytes": "read_bytes", "wbytes": "write_bytes", "rios": "reads", "wios": "writes"}
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        device, *pairs = line.split()
        counters = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        found[device] = {names[key]: number(value) for key, value in counters.items() if key in names}
    return _devices(found)


def _devices(found: Mapping[str, Mapping[str, int]]) -> tuple[BlockIOStats, ...]:
    result = []
    for device, counters in found.items():
        major, _, minor = device.partition(":")
        result.append(BlockIOStats(major=number(major), minor=number(minor), **counters))
    return tuple(result)


def _hugepages(files: _Files) -> FrozenDict[str, HugepageStats]:
    found = {}
    for name in files.names():
        words = name.split(".")
        if len(words) == 3 and words[0] == "hugetlb" and words[2] in ("current", "usage_in_bytes"):
            size = words[1]
            failures = files.number(f"hugetlb.{size}.failcnt") or files.table(f"hugetlb.{size}.events").get(
                "max", 0
            )
            found[size] = HugepageStats(usage=files.number(name) or 0, failures=failures)
    return FrozenDict(found)
