"""Programs to run at points of the lifecycle (runtime-spec config.md, POSIX-platform Hooks)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec._model import I64

__all__ = ["Hook", "Hooks"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Hook(Model, nulls=True):
    """One program; it gets the state on its standard input."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: I64 | None = None
    """Seconds, greater than zero."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Hooks(Model, nulls=True):
    """The hooks of each point, run in order."""

    prestart: tuple[Hook, ...] = ()
    """Deprecated; runs with ``create_runtime``, before it."""
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()
