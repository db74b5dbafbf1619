"""What is in force after an update: the limits before it, with what it names in their place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

from ociworks.spec._model import Model
from ociworks.spec.frozen import FrozenDict

if TYPE_CHECKING:
    from ociworks.spec.runtime import BlockIO, Resources

__all__ = ["merge"]


class _OfDevice(Protocol):
    @property
    def major(self) -> int: ...
    @property
    def minor(self) -> int: ...


P = TypeVar("P", bound=Model)
D = TypeVar("D", bound=_OfDevice)


def merge(before: Resources, change: Resources) -> Resources:
    """``before`` with everything that ``change`` names; lists by device, page size or name."""
    sizes = {entry.page_size: entry for entry in (*before.hugepage_limits, *change.hugepage_limits)}
    return attrs.evolve(
        before,
        memory=_part(before.memory, change.memory),
        cpu=_part(before.cpu, change.cpu),
        pids=_part(before.pids, change.pids),
        network=_part(before.network, change.network),
        block_io=_block_io(before.block_io, change.block_io),
        hugepage_limits=tuple(sizes.values()),
        devices=change.devices or before.devices,
        rdma=FrozenDict({**before.rdma, **change.rdma}),
        unified=FrozenDict({**before.unified, **change.unified}),
    )


def _part(before: P | None, change: P | None) -> P | None:
    if before is None or change is None:
        return change if before is None else before
    named = {name: value for name, value in vars(change).items() if value not in (None, (), {})}
    return attrs.evolve(before, **named)


def _block_io(before: BlockIO | None, change: BlockIO | None) -> BlockIO | None:
    merged = _part(before, change)
    if before is None or change is None or merged is None:
        return merged
    return attrs.evolve(
        merged,
        weight_device=_by_device(before.weight_device, change.weight_device),
        throttle_read_bps_device=_by_device(before.throttle_read_bps_device, change.throttle_read_bps_device),
        throttle_write_bps_device=_by_device(
            before.throttle_write_bps_device, change.throttle_write_bps_device
        ),
        throttle_read_iops_device=_by_device(
            before.throttle_read_iops_device, change.throttle_read_iops_device
        ),
        throttle_write_iops_device=_by_device(
            before.throttle_write_iops_device, change.throttle_write_iops_device
        ),
    )


def _by_device(before: Iterable[D], change: Iterable[D]) -> tuple[D, ...]:
    return tuple({(entry.major, entry.minor): entry for entry in (*before, *change)}.values())
