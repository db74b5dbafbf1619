"""Counters of control groups → the messages of statistics. Times are nanoseconds since 1970."""

from __future__ import annotations

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.stats.network import Interface
from ociworks.runtime.cgroups import ContainerStats
from ociworks.runtime.cgroups.counters import MemoryStats, Pressure

__all__ = ["cpu", "io", "memory", "network", "swap"]

_DEFAULT_INTERFACE = "eth0"


def cpu(stats: ContainerStats, at: int, rate: int) -> api.CpuUsage | None:
    """Time on processors, with a ``rate`` in billionths of one."""
    if stats.cpu is None:
        return None
    return api.CpuUsage(
        timestamp=at,
        usage_core_nano_seconds=_value(stats.cpu.usage),
        usage_nano_cores=_value(rate),
        psi=_psi(stats.cpu.pressure),
    )


def memory(stats: ContainerStats, at: int) -> api.MemoryUsage | None:
    """Memory; what is available only where there is a limit."""
    found = stats.memory
    if found is None:
        return None
    limit, working = found.limit, found.working_set
    return api.MemoryUsage(
        timestamp=at,
        working_set_bytes=_value(working),
        available_bytes=None if limit is None else _value(max(limit - working, 0)),
        usage_bytes=_value(found.usage),
        rss_bytes=_value(_either(found, "total_rss", "anon")),
        page_faults=_value(_either(found, "total_pgfault", "pgfault")),
        major_page_faults=_value(_either(found, "total_pgmajfault", "pgmajfault")),
        psi=_psi(found.pressure),
    )


def swap(stats: ContainerStats, at: int) -> api.SwapUsage | None:
    """Swap, where it is counted; what is available only where there is a limit."""
    found = stats.memory
    if found is None or found.swap is None:
        return None
    limit = found.swap_limit
    return api.SwapUsage(
        timestamp=at,
        swap_usage_bytes=_value(found.swap),
        swap_available_bytes=None if limit is None else _value(max(limit - found.swap, 0)),
    )


def io(stats: ContainerStats, at: int) -> api.IoUsage | None:
    """Stalls for want of input and output, where the kernel measures them."""
    psi = _psi(stats.io_pressure)
    return None if psi is None else api.IoUsage(timestamp=at, psi=psi)


def network(found: tuple[Interface, ...], at: int) -> api.NetworkUsage | None:
    """Interfaces; ``eth0`` or else the first is the default one.

    Without any, nothing: a kubelet (1.36) that is told of a network without a default interface ends.
    """
    if not found:
        return None
    listed = [
        api.NetworkInterfaceUsage(
            name=item.name,
            rx_bytes=_value(item.rx_bytes),
            rx_errors=_value(item.rx_errors),
            tx_bytes=_value(item.tx_bytes),
            tx_errors=_value(item.tx_errors),
        )
        for item in found
    ]
    default = next((item for item in listed if item.name == _DEFAULT_INTERFACE), listed[0])
    return api.NetworkUsage(timestamp=at, default_interface=default, interfaces=listed)


def _value(number: int) -> api.UInt64Value:
    return api.UInt64Value(value=number)


def _either(found: MemoryStats, one: str, two: str) -> int:
    return found.stat.get(one, found.stat.get(two, 0))


def _psi(found: Pressure | None) -> api.PsiStats | None:
    if found is None:
        return None
    return api.PsiStats(
        Full=_shares(found.full, found.full_total), Some=_shares(found.some, found.some_total)
    )


def _shares(shares: tuple[float, float, float], total: int) -> api.PsiData:
    return api.PsiData(Total=total * 1000, Avg10=shares[0], Avg60=shares[1], Avg300=shares[2])
