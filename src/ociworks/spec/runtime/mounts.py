"""Mounts and user-namespace mappings (runtime-spec config.md, Mounts)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec._model import U32

__all__ = ["IDMapping", "Mount"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class IDMapping(Model, names={"container_id": "containerID", "host_id": "hostID"}, nulls=True):
    """A range of user or group IDs (runtime-spec config-linux.md, User namespace mappings)."""

    container_id: U32
    host_id: U32
    size: U32


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Mount(Model, nulls=True):
    """One mount on top of the root filesystem, in the order of the list (runtime-spec config.md, Mounts)."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
