"""Reading what a container used: one look at its groups' counters, a few tenths of a millisecond."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ociworks.runtime._cgroupkill import number, read_text
from ociworks.runtime.cgroups.counters import (
    BlockIOStats,
    ContainerStats,
    CpusetStats,
    CPUStats,
    HugepageStats,
    MemoryStats,
    PidsStats,
    Pressure,
    RdmaStats,
)
from ociworks.runtime.cgroups.detect import detect
from ociworks.runtime.cgroups.operations import cgroup_errors
from ociworks.spec.frozen import FrozenDict

__all__ = ["UNLIMITED", "groups_of", "stats"]

UNLIMITED = 1 << 62  # v1 writes "no limit" as the greatest multiple of the page size
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_MANY = 256
_COUNTED = ("cpu", "memory.", "pids.", "blkio.", "hugetlb.", "rdma.")
_ABSENT = 95  # EOPNOTSUPP: pressure is compiled in but switched off at boot


_KNOWN: dict[str, list[str]] = {}
"""The files of version 1 groups by the group above: those are the same in every group of a hierarchy."""


def _listing(directory: str) -> list[str]:
    above = os.path.dirname(directory)
    if above in _KNOWN:
        return _KNOWN[above]
    names = os.listdir(directory)
    if "cgroup.controllers" not in names:
        if len(_KNOWN) >= _MANY:
            _KNOWN.clear()
        _KNOWN[above] = [name for name in names if name.startswith(_COUNTED)]
    return names


_CPUSET_SETTINGS = (
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
)


class _Files:
    """The files of all the container's groups by name: each is in one hierarchy only."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._where: dict[str, str] = {}
        listed = [(directory, _listing(directory)) for directory in directories]
        # On hybrid hosts both versions have a cpu.stat; the one with the controller behind it is version 1.
        for directory, names in sorted(listed, key=lambda item: "cgroup.controllers" in item[1]):
            for name in names:
                self._where.setdefault(name, directory)
        self._hugepages = [name for name in self._where if name.startswith("hugetlb.")]

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def sizes(self, ending: str) -> list[str]:
        """The sizes of huge pages, from the files ``hugetlb.SIZE.ending``."""
        ending = f".{ending}"
        return sorted(
            name[8 : -len(ending)]
            for name in self._hugepages
            if name.endswith(ending) and name.count(".") == 2
        )

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

    def pressure(self, resource: str) -> Pressure | None:
        """Stalls for want of ``resource``; None where the kernel does not measure them."""
        try:
            lines = self.text(f"{resource}.pressure").splitlines()
        except OSError as error:
            if error.errno == _ABSENT:
                return None
            raise
        return _pressure(lines) if lines else None


def groups_of(pid: int, *, tops: bool = True) -> tuple[str, ...]:
    """The directories of the control groups that a process is in, in every hierarchy. OSError when it has ended.

    Without ``tops``, those at the top of a hierarchy are left out: everybody's processes are in them.
    """
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as stream:
        lines = [line.rstrip("\n").split(":", 2) for line in stream]
    groups = {name: path for _, names, path in lines for name in names.split(",")}
    mounts = detect().mounts
    found = ((mount, groups.get(mount.controllers[0] if mount.version == 1 else "")) for mount in mounts)
    located = ((mount, mount.locate(group)) for mount, group in found if group is not None)
    return tuple(directory for mount, directory in located if tops or directory != mount.mount_point)


def stats(directories: Sequence[str], *, brief: bool = False) -> ContainerStats:
    """Read the counters of a container's groups. Raises CgroupError, also when the groups are gone.

    A ``brief`` reading leaves out ``cpuset`` and the shares of each processor, and takes less time.
    """
    with cgroup_errors():
        files = _Files(directories)
        return ContainerStats(
            cpu=_cpu(files, brief=brief),
            cpuset=None if brief else _cpuset(files),
            memory=_memory(files),
            pids=_pids(files),
            block_io=_block_io(files),
            io_pressure=files.pressure("io"),
            hugepages=_hugepages(files),
            rdma=_rdma(files),
            misc=FrozenDict(files.table("misc.current")),
        )


