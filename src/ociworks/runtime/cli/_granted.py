"""Capabilities that cannot be had are logged as a warning and left out (runtime-spec config.md, Linux Process).

The library refuses the names that it does not know (RT-24); clients of a command expect what the specification says,
and that a container with fewer rights than asked for runs.
"""

from __future__ import annotations

from ociworks._linux.numbers import CAPABILITIES, last_capability
from ociworks._values import evolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ociworks.spec.runtime import Capabilities, Process, Spec

__all__ = ["granted", "granted_process"]

_SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")


def granted(spec: Spec, caution: Callable[[str], None]) -> Spec:
    """The configuration with those that there are; ``caution`` is told of the others."""
    if spec.process is None:
        return spec
    process = granted_process(spec.process, caution)
    return spec if process is spec.process else evolve(spec, process=process)


def granted_process(process: Process, caution: Callable[[str], None]) -> Process:
    """The same for one process."""
    sets = process.capabilities
    if sets is None:
        return process
    asked = {*sets.bounding, *sets.effective, *sets.inheritable, *sets.permitted, *sets.ambient}
    missing = asked.difference(_known())
    if missing:
        caution(f"ignoring unknown or unavailable capabilities: [{' '.join(sorted(missing))}]")
        sets = _without(sets, missing)
        process = evolve(process, capabilities=sets)
    if sets.ambient:
        base = {*sets.permitted}.intersection(sets.inheritable)
        for name in sets.ambient:
            if name not in base:
                caution(f"can't raise ambient capability {name}: it is not permitted and inheritable")
    return process


def _known() -> tuple[str, ...]:
    return CAPABILITIES[: last_capability() + 1]


def _without(sets: Capabilities, missing: set[str]) -> Capabilities:
    kept = {name: tuple(member for member in getattr(sets, name) if member not in missing) for name in _SETS}
    return evolve(sets, **kept)
