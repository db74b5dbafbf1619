"""Limits that cgroups enforce (runtime-spec config-linux.md, Control groups)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model
from ociworks.spec.frozen import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:  # resolved when a member of that type is first met
    from collections.abc import Mapping

    from ociworks.spec._model import I64, U16, U32, U64
    from ociworks.spec.runtime.devices import DeviceRule

__all__ = [
    "CPU",
    "BlockIO",
    "HugepageLimit",
    "InterfacePriority",
    "Memory",
    "Network",
    "Pids",
    "Rdma",
    "Resources",
    "ThrottleDevice",
    "WeightDevice",
]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Memory(Model, names={"kernel_tcp": "kernelTCP", "disable_oom_killer": "disableOOMKiller"}, nulls=True):
    """Memory limits in bytes; -1 is unlimited (runtime-spec config-linux.md, Memory)."""

    limit: I64 | None = None
    reservation: I64 | None = None
    swap: I64 | None = None
    """Memory and swap together."""
    kernel: I64 | None = None
    kernel_tcp: I64 | None = None
    swappiness: U64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class CPU(Model, nulls=True):
    """CPU shares and bandwidth; times in microseconds (runtime-spec config-linux.md, CPU)."""

    shares: U64 | None = None
    quota: I64 | None = None
    burst: U64 | None = None
    period: U64 | None = None
    realtime_runtime: I64 | None = None
    realtime_period: U64 | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: I64 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Pids(Model, nulls=True):
    """The number of tasks; -1 is unlimited (runtime-spec config-linux.md, PIDs)."""

    limit: I64 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class WeightDevice(Model, nulls=True):
    """Weights for one block device (runtime-spec config-linux.md, Block IO)."""

    major: I64
    minor: I64
    weight: U16 | None = None
    leaf_weight: U16 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ThrottleDevice(Model, nulls=True):
    """A rate for one block device, in bytes or operations per second (runtime-spec config-linux.md, Block IO)."""

    major: I64
    minor: I64
    rate: U64 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class BlockIO(
    Model,
    names={
        "throttle_read_iops_device": "throttleReadIOPSDevice",
        "throttle_write_iops_device": "throttleWriteIOPSDevice",
    },
):
    """Block I/O weights and rates (runtime-spec config-linux.md, Block IO)."""

    weight: U16 | None = None
    leaf_weight: U16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class HugepageLimit(Model, nulls=True):
    """A limit in bytes for one page size, such as ``2MB`` (runtime-spec config-linux.md, Huge page limits)."""

    page_size: str
    limit: U64


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class InterfacePriority(Model, nulls=True):
    """The priority of traffic on one interface (runtime-spec config-linux.md, Network)."""

    name: str
    priority: U32


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Network(Model, names={"class_id": "classID"}, nulls=True):
    """Marks on network traffic (runtime-spec config-linux.md, Network)."""

    class_id: U32 | None = None
    priorities: tuple[InterfacePriority, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Rdma(Model, nulls=True):
    """Limits of one RDMA device (runtime-spec config-linux.md, RDMA)."""

    hca_handles: U32 | None = None
    hca_objects: U32 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Resources(Model, names={"block_io": "blockIO"}, nulls=True):
    """All limits (runtime-spec config-linux.md, Control groups)."""

    unified: Mapping[str, str] = FrozenDict()
    """Files of cgroup v2 and what to write to them."""
    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: Mapping[str, Rdma] = FrozenDict()
    """By device name."""
