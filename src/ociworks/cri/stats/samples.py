"""Counters → values of metrics: a name, the labels that it has beside the common ones, and a whole number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from attrs import frozen

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.stats.disk import Space
from ociworks.cri.stats.network import Interface
from ociworks.cri.stats.processes import OpenFiles
from ociworks.errors import SpecError
from ociworks.runtime.cgroups import ContainerStats
from ociworks.runtime.cgroups.counters import BlockIOStats, CPUStats, MemoryStats, Pressure
from ociworks.spec.numbers import parse_uint

__all__ = ["Reading", "Sample", "of_container", "of_network", "of_pod"]

Sample = tuple[str, tuple[str, ...], int]

_SECOND: Final = 1_000_000_000
_MICRO: Final = 1_000_000
_NONE: Final[tuple[str, ...]] = ()
_TOTAL: Final = ("total",)
_PERIOD: Final = 100_000
_SHARES: Final = 1024
_FILES: Final = ("max_open_files",)
_GREATEST: Final = (1 << 64) - 1
_FAULTS: Final = (("pgfault", "total_pgfault"), ("pgmajfault", "total_pgmajfault"))


@frozen(kw_only=True)
class Reading:
    """All that was read of one container."""

    at: int
    """Nanoseconds since 1970, as is the next."""
    started_at: int
    stats: ContainerStats
    resources: api.LinuxContainerResources
    processes: int
    opened: OpenFiles
    soft_limit: int | None
    written: int
    space: Space
    devices: Mapping[tuple[int, int], str]
    """Names of block devices by their numbers."""


def of_container(reading: Reading) -> Iterator[Sample]:
    """What there is of one container; what its kernel does not count is left out."""
    stats = reading.stats
    yield "container_last_seen", _NONE, reading.at // _SECOND
    yield "container_start_time_seconds", _NONE, reading.started_at // _SECOND
    if stats.cpu is not None:
        yield from _cpu(stats.cpu)
    if stats.memory is not None:
        yield from _memory(stats.memory)
    yield from _pressures(stats)
    yield from _block_io(stats.block_io or (), reading.devices)
    for size, pages in stats.hugepages.items():
        yield "container_hugetlb_usage_bytes", (size,), pages.usage
        yield "container_hugetlb_max_usage_bytes", (size,), pages.peak or 0
    yield from _processes(reading)
    yield from _files(reading)
    yield from _limits(reading.resources)


def of_pod(stats: ContainerStats) -> Iterator[Sample]:
    """What there is of a pod's own control group: of all its containers, and of what is in none of them."""
    if stats.cpu is not None:
        yield from _cpu(stats.cpu)
    if stats.memory is not None:
        yield from _memory(stats.memory)
    yield from _pressures(stats)


def of_network(found: Iterable[Interface]) -> Iterator[Sample]:
    """What there is of a pod's interfaces."""
    for item in found:
        name = (item.name,)
        yield "container_network_receive_bytes_total", name, item.rx_bytes
        yield "container_network_receive_errors_total", name, item.rx_errors
        yield "container_network_receive_packets_dropped_total", name, item.rx_dropped
        yield "container_network_receive_packets_total", name, item.rx_packets
        yield "container_network_transmit_bytes_total", name, item.tx_bytes
        yield "container_network_transmit_errors_total", name, item.tx_errors
        yield "container_network_transmit_packets_dropped_total", name, item.tx_dropped
        yield "container_network_transmit_packets_total", name, item.tx_packets


def _cpu(cpu: CPUStats) -> Iterator[Sample]:
    yield "container_cpu_usage_seconds_total", _TOTAL, cpu.usage // _SECOND
    yield "container_cpu_user_seconds_total", _NONE, cpu.user // _SECOND
    yield "container_cpu_system_seconds_total", _NONE, cpu.system // _SECOND
    yield "container_cpu_cfs_periods_total", _NONE, cpu.periods
    yield "container_cpu_cfs_throttled_periods_total", _NONE, cpu.throttled_periods
    yield "container_cpu_cfs_throttled_seconds_total", _NONE, cpu.throttled // _SECOND


