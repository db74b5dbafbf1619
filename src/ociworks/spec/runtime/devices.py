"""Device nodes and the rules of the device cgroup (runtime-spec config-linux.md, Devices)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec._model import I64, U32

__all__ = ["Device", "DeviceRule"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Device(Model, nulls=True):
    """A device node to create (runtime-spec config-linux.md, Devices)."""

    type: str
    """``c``, ``b``, ``u`` or ``p``."""
    path: str
    major: I64 | None = None
    minor: I64 | None = None
    file_mode: U32 | None = None
    uid: U32 | None = None
    gid: U32 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class DeviceRule(Model, nulls=True):
    """An entry of the allowed-device list (runtime-spec config-linux.md, Allowed Device list)."""

    allow: bool
    type: str | None = None
    """``a``, ``c`` or ``b``; None is all."""
    major: I64 | None = None
    minor: I64 | None = None
    access: str | None = None
    """Of the letters ``rwm``."""
