"""The Linux section of the configuration (runtime-spec config-linux.md)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model
from ociworks.spec.frozen import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:  # resolved when a member of that type is first met
    from collections.abc import Mapping

    from ociworks.spec._model import I64, U32
    from ociworks.spec.runtime.devices import Device
    from ociworks.spec.runtime.mounts import IDMapping
    from ociworks.spec.runtime.resources import Resources
    from ociworks.spec.runtime.seccomp import Seccomp

__all__ = [
    "IntelRdt",
    "Linux",
    "MemoryPolicy",
    "Namespace",
    "NetDevice",
    "Personality",
    "TimeOffset",
    "TimeOffsets",
]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Namespace(Model, nulls=True):
    """A namespace to create, or with ``path`` to join (runtime-spec config-linux.md, Namespaces)."""

    type: str
    path: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class NetDevice(Model, nulls=True):
    """A host network interface to move into the container (runtime-spec config-linux.md, Network Devices)."""

    name: str | None = None
    """Its name in the container; ``%d`` in it becomes a free number. None keeps the name."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class TimeOffset(Model, nulls=True):
    """What to add to a clock (runtime-spec config-linux.md, Offset for Time Namespace)."""

    secs: I64 | None = None
    nanosecs: U32 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class TimeOffsets(Model, nulls=True):
    """The clocks of a time namespace (runtime-spec config-linux.md, Offset for Time Namespace)."""

    monotonic: TimeOffset | None = None
    boottime: TimeOffset | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class IntelRdt(Model, names={"clos_id": "closID"}, nulls=True):
    """Resource control by CPU cache and memory bandwidth (runtime-spec config-linux.md, IntelRdt)."""

    clos_id: str | None = None
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str | None = None
    mem_bw_schema: str | None = None
    enable_monitoring: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class MemoryPolicy(Model, nulls=True):
    """The NUMA memory policy (runtime-spec config-linux.md, Memory policy)."""

    mode: str | None = None
    nodes: str | None = None
    flags: tuple[str, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Personality(Model, nulls=True):
    """The execution domain (runtime-spec config-linux.md, Personality)."""

    domain: str | None = None
    flags: tuple[str, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Linux(Model, nulls=True):
    """Everything that only Linux has (runtime-spec config-linux.md)."""

    devices: tuple[Device, ...] = ()
    net_devices: Mapping[str, NetDevice] = FrozenDict()
    """By the interface's name on the host."""
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    sysctl: Mapping[str, str] = FrozenDict()
    resources: Resources | None = None
    cgroups_path: str | None = None
    namespaces: tuple[Namespace, ...] = ()
    seccomp: Seccomp | None = None
    rootfs_propagation: str | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None
    time_offsets: TimeOffsets | None = None