def _memory(memory: MemoryStats) -> Iterator[Sample]:
    stat = memory.stat
    yield "container_memory_cache", _NONE, memory.cache
    yield "container_memory_rss", _NONE, stat.get("total_rss", stat.get("anon", 0))
    yield "container_memory_mapped_file", _NONE, stat.get("total_mapped_file", stat.get("file_mapped", 0))
    yield "container_memory_kernel_usage", _NONE, memory.kernel or 0
    yield "container_memory_swap", _NONE, memory.swap or 0
    yield "container_memory_failcnt", _NONE, memory.failures
    yield "container_memory_usage_bytes", _NONE, memory.usage
    yield "container_memory_max_usage_bytes", _NONE, memory.peak or 0
    yield "container_memory_working_set_bytes", _NONE, memory.working_set
    yield "container_oom_events_total", _NONE, memory.oom_kills
    for own, whole in _FAULTS:
        yield "container_memory_failures_total", (own, "container"), stat.get(own, 0)
        yield "container_memory_failures_total", (own, "hierarchy"), stat.get(whole, stat.get(own, 0))


def _pressures(stats: ContainerStats) -> Iterator[Sample]:
    if stats.cpu is not None:
        yield from _pressure("cpu", stats.cpu.pressure)
    if stats.memory is not None:
        yield from _pressure("memory", stats.memory.pressure)
    yield from _pressure("io", stats.io_pressure)


def _pressure(resource: str, found: Pressure | None) -> Iterator[Sample]:
    if found is not None:
        yield f"container_pressure_{resource}_stalled_seconds_total", _NONE, found.full_total // _MICRO
        yield f"container_pressure_{resource}_waiting_seconds_total", _NONE, found.some_total // _MICRO


def _block_io(found: Iterable[BlockIOStats], names: Mapping[tuple[int, int], str]) -> Iterator[Sample]:
    for item in found:
        device = names.get((item.major, item.minor), "")
        numbers = (device, str(item.major), str(item.minor))
        yield "container_blkio_device_usage_total", (*numbers, "Read"), item.read_bytes
        yield "container_blkio_device_usage_total", (*numbers, "Write"), item.write_bytes
        yield "container_fs_reads_bytes_total", (device,), item.read_bytes
        yield "container_fs_reads_total", (device,), item.reads
        yield "container_fs_writes_bytes_total", (device,), item.write_bytes
        yield "container_fs_writes_total", (device,), item.writes


def _processes(reading: Reading) -> Iterator[Sample]:
    yield "container_processes", _NONE, reading.processes
    if reading.stats.pids is not None:
        yield "container_threads", _NONE, reading.stats.pids.current
        yield "container_threads_max", _NONE, reading.stats.pids.limit or 0
    yield "container_file_descriptors", _NONE, reading.opened.files
    yield "container_sockets", _NONE, reading.opened.sockets
    if reading.soft_limit is not None:
        yield "container_ulimits_soft", _FILES, reading.soft_limit


def _files(reading: Reading) -> Iterator[Sample]:
    device = (reading.space.device,)
    yield "container_fs_usage_bytes", device, reading.written
    yield "container_fs_limit_bytes", device, reading.space.size
    yield "container_fs_inodes_total", device, reading.space.inodes
    yield "container_fs_inodes_free", device, reading.space.inodes_free


def _limits(resources: api.LinuxContainerResources) -> Iterator[Sample]:
    yield "container_spec_cpu_period", _NONE, resources.cpu_period or _PERIOD
    yield "container_spec_cpu_shares", _NONE, resources.cpu_shares or _SHARES
    if resources.cpu_quota > 0:
        yield "container_spec_cpu_quota", _NONE, resources.cpu_quota
    yield "container_spec_memory_limit_bytes", _NONE, max(resources.memory_limit_in_bytes, 0)
    yield "container_spec_memory_reservation_limit_bytes", _NONE, _reserved(resources)
    yield "container_spec_memory_swap_limit_bytes", _NONE, max(resources.memory_swap_limit_in_bytes, 0)


def _reserved(resources: api.LinuxContainerResources) -> int:
    """What the kubelet asks to keep (its memory QoS), by the kernel's name for it."""
    try:
        return parse_uint(resources.unified.get("memory.low", ""), _GREATEST)
    except SpecError:
        return 0