def _pressure(lines: Sequence[str]) -> Pressure:
    found: dict[str, tuple[tuple[float, float, float], int]] = {}
    for line in lines:
        kind, *pairs = line.split()
        values = [pair.partition("=")[2] for pair in pairs]
        found[kind] = ((float(values[0]), float(values[1]), float(values[2])), number(values[3]))
    nothing = ((0.0, 0.0, 0.0), 0)
    some, full = found.get("some", nothing), found.get("full", nothing)
    return Pressure(some=some[0], full=full[0], some_total=some[1], full_total=full[1])


def _cpu(files: _Files, *, brief: bool) -> CPUStats | None:
    if "cpuacct.usage" in files:
        return _cpu_v1(files, brief=brief)
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
        bursts=table.get("nr_bursts", 0),
        burst=table.get("burst_usec", 0) * 1000,
        pressure=files.pressure("cpu"),
    )


def _cpuset(files: _Files) -> CpusetStats | None:
    if "cpuset.cpus" not in files:
        return None
    one = "cpuset.cpu_exclusive" in files  # version 1; what is not set there is empty, and then nothing runs
    listed = [files.text(f"cpuset.{name}{'' if one else '.effective'}") for name in ("cpus", "mems")]
    settings = {name: files.text(f"cpuset.{name}").strip() for name in _CPUSET_SETTINGS} if one else {}
    return CpusetStats(
        cpus=_members(listed[0]),
        mems=_members(listed[1]),
        settings=FrozenDict({name: _signed(text) for name, text in settings.items() if text}),
    )


def _signed(text: str) -> int:
    return -number(text[1:]) if text.startswith("-") else number(text)


