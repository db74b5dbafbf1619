"""The configuration as a whole: config.json of a bundle (runtime-spec config.md)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model
from ociworks.spec.frozen import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:  # resolved when a member of that type is first met
    from collections.abc import Mapping

    from ociworks.spec.runtime.freebsd import FreeBSD
    from ociworks.spec.runtime.hooks import Hooks
    from ociworks.spec.runtime.linux import Linux
    from ociworks.spec.runtime.mounts import Mount
    from ociworks.spec.runtime.process import Process
    from ociworks.spec.runtime.solaris import Solaris
    from ociworks.spec.runtime.vm import VM
    from ociworks.spec.runtime.windows import Windows
    from ociworks.spec.runtime.zos import ZOS

__all__ = ["Root", "Spec"]

VERSION = "1.3.0"
"""The version of the runtime specification that these classes describe."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Root(Model, nulls=True):
    """The root filesystem (runtime-spec config.md, Root)."""

    path: str
    """Absolute, or relative to the bundle."""
    readonly: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Spec(Model, required=("oci_version",), nulls=True):
    """The contents of config.json (runtime-spec config.md, Specification version and what follows)."""

    oci_version: str = VERSION
    root: Root | None = None
    mounts: tuple[Mount, ...] = ()
    process: Process | None = None
    hostname: str | None = None
    domainname: str | None = None
    hooks: Hooks | None = None
    annotations: Mapping[str, str] = FrozenDict()
    linux: Linux | None = None
    windows: Windows | None = None
    solaris: Solaris | None = None
    freebsd: FreeBSD | None = None
    vm: VM | None = None
    zos: ZOS | None = None
