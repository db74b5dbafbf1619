"""The Windows section of the configuration (runtime-spec config-windows.md)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociworks.spec._model import U16, U32, U64, JSONValue

__all__ = [
    "HyperV",
    "Windows",
    "WindowsCPU",
    "WindowsCPUAffinity",
    "WindowsDevice",
    "WindowsMemory",
    "WindowsNetwork",
    "WindowsResources",
    "WindowsStorage",
]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class WindowsDevice(Model, nulls=True):
    """A device to map into the container (runtime-spec config-windows.md, Devices)."""

    id: str
    id_type: str


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class WindowsMemory(Model, nulls=True):
    """Memory in bytes (runtime-spec config-windows.md, Memory)."""

    limit: U64 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class WindowsCPUAffinity(Model, nulls=True):
    """Processors of one group (runtime-spec config-windows.md, CPU)."""

    mask: U64 | None = None
    group: U32 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class WindowsCPU(Model, nulls=True):
    """CPU counts and shares (runtime-spec config-windows.md, CPU)."""

    count: U64 | None = None
    shares: U16 | None = None
    maximum: U16 | None = None
    affinity: tuple[WindowsCPUAffinity, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class WindowsStorage(Model, nulls=True):
    """Rates and size of the sandbox (runtime-spec config-windows.md, Storage)."""

    iops: U64 | None = None
    bps: U64 | None = None
    sandbox_size: U64 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class WindowsResources(Model, nulls=True):
    """Resource limits (runtime-spec config-windows.md, Resources)."""

    memory: WindowsMemory | None = None
    cpu: WindowsCPU | None = None
    storage: WindowsStorage | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class WindowsNetwork(
    Model,
    names={"allow_unqualified_dns_query": "allowUnqualifiedDNSQuery", "dns_search_list": "DNSSearchList"},
):
    """Networking (runtime-spec config-windows.md, Network)."""

    endpoint_list: tuple[str, ...] = ()
    allow_unqualified_dns_query: bool | None = None
    dns_search_list: tuple[str, ...] = ()
    network_shared_container_name: str | None = None
    network_namespace: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class HyperV(Model, names={"utility_vm_path": "utilityVMPath"}, nulls=True):
    """Isolation in a virtual machine (runtime-spec config-windows.md, HyperV)."""

    utility_vm_path: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Windows(Model, nulls=True):
    """Everything that only Windows has."""

    layer_folders: tuple[str, ...]
    devices: tuple[WindowsDevice, ...] = ()
    resources: WindowsResources | None = None
    network: WindowsNetwork | None = None
    credential_spec: Mapping[str, JSONValue] | None = None
    servicing: bool | None = None
    ignore_flushes_during_boot: bool | None = None
    hyperv: HyperV | None = None
