"""Rules for the state of a container."""

from __future__ import annotations

from ociworks.errors import Problem
from ociworks.spec.validate._checks import check_absolute, check_annotations, check_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import ContainerProcessState, State

__all__ = ["RULES"]

_SECTION: Final = "runtime-spec runtime.md, State"


def _state(value: State, at: str) -> Iterator[Problem]:
    """An ID, a status, where the bundle is, and the process while there is one.

    Runtimes may define more statuses (runc and crun have ``paused``), so any name will do.
    """
    yield from check_version(value.oci_version, f"{at}.ociVersion", _SECTION)
    for name, text in (("id", value.id), ("status", value.status)):
        if not text:
            yield Problem(f"{at}.{name}", "must not be empty", _SECTION)
    if value.status in {"created", "running"} and not value.pid:
        yield Problem(f"{at}.pid", f"is required while {value.status} on Linux", _SECTION)
    if value.pid is not None and value.pid < 0:
        yield Problem(f"{at}.pid", f"expected a process ID, got {value.pid}", _SECTION)
    yield from check_absolute(value.bundle, f"{at}.bundle", _SECTION)
    yield from check_annotations(value.annotations, f"{at}.annotations", _SECTION)


def _process_state(value: ContainerProcessState, at: str) -> Iterator[Problem]:
    """A version and a process; the state in it is judged as a state."""
    section = "runtime-spec config-linux.md, Container Process State"
    yield from check_version(value.oci_version, f"{at}.ociVersion", section)
    if value.pid <= 0:
        yield Problem(f"{at}.pid", f"expected a process ID, got {value.pid}", section)


RULES: Final = {"ContainerProcessState": _process_state, "State": _state}
