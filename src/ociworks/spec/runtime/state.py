"""The state of a container (runtime-spec runtime.md, State)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model
from ociworks.spec.frozen import FrozenDict
from ociworks.spec.runtime.config import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociworks.spec._model import I64

__all__ = ["ContainerProcessState", "State"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class State(Model, required=("oci_version",), nulls=True):
    """What a runtime tells about a container, to its caller and to hooks."""

    oci_version: str = VERSION
    id: str
    status: str
    """``creating``, ``created``, ``running`` or ``stopped``."""
    pid: I64 | None = None
    """The container's first process, as the runtime sees it."""
    bundle: str
    annotations: Mapping[str, str] = FrozenDict()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ContainerProcessState(Model, required=("oci_version",), nulls=True):
    """What a seccomp agent gets with the file descriptors (runtime-spec config-linux.md, Container Process State)."""

    oci_version: str = VERSION
    fds: tuple[str, ...] = ()
    """What the descriptors that came along are, in their order, such as ``seccompFd``."""
    pid: I64
    metadata: str | None = None
    state: State