def _members(text: str) -> tuple[int, ...]:
    """The numbers of a list such as ``0-3,7``, as the kernel writes it."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(number(first), number(last or first) + 1)
    return tuple(found)


def _cpu_v1(files: _Files, *, brief: bool) -> CPUStats:
    table = files.table("cpu.stat")
    ticks = {} if "cpuacct.usage_user" in files else files.table("cpuacct.stat")
    parts = [] if brief else [line.split() for line in files.text("cpuacct.usage_all").splitlines()[1:]]
    return CPUStats(
        usage=files.number("cpuacct.usage") or 0,
        user=files.number("cpuacct.usage_user") or ticks.get("user", 0) * _TICK,
        system=files.number("cpuacct.usage_sys") or ticks.get("system", 0) * _TICK,
        periods=table.get("nr_periods", 0),
        throttled_periods=table.get("nr_throttled", 0),
        throttled=table.get("throttled_time", 0),
        bursts=table.get("nr_bursts", 0),
        burst=table.get("burst_time", 0),
        per_cpu=() if brief else tuple(map(number, files.text("cpuacct.usage_percpu").split())),
        per_cpu_user=tuple(number(user) for _, user, _ in parts),
        per_cpu_system=tuple(number(system) for _, _, system in parts),
        pressure=files.pressure("cpu"),
    )


def _memory(files: _Files) -> MemoryStats | None:
    if "memory.usage_in_bytes" in files:
        return _memory_v1(files)
    if "memory.current" not in files:
        return None
    events, stat = files.table("memory.events"), files.table("memory.stat")
    return MemoryStats(
        usage=files.number("memory.current") or 0,
        limit=files.number("memory.max"),
        peak=files.number("memory.peak"),
        failures=events.get("max", 0),
        swap=files.number("memory.swap.current"),
        swap_limit=files.number("memory.swap.max"),
        swap_peak=files.number("memory.swap.peak"),
        kernel=stat.get("kernel"),
        kernel_tcp=stat.get("sock"),
        oom_kills=events.get("oom_kill", 0),
        events=FrozenDict(events),
        stat=FrozenDict(stat),
        pressure=files.pressure("memory"),
    )


def _memory_v1(files: _Files) -> MemoryStats:
    usage = files.number("memory.usage_in_bytes") or 0
    limit = files.number("memory.limit_in_bytes")
    both, both_limit = (
        files.number("memory.memsw.usage_in_bytes"),
        files.number("memory.memsw.limit_in_bytes"),
    )
    killer = files.table("memory.oom_control")
    return MemoryStats(
        usage=usage,
        limit=limit,
        peak=files.number("memory.max_usage_in_bytes"),
        failures=files.number("memory.failcnt") or 0,
        swap=None if both is None else max(both - usage, 0),
        swap_limit=None if both_limit is None or limit is None else both_limit - limit,
        kernel=files.number("memory.kmem.usage_in_bytes"),
        kernel_tcp=files.number("memory.kmem.tcp.usage_in_bytes"),
        oom_kills=killer.get("oom_kill", 0),
        under_oom=bool(killer.get("under_oom")),
        stat=FrozenDict(files.table("memory.stat")),
        pressure=files.pressure("memory"),
    )


def _pids(files: _Files) -> PidsStats | None:
    if "pids.current" not in files:
        return None
    return PidsStats(
        current=files.number("pids.current") or 0,
        limit=files.number("pids.max"),
        failures=files.table("pids.events").get("max", 0),
    )


def _block_io(files: _Files) -> tuple[BlockIOStats, ...] | None:
    if "io.stat" in files:
        return _io_v2(files.text("io.stat"))
    for prefix in ("blkio.throttle", "blkio.bfq", "blkio"):  # whoever counts; one of the schedulers may
        size, count = f"{prefix}.io_service_bytes_recursive", f"{prefix}.io_serviced_recursive"
        if size in files:
            return _io_v1(files.text(size), files.text(count))
    return None


_V1_COLUMNS = {
    "Read": ("read_bytes", "reads"),
    "Write": ("write_bytes", "writes"),
    "Discard": ("discard_bytes", "discards"),
}


def _io_v1(sizes: str, counts: str) -> tuple[BlockIOStats, ...]:
    found: dict[str, dict[str, int]] = {}
    for column, text in enumerate((sizes, counts)):
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in _V1_COLUMNS:
                found.setdefault(words[0], {})[_V1_COLUMNS[words[1]][column]] = number(words[2])
    return _devices(found)


_V2_KEYS = {
    "rbytes": "read_bytes",
    "wbytes": "write_bytes",
    "dbytes": "discard_bytes",
    "rios": "reads",
    "wios": "writes",
    "dios": "discards",
}


def _io_v2(text: str) -> tuple[BlockIOStats, ...]:
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        device, *pairs = line.split()
        counters = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        found[device] = {_V2_KEYS[key]: number(value) for key, value in counters.items() if key in _V2_KEYS}
    return _devices(found)


def _devices(found: Mapping[str, Mapping[str, int]]) -> tuple[BlockIOStats, ...]:
    result = []
    for device, counters in found.items():
        major, _, minor = device.partition(":")
        result.append(BlockIOStats(major=number(major), minor=number(minor), **counters))
    return tuple(result)


def _hugepages(files: _Files) -> FrozenDict[str, HugepageStats]:
    old = {
        size: HugepageStats(
            usage=files.number(f"hugetlb.{size}.usage_in_bytes") or 0,
            peak=files.number(f"hugetlb.{size}.max_usage_in_bytes"),
            reserved=files.number(f"hugetlb.{size}.rsvd.usage_in_bytes"),
            failures=files.number(f"hugetlb.{size}.failcnt") or 0,
        )
        for size in files.sizes("usage_in_bytes")
    }
    new = {
        size: HugepageStats(
            usage=files.number(f"hugetlb.{size}.current") or 0,
            reserved=files.number(f"hugetlb.{size}.rsvd.current"),
            failures=files.table(f"hugetlb.{size}.events").get("max", 0),
        )
        for size in files.sizes("current")
    }
    return FrozenDict({**old, **new})


def _rdma(files: _Files) -> FrozenDict[str, RdmaStats]:
    now, limits = _rdma_lines(files.text("rdma.current")), _rdma_lines(files.text("rdma.max"))
    return FrozenDict(
        {
            name: RdmaStats(
                hca_handles=values.get("hca_handle") or 0,
                hca_objects=values.get("hca_object") or 0,
                hca_handles_limit=limits.get(name, {}).get("hca_handle"),
                hca_objects_limit=limits.get(name, {}).get("hca_object"),
            )
            for name, values in now.items()
        }
    )


def _rdma_lines(text: str) -> dict[str, dict[str, int | None]]:
    found: dict[str, dict[str, int | None]] = {}
    for line in text.splitlines():
        name, *pairs = line.split()
        split = [pair.split("=", 1) for pair in pairs if "=" in pair]
        found[name] = {key: None if value == "max" else number(value) for key, value in split}
    return found
