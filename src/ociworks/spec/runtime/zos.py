"""The z/OS section of the configuration (runtime-spec config-zos.md)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

__all__ = ["ZOS", "ZOSNamespace"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ZOSNamespace(Model, nulls=True):
    """A namespace to create, or with ``path`` to join (runtime-spec config-zos.md, Namespaces)."""

    type: str
    path: str | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ZOS(Model, nulls=True):
    """Everything that only z/OS has."""

    namespaces: tuple[ZOSNamespace, ...] = ()
