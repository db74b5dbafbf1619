"""A configuration with another command: what ``run`` and ``create`` make of their arguments."""

from __future__ import annotations

import attrs

from ociworks.errors import InvalidSpec, Problem
from ociworks.runtime._same import Same, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ociworks.spec import Bundle
    from ociworks.spec.runtime import Spec

__all__ = ["with_command"]


def with_command(bundle: Bundle, args: Sequence[str] | None, env: Mapping[str, str] | None) -> Bundle:
    """The bundle with other arguments (None: its own) and further variables. InvalidSpec when it has no process."""
    given = None if args is None else tuple(args)
    return bundle.replace(_commanded(Same(bundle.spec), given, tuple((env or {}).items())))


@kept(32)
def _commanded(same: Same[Spec], args: tuple[str, ...] | None, env: tuple[tuple[str, str], ...]) -> Spec:
    """The configuration with another command; the same one for the same command, so that it is judged once."""
    spec = same.value
    process = spec.process
    if process is None:
        raise InvalidSpec([Problem("$.process", "a container to run needs it")])
    if args is not None:
        process = attrs.evolve(process, args=args)
    if env:
        names = {name for name, _ in env}
        kept = tuple(entry for entry in process.env if entry.partition("=")[0] not in names)
        process = attrs.evolve(process, env=(*kept, *(f"{name}={value}" for name, value in env)))
    return attrs.evolve(spec, process=process)
