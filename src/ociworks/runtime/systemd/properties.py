"""``linux.resources`` as properties of a unit (systemd.resource-control(5)).

==========================  =======================================  ===========================
limit                       version 2                                version 1
==========================  =======================================  ===========================
memory limit                ``MemoryMax``                            ``MemoryLimit``
memory reservation          ``MemoryLow``                            –
memory and swap             ``MemorySwapMax``, swap alone            –
CPU shares                  ``CPUWeight``; 0 when idle               ``CPUShares``
CPU quota and period        ``CPUQuotaPerSecUSec``,                  the same
                            ``CPUQuotaPeriodUSec``
processors, memory nodes    ``AllowedCPUs``, ``AllowedMemoryNodes``  –
tasks                       ``TasksMax``                             the same
weight of block devices     –                                        ``BlockIOWeight``
devices                     ``DevicePolicy``, ``DeviceAllow``        the same
``unified``                 the property of the same file            –
==========================  =======================================  ===========================

What has no property is only written to the groups. Checks are those of the files: a plan makes both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ociworks.errors import CgroupError, quote
from ociworks.runtime.cgroups.settings import shares_of
from ociworks.runtime.cgroups.v2 import cpu_weight

if TYPE_CHECKING:
    from ociworks.runtime.cgroups.rules import DeviceTable, Key
    from ociworks.runtime.systemd.scope import Property
    from ociworks.spec.runtime import CPU, Memory, Resources

__all__ = ["ALWAYS", "SINCE", "accounting", "cpu_bits", "device_properties", "properties"]

INFINITY: Final = (1 << 64) - 1
SINCE: Final = {
    "AllowedCPUs": 244,
    "AllowedMemoryNodes": 244,
    "CPUQuotaPeriodUSec": 242,
    "CollectMode": 236,
    "DeviceAllow": 240,
    "DevicePolicy": 240,
}
"""The first version of systemd that has a property, or takes it in the form that is used here."""

ALWAYS: Final[tuple[Property, ...]] = (
    ("Delegate", "b", True),
    ("DefaultDependencies", "b", False),
    ("CollectMode", "s", "inactive-or-failed"),
)
_SECOND: Final = 1_000_000
_PERCENT: Final = 10_000
_PERIOD: Final = 100_000
_MAX_BIT: Final = 1 << 13

_UNIFIED: Final = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}


def accounting(version: int) -> tuple[Property, ...]:
    """Counting what is used, whatever is limited."""
    io = "IOAccounting" if version == 2 else "BlockIOAccounting"
    return tuple((name, "b", True) for name in ("MemoryAccounting", "CPUAccounting", io, "TasksAccounting"))


def properties(resources: Resources, version: int) -> tuple[Property, ...]:
    """The limits that a unit can have; the later of two with one name counts."""
    found: dict[str, Property] = {}
    for entry in _properties(resources, version):
        found[entry[0]] = entry
    return tuple(found.values())


def _properties(resources: Resources, version: int) -> Iterator[Property]:
    if resources.memory is not None:
        yield from _memory(resources.memory, version)
    if resources.cpu is not None:
        yield from _cpu(resources.cpu, version)
    if resources.pids is not None and resources.pids.limit is not None:
        yield "TasksMax", "t", _limit(max(resources.pids.limit, 1) if resources.pids.limit != -1 else -1)
    if version == 1 and resources.block_io is not None and resources.block_io.weight:
        yield "BlockIOWeight", "t", resources.block_io.weight
    for name, value in resources.unified.items():
        yield from _unified(name, value.strip())


def _memory(memory: Memory, version: int) -> Iterator[Property]:
    if memory.limit is not None:
        yield "MemoryMax" if version == 2 else "MemoryLimit", "t", _limit(memory.limit)
    if version == 2 and memory.reservation is not None:
        yield "MemoryLow", "t", _limit(memory.reservation)
    if version == 2 and memory.swap is not None:
        swap = -1 if memory.swap == -1 else memory.swap - (memory.limit or 0)
        yield "MemorySwapMax", "t", _limit(swap)


def _cpu(cpu: CPU, version: int) -> Iterator[Property]:
    if shares := shares_of(cpu.shares):
        yield ("CPUWeight", "t", cpu_weight(shares)) if version == 2 else ("CPUShares", "t", shares)
    if version == 2 and cpu.idle == 1:
        yield "CPUWeight", "t", 0
    if cpu.quota or cpu.period:
        yield from _quota(cpu.quota or -1, cpu.period or 0)
    if version == 2 and cpu.cpus:
        yield "AllowedCPUs", "ay", cpu_bits(cpu.cpus)
    if version == 2 and cpu.mems:
        yield "AllowedMemoryNodes", "ay", cpu_bits(cpu.mems)


def _quota(quota: int, period: int) -> Iterator[Property]:
    """A share of each second, in whole percents rounded up: systemd keeps no finer ones."""
    if period:
        yield "CPUQuotaPeriodUSec", "t", period
    share = INFINITY
    if quota > 0:
        exact = quota * _SECOND // (period or _PERIOD)
        share = -(-exact // _PERCENT) * _PERCENT
    yield "CPUQuotaPerSecUSec", "t", share


def _unified(name: str, value: str) -> Iterator[Property]:
    if name in _UNIFIED:
        yield _UNIFIED[name], "t", _limit(-1 if value == "max" else _whole(name, value))
    elif name == "cpu.max":
        quota, _, period = value.partition(" ")
        yield from _quota(
            -1 if quota == "max" else _whole(name, quota), _whole(name, period) if period else 0
        )
    elif name in ("cpuset.cpus", "cpuset.mems") and value:
        yield "AllowedCPUs" if name == "cpuset.cpus" else "AllowedMemoryNodes", "ay", cpu_bits(value)


def device_properties(table: DeviceTable) -> tuple[Property, ...]:
    """The device filter, as far as systemd can have one; ours is in force in any case.

    A table that allows all but a few has no form here, nor has a rule for one minor number of every driver.
    """
    nothing: Property = ("DeviceAllow", "a(ss)", ())
    if table.allow:
        return (nothing, ("DevicePolicy", "s", "auto"))
    entries = tuple(
        (path, access) for key, access in table.exceptions.items() if (path := _device_path(key)) is not None
    )
    return (nothing, ("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", entries))


def _device_path(key: Key) -> str | None:
    kind, major, minor = key
    word = {"b": "block", "c": "char"}[kind]
    if major is None:
        return f"{word}-*" if minor is None else None
    return f"{word}-{major}" if minor is None else f"/dev/{word}/{major}:{minor}"


def cpu_bits(text: str) -> bytes:
    """``0-2,5`` as a mask, the lowest bit first. CgroupError for what is none."""
    mask = 0
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        low, high = _whole("cpuset", first), _whole("cpuset", last or first)
        if low > high or high >= _MAX_BIT:
            raise CgroupError(f"cpuset: {quote(text)} is no list of processors or memory nodes")
        mask |= ((1 << (high - low + 1)) - 1) << low
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > INFINITY:  # trusted: digits
        raise CgroupError(f"$.linux.resources: {name} is no number: {quote(text)}")
    return int(text)  # trusted: digits


def _limit(value: int) -> int:
    return INFINITY if value == -1 else value
