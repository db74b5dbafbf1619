"""The Container Network Interface 1.1.0: configurations, results, errors and versions (CNI SPEC.md).

A plugin's own keys are kept in ``extra`` and passed on unchanged, as section 3 demands. Documents of the older
versions 0.3.0 to 1.0.0 are read as the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ociworks._values import frozen
from ociworks.spec._model import U32, JSONValue, Model
from ociworks.spec.frozen import FrozenDict

__all__ = [
    "DNS",
    "ERROR_CODES",
    "IPAM",
    "VERSION",
    "VERSIONS",
    "Attachment",
    "ErrorResult",
    "IPConfig",
    "Interface",
    "NetworkConfigList",
    "PluginConf",
    "Result",
    "Route",
    "VersionResult",
]

VERSION: Final = "1.1.0"
"""The version of the specification that is written."""

VERSIONS: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""The versions that are read, oldest first. Older results have another shape."""

ERROR_CODES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "the plugin does not support this CNI version",
        2: "the configuration has a field that the plugin does not support",
        3: "the container is unknown; nothing needs to be cleaned up",
        4: "a CNI_ environment variable is missing or wrong",
        5: "input or output failed",
        6: "content cannot be decoded",
        7: "the network configuration is not valid",
        11: "not now; try again later",
        50: "the plugin cannot serve ADD requests",
        51: "the plugin cannot serve ADD requests, and containers may have limited connectivity",
    }
)
"""Reserved error codes (section 5, Error) and what they mean; from 100 on they belong to the plugins."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class DNS(Model, nulls=True):
    """How names are to be looked up (section 1, ``dns``)."""

    nameservers: tuple[str, ...] = ()
    """IP addresses, most important first."""
    domain: str | None = None
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class IPAM(Model, nulls=True):
    """Which plugin manages addresses; its own keys are in ``extra`` (section 1, ``ipam``)."""

    type: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Attachment(Model, names={"container_id": "containerID"}):
    """An attachment that is still valid, told to plugins with GC (section 2, GC)."""

    container_id: str
    ifname: str


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Interface(Model, names={"pci_id": "pciID"}, nulls=True):
    """An interface that an attachment made, in the container or on the host (section 5, ADD Success)."""

    name: str
    mac: str | None = None
    mtu: U32 | None = None
    sandbox: str | None = None
    """The network namespace; empty on the host."""
    socket_path: str | None = None
    pci_id: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class IPConfig(Model, nulls=True):
    """An address of an attachment (section 5, ADD Success)."""

    address: str
    """With the prefix length: ``10.1.0.5/16``."""
    gateway: str | None = None
    interface: U32 | None = None
    """Position in the result's ``interfaces``; plugins for addresses leave it out."""
    version: str | None = None
    """``4`` or ``6``, before CNI 1.0.0."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Route(Model, nulls=True):
    """A route of an attachment (section 5, ADD Success)."""

    dst: str
    gw: str | None = None
    mtu: U32 | None = None
    advmss: U32 | None = None
    priority: U32 | None = None
    table: U32 | None = None
    scope: U32 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Result(Model, nulls=True):
    """What a plugin prints after a successful ADD (section 5, ADD Success)."""

    cni_version: str | None = None
    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: DNS | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ErrorResult(Model, nulls=True):
    """What a plugin prints when it fails (section 5, Error). The texts are untrusted."""

    cni_version: str | None = None
    code: U32
    msg: str
    details: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class VersionResult(Model, nulls=True):
    """What a plugin prints for VERSION (section 5, Version)."""

    cni_version: str
    supported_versions: tuple[str, ...]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class PluginConf(Model, names={"valid_attachments": "cni.dev/valid-attachments"}, nulls=True):
    """One plugin's configuration, at rest or as the request that the plugin reads (sections 1 and 3)."""

    cni_version: str | None = None
    """In requests only, as is ``name``."""
    name: str | None = None
    type: str
    """The file name of the plugin: never a path."""
    capabilities: Mapping[str, bool] = FrozenDict()
    ip_masq: bool | None = None
    ipam: IPAM | None = None
    dns: DNS | None = None
    args: JSONValue = None
    """Reserved for the runtime, as are the following."""
    runtime_config: Mapping[str, JSONValue] = FrozenDict()
    prev_result: Result | None = None
    valid_attachments: tuple[Attachment, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class NetworkConfigList(Model, names={"disable_gc": "disableGC"}, nulls=True):
    """A network: the chain of plugins that attach a container to it (section 1)."""

    cni_version: str
    cni_versions: tuple[str, ...] = ()
    name: str
    disable_check: bool | None = None
    disable_gc: bool | None = None
    load_only_inlined_plugins: bool | None = None
    plugins: tuple[PluginConf, ...] = ()
