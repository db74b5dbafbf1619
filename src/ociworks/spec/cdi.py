"""The Container Device Interface, up to 1.1.0: what a container needs to use a vendor's devices (CDI SPEC.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ociworks._values import frozen
from ociworks.spec._model import I64, U32, Model
from ociworks.spec.frozen import FrozenDict

__all__ = [
    "VERSION",
    "VERSIONS",
    "ContainerEdits",
    "Device",
    "DeviceNode",
    "Hook",
    "IntelRdt",
    "Mount",
    "NetDevice",
    "Specification",
]

VERSION: Final = "1.1.0"
"""The version of the specification that these classes describe."""

VERSIONS: Final = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
"""The released versions, oldest first."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class DeviceNode(Model, nulls=True):
    """A device node to make in the container (OCI Edits, ``deviceNodes``)."""

    path: str
    host_path: str | None = None
    """On the host; the same as ``path`` when missing (0.5.0)."""
    type: str | None = None
    """``b``, ``c``, ``u`` or ``p``; that of the host's node when missing."""
    major: I64 | None = None
    minor: I64 | None = None
    file_mode: U32 | None = None
    permissions: str | None = None
    """For the device cgroup: of ``r``, ``w`` and ``m``; all three when missing, none for ``none``."""
    uid: U32 | None = None
    gid: U32 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class NetDevice(Model):
    """A network interface to move from the host into the container (OCI Edits, ``netDevices``; 1.1.0)."""

    host_interface_name: str
    name: str


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Mount(Model, nulls=True):
    """A mount (OCI Edits, ``mounts``)."""

    host_path: str
    container_path: str
    type: str | None = None
    """Since 0.4.0."""
    options: tuple[str, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Hook(Model, nulls=True):
    """A hook of the runtime specification (OCI Edits, ``hooks``)."""

    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: I64 | None = None
    """Seconds."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class IntelRdt(
    Model, names={"clos_id": "closID", "enable_cmt": "enableCMT", "enable_mbm": "enableMBM"}, nulls=True
):
    """Settings in resctrl (OCI Edits, ``intelRdt``; 0.7.0)."""

    clos_id: str | None = None
    l3_cache_schema: str | None = None
    mem_bw_schema: str | None = None
    schemata: tuple[str, ...] = ()
    enable_monitoring: bool | None = None
    enable_cmt: bool | None = None
    """Up to 1.0.0, as is the next."""
    enable_mbm: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ContainerEdits(Model, nulls=True):
    """Changes to a runtime configuration (OCI Edits)."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    hooks: tuple[Hook, ...] = ()
    mounts: tuple[Mount, ...] = ()
    intel_rdt: IntelRdt | None = None
    additional_gids: tuple[U32, ...] = ()
    """Zeros are ignored (0.7.0)."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Device(Model, nulls=True):
    """One device and the edits that give it to a container (CDI Devices)."""

    name: str
    annotations: Mapping[str, str] = FrozenDict()
    container_edits: ContainerEdits


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Specification(Model, nulls=True):
    """A CDI file: a vendor's devices of one class (CDI JSON Specification).

    The file's own ``containerEdits`` apply once when any of its devices is asked for.
    """

    cdi_version: str
    kind: str
    """``vendor/class``, such as ``example.com/gpu``."""
    annotations: Mapping[str, str] = FrozenDict()
    devices: tuple[Device, ...]
    container_edits: ContainerEdits | None = None

    @property
    def vendor(self) -> str:
        """The part of ``kind`` before the slash."""
        return self.kind.partition("/")[0]

    @property
    def class_(self) -> str:
        """The part of ``kind`` after the slash."""
        return self.kind.partition("/")[2]
