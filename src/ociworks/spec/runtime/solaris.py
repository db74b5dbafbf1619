"""The Solaris section of the configuration (runtime-spec config-solaris.md)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

__all__ = ["Anet", "CappedCPU", "CappedMemory", "Solaris"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class CappedCPU(Model, nulls=True):
    """The share of CPUs (runtime-spec config-solaris.md, cappedCPU)."""

    ncpus: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class CappedMemory(Model, nulls=True):
    """Memory caps (runtime-spec config-solaris.md, cappedMemory)."""

    physical: str | None = None
    swap: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Anet(Model, nulls=True):
    """An automatic network interface (runtime-spec config-solaris.md, Automatic Network)."""

    linkname: str | None = None
    lower_link: str | None = None
    allowed_address: str | None = None
    configure_allowed_address: str | None = None
    defrouter: str | None = None
    link_protection: str | None = None
    mac_address: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Solaris(Model, names={"capped_cpu": "cappedCPU"}, nulls=True):
    """Everything that only Solaris has."""

    milestone: str | None = None
    limitpriv: str | None = None
    max_shm_memory: str | None = None
    anet: tuple[Anet, ...] = ()
    capped_cpu: CappedCPU | None = None
    capped_memory: CappedMemory | None = None
