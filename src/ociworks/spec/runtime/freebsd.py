"""The FreeBSD section of the configuration (runtime-spec config-freebsd.md)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec._model import U8, U32

__all__ = ["FreeBSD", "FreeBSDDevice", "Jail", "JailAllow"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class FreeBSDDevice(Model, nulls=True):
    """A device to show in devfs (runtime-spec config-freebsd.md, Devices)."""

    path: str | None = None
    mode: U32 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class JailAllow(Model, nulls=True):
    """Permissions of a jail (runtime-spec config-freebsd.md, Jail)."""

    set_hostname: bool | None = None
    raw_sockets: bool | None = None
    chflags: bool | None = None
    mount: tuple[str, ...] = ()
    quotas: bool | None = None
    socket_af: bool | None = None
    mlock: bool | None = None
    reserved_ports: bool | None = None
    suser: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Jail(Model, nulls=True):
    """The jail (runtime-spec config-freebsd.md, Jail)."""

    parent: str | None = None
    host: str | None = None
    ip4: str | None = None
    ip4_addr: tuple[str, ...] = ()
    ip6: str | None = None
    ip6_addr: tuple[str, ...] = ()
    vnet: str | None = None
    interface: str | None = None
    vnet_interfaces: tuple[str, ...] = ()
    sysvmsg: str | None = None
    sysvsem: str | None = None
    sysvshm: str | None = None
    enforce_statfs: U8 | None = None
    allow: JailAllow | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class FreeBSD(Model, nulls=True):
    """Everything that only FreeBSD has."""

    devices: tuple[FreeBSDDevice, ...] = ()
    jail: Jail | None = None
