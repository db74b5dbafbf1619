"""What a container used, as values: one reading, in the same units from either version."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ociworks.spec.frozen import FrozenDict

__all__ = [
    "BlockIOStats",
    "CPUStats",
    "ContainerStats",
    "CpusetStats",
    "HugepageStats",
    "MemoryStats",
    "PidsStats",
    "Pressure",
    "RdmaStats",
]


@attrs.frozen(kw_only=True)
class Pressure:
    """How long work stood still for want of a resource (kernel: Documentation/accounting/psi.rst).

    ``some``: at least one task waited, ``full``: all did. Shares of the last 10, 60 and 300 seconds in percent, then
    the total in microseconds.
    """

    some: tuple[float, float, float] = (0.0, 0.0, 0.0)
    full: tuple[float, float, float] = (0.0, 0.0, 0.0)
    some_total: int = 0
    full_total: int = 0


@attrs.frozen(kw_only=True)
class CPUStats:
    """Times in nanoseconds since the container was created; ``periods`` are enforcement intervals of its quota.

    ``bursts`` counts the periods that used saved time, ``burst`` is that time. ``per_cpu`` is the usage of each
    processor where the kernel still says (version 1), ``per_cpu_user`` and ``per_cpu_system`` are its parts.
    """

    usage: int = 0
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0
    bursts: int = 0
    burst: int = 0
    per_cpu: tuple[int, ...] = ()
    per_cpu_user: tuple[int, ...] = ()
    per_cpu_system: tuple[int, ...] = ()
    pressure: Pressure | None = None


@attrs.frozen(kw_only=True)
class MemoryStats:
    """Bytes; ``limit`` None is unlimited. ``swap`` is swap alone. ``oom_kills`` counts processes killed for memory.

    ``failures`` counts how often the limit was hit. ``kernel`` and ``kernel_tcp`` are memory of the kernel for the
    container. ``events`` has the kernel's counters of memory.events (version 2), ``stat`` its detailed counters, both
    under the kernel's names.
    """

    usage: int = 0
    limit: int | None = None
    peak: int | None = None
    failures: int = 0
    swap: int | None = None
    swap_limit: int | None = None
    swap_peak: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    oom_kills: int = 0
    under_oom: bool = False
    """Whether a task waits for memory because the killer is switched off (version 1)."""
    events: Mapping[str, int] = FrozenDict()
    stat: Mapping[str, int] = FrozenDict()
    pressure: Pressure | None = None

    @property
    def cache(self) -> int:
        """Bytes of files in memory."""
        return self.stat.get("total_cache", self.stat.get("file", 0))

    @property
    def working_set(self) -> int:
        """Usage without file pages that can be dropped: what memory pressure is judged by."""
        inactive = self.stat.get("total_inactive_file", self.stat.get("inactive_file", 0))
        return max(self.usage - inactive, 0)


@attrs.frozen(kw_only=True)
class PidsStats:
    """Tasks (threads count); ``limit`` None is unlimited, ``failures`` counts forks that it refused."""

    current: int = 0
    limit: int | None = None
    failures: int = 0


@attrs.frozen(kw_only=True)
class BlockIOStats:
    """Bytes and operations of one block device."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    discard_bytes: int = 0
    reads: int = 0
    writes: int = 0
    discards: int = 0


@attrs.frozen(kw_only=True)
class HugepageStats:
    """Bytes in huge pages of one size, reserved ones too where they are counted, and how often the limit was hit."""

    usage: int = 0
    peak: int | None = None
    reserved: int | None = None
    failures: int = 0


@attrs.frozen(kw_only=True)
class CpusetStats:
    """The processors and memory nodes that are allowed; ``settings`` are the other files of version 1, by name."""

    cpus: tuple[int, ...] = ()
    mems: tuple[int, ...] = ()
    settings: Mapping[str, int] = FrozenDict()


@attrs.frozen(kw_only=True)
class RdmaStats:
    """RDMA objects of one device; a limit of None is unlimited."""

    hca_handles: int = 0
    hca_objects: int = 0
    hca_handles_limit: int | None = None
    hca_objects_limit: int | None = None


@attrs.frozen(kw_only=True)
class ContainerStats:
    """One reading. A part is None when no controller counts it on this host."""

    cpu: CPUStats | None = None
    cpuset: CpusetStats | None = None
    memory: MemoryStats | None = None
    pids: PidsStats | None = None
    block_io: tuple[BlockIOStats, ...] | None = None
    io_pressure: Pressure | None = None
    hugepages: Mapping[str, HugepageStats] = FrozenDict()
    rdma: Mapping[str, RdmaStats] = FrozenDict()
    misc: Mapping[str, int] = FrozenDict()
    """Of the miscellaneous controller, by resource (version 2)."""
