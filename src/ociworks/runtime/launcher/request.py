"""What the launcher is asked for."""

from __future__ import annotations

from ociworks._values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SpawnRequest"]


@frozen(kw_only=True)
class SpawnRequest:
    """What the launcher needs to make one process; the fields are those that ``_init.spawn`` reads."""

    name: str
    ops: tuple[tuple[Any, ...], ...]
    claim: str = ""
    """The state directory to make for a new container; empty for a further process of one."""
    ephemeral: bool = False
    """Remove everything as soon as the init has ended."""
    cgroup: tuple[Any, ...] | None = None
    groups: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    """Files of version 1 control groups that the process enters by itself."""
    unified: str = ""
    """The version 2 control group that it is cloned into."""
    flags: int = 0
    joins: tuple[tuple[int, str], ...] = ()
    join_kinds: int = 0
    oom_score_adj: int | None = None
    """Set before joining, or before becoming root: of a further process, and of an init in a user namespace."""
    maps: tuple[Any, ...] | None = None
    resctrl: tuple[Any, ...] | None = None
    """Resource control groups to make, see ``_init.resctrl``."""
    affinity: tuple[int, ...] = ()
    """The CPUs of a process that joins, until it is in the control groups."""
    passed: int = 0
    """How many descriptors the program inherits."""
    outlives: bool = False
    """Leave its exit status to whoever adopts it."""
    gate: str = ""
    """The name of the socket in the state directory at which an init waits to be started."""
    sources: tuple[tuple[Any, ...], ...] = ()
    """Trees and user namespaces to open on the host for binds."""
    time_offsets: str = ""
    owner: int = -1
    """Who is given the pipes among the standard streams: whom, on the host, the root or user of a user namespace is."""
    shim: dict[str, Any] | None = None
    """What the shim of a detached container has to know (``detach.settings``); it is then the init's parent."""

    list: bytes = b""
    """In the place of ``ops``, for a runner (``_listed.first``)."""
    membership: tuple[tuple[str, str], ...] = ()
    """What must be true of the control groups of a process with such a list."""

    def encode(self) -> dict[str, Any]:
        """The request as the launcher reads it."""
        return {"kind": "spawn", **self.__dict__}
