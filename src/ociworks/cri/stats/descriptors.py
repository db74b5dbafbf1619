"""The metrics that there are: those of cAdvisor that a kubelet offers, by name, with labels as cAdvisor has them.

Values are whole numbers on the wire, so times are whole seconds. ``id`` is the control group, ``name`` the ID.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.spec import FrozenDict

__all__ = ["BASE", "DESCRIPTORS", "Descriptor", "messages"]

BASE: Final = ("container", "id", "image", "name", "namespace", "pod")
"""The labels of every metric, before its own."""

_COUNTER: Final = api.MetricType.COUNTER
_GAUGE: Final = api.MetricType.GAUGE
_DEVICE: Final = ("device",)
_INTERFACE: Final = ("interface",)


@frozen
class Descriptor:
    """One metric; ``labels`` are those that it has beside :data:`BASE`."""

    name: str
    kind: api.MetricType
    help: str
    labels: tuple[str, ...] = ()


_ALL: Final = (
    Descriptor(
        "container_blkio_device_usage_total",
        _COUNTER,
        "Bytes read from and written to a block device.",
        ("device", "major", "minor", "operation"),
    ),
    Descriptor("container_cpu_cfs_periods_total", _COUNTER, "Periods in which the CPU quota was enforced."),
    Descriptor(
        "container_cpu_cfs_throttled_periods_total", _COUNTER, "Periods in which the CPU quota was used up."
    ),
    Descriptor(
        "container_cpu_cfs_throttled_seconds_total",
        _COUNTER,
        "Seconds spent waiting for the next CPU period.",
    ),
    Descriptor("container_cpu_system_seconds_total", _COUNTER, "CPU seconds in the kernel."),
    Descriptor("container_cpu_usage_seconds_total", _COUNTER, "CPU seconds.", ("cpu",)),
    Descriptor("container_cpu_user_seconds_total", _COUNTER, "CPU seconds in programs."),
    Descriptor("container_file_descriptors", _GAUGE, "Open file descriptors of all processes."),
    Descriptor("container_fs_inodes_free", _GAUGE, "Free inodes of the file system written to.", _DEVICE),
    Descriptor("container_fs_inodes_total", _GAUGE, "All inodes of the file system written to.", _DEVICE),
    Descriptor("container_fs_limit_bytes", _GAUGE, "Bytes of the file system written to.", _DEVICE),
    Descriptor("container_fs_reads_bytes_total", _COUNTER, "Bytes read from a block device.", _DEVICE),
    Descriptor("container_fs_reads_total", _COUNTER, "Reads from a block device.", _DEVICE),
    Descriptor("container_fs_usage_bytes", _GAUGE, "Bytes in the writable layer.", _DEVICE),
    Descriptor("container_fs_writes_bytes_total", _COUNTER, "Bytes written to a block device.", _DEVICE),
    Descriptor("container_fs_writes_total", _COUNTER, "Writes to a block device.", _DEVICE),
    Descriptor(
        "container_hugetlb_max_usage_bytes", _GAUGE, "Most bytes in huge pages up to now.", ("pagesize",)
    ),
    Descriptor("container_hugetlb_usage_bytes", _GAUGE, "Bytes in huge pages.", ("pagesize",)),
    Descriptor("container_last_seen", _GAUGE, "When it was counted, in seconds since 1970."),
    Descriptor("container_memory_cache", _GAUGE, "Bytes of files in memory."),
    Descriptor("container_memory_failcnt", _COUNTER, "How often the memory limit was hit."),
    Descriptor(
        "container_memory_failures_total",
        _COUNTER,
        "Page faults, minor and major.",
        ("failure_type", "scope"),
    ),
    Descriptor("container_memory_kernel_usage", _GAUGE, "Bytes of the kernel's memory for it."),
    Descriptor("container_memory_mapped_file", _GAUGE, "Bytes of files mapped into memory."),
    Descriptor("container_memory_max_usage_bytes", _GAUGE, "Most bytes of memory used up to now."),
    Descriptor("container_memory_rss", _GAUGE, "Bytes of anonymous memory."),
    Descriptor("container_memory_swap", _GAUGE, "Bytes in swap."),
    Descriptor("container_memory_usage_bytes", _GAUGE, "Bytes of memory, those that can be dropped too."),
    Descriptor(
        "container_memory_working_set_bytes", _GAUGE, "Bytes of memory that cannot easily be dropped."
    ),
    Descriptor("container_network_receive_bytes_total", _COUNTER, "Bytes received.", _INTERFACE),
    Descriptor("container_network_receive_errors_total", _COUNTER, "Errors while receiving.", _INTERFACE),
    Descriptor(
        "container_network_receive_packets_dropped_total",
        _COUNTER,
        "Packets dropped while receiving.",
        _INTERFACE,
    ),
    Descriptor("container_network_receive_packets_total", _COUNTER, "Packets received.", _INTERFACE),
    Descriptor("container_network_transmit_bytes_total", _COUNTER, "Bytes sent.", _INTERFACE),
    Descriptor("container_network_transmit_errors_total", _COUNTER, "Errors while sending.", _INTERFACE),
    Descriptor(
        "container_network_transmit_packets_dropped_total",
        _COUNTER,
        "Packets dropped while sending.",
        _INTERFACE,
    ),
    Descriptor("container_network_transmit_packets_total", _COUNTER, "Packets sent.", _INTERFACE),
    Descriptor("container_oom_events_total", _COUNTER, "Processes killed for want of memory."),
    Descriptor(
        "container_pressure_cpu_stalled_seconds_total", _COUNTER, "Seconds in which all waited for a CPU."
    ),
    Descriptor(
        "container_pressure_cpu_waiting_seconds_total", _COUNTER, "Seconds in which some waited for a CPU."
    ),
    Descriptor(
        "container_pressure_io_stalled_seconds_total", _COUNTER, "Seconds in which all waited for I/O."
    ),
    Descriptor(
        "container_pressure_io_waiting_seconds_total", _COUNTER, "Seconds in which some waited for I/O."
    ),
    Descriptor(
        "container_pressure_memory_stalled_seconds_total", _COUNTER, "Seconds in which all waited for memory."
    ),
    Descriptor(
        "container_pressure_memory_waiting_seconds_total",
        _COUNTER,
        "Seconds in which some waited for memory.",
    ),
    Descriptor("container_processes", _GAUGE, "Processes."),
    Descriptor("container_sockets", _GAUGE, "Open sockets of all processes."),
    Descriptor("container_spec_cpu_period", _GAUGE, "The period of the CPU quota, in microseconds."),
    Descriptor("container_spec_cpu_quota", _GAUGE, "The CPU quota in each period, in microseconds."),
    Descriptor("container_spec_cpu_shares", _GAUGE, "The share of CPU time, of 1024 by default."),
    Descriptor("container_spec_memory_limit_bytes", _GAUGE, "The memory limit; 0 for none."),
    Descriptor(
        "container_spec_memory_reservation_limit_bytes", _GAUGE, "The memory kept for it; 0 for none."
    ),
    Descriptor(
        "container_spec_memory_swap_limit_bytes", _GAUGE, "The limit of memory with swap; 0 for none."
    ),
    Descriptor("container_start_time_seconds", _GAUGE, "When it was started, in seconds since 1970."),
    Descriptor("container_threads", _GAUGE, "Threads of all processes."),
    Descriptor("container_threads_max", _GAUGE, "The limit of threads; 0 for none."),
    Descriptor("container_ulimits_soft", _GAUGE, "Soft limits of its first process.", ("ulimit",)),
)

DESCRIPTORS: Final[Mapping[str, Descriptor]] = FrozenDict({item.name: item for item in _ALL})
"""Every metric by its name."""


def messages() -> list[api.MetricDescriptor]:
    """All of them, as a client gets them."""
    return [
        api.MetricDescriptor(name=item.name, help=item.help, label_keys=(*BASE, *item.labels))
        for item in DESCRIPTORS.values()
    ]
