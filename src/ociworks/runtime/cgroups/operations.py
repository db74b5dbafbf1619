"""Doing: the launcher's loops with typed errors, for callers that work on groups themselves.

A container's groups are known by ``directories``, one leaf per hierarchy, as :class:`CgroupPlan` names them.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from ociworks.errors import CgroupError, NotSupported, quote
from ociworks.runtime import _cgroupfs, _cgroupkill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ociworks.runtime.cgroups.plan import CgroupPlan

__all__ = [
    "apply",
    "cgroup_errors",
    "freeze",
    "frozen",
    "join",
    "kill",
    "processes",
    "remove",
    "thaw",
    "verify_membership",
]


def apply(plan: CgroupPlan) -> tuple[str, ...]:
    """Make the groups and write every limit; return what :func:`remove` takes. Raises CgroupError, leaving nothing."""
    with cgroup_errors():
        from ociworks.runtime._cgroupbpf import attach

        return tuple(_cgroupfs.create(plan.plain(), attach))


def join(plan: CgroupPlan, pid: int) -> None:
    """Move a process into the groups. Raises CgroupError."""
    with cgroup_errors():
        _cgroupfs.join(plan.procs, pid)


def remove(made: Sequence[str], *, timeout: float = 2.0) -> None:
    """Remove groups and all below them. Raises CgroupError when one is still in use after ``timeout`` seconds."""
    with cgroup_errors():
        left = _cgroupfs.remove(made, timeout)
    if left:
        raise CgroupError(f"control group {quote(left[0])} is still in use; kill its processes first")


def kill(directories: Sequence[str], *, timeout: float = 10.0) -> None:
    """End every process in the groups and below. Raises CgroupError when some are left after ``timeout`` seconds."""
    with cgroup_errors():
        empty = _cgroupkill.kill(directories, timeout)
    if not empty:
        raise CgroupError(
            f"control group {quote(directories[0])} still has processes {timeout} s after SIGKILL"
        )


def processes(directories: Sequence[str]) -> tuple[int, ...]:
    """The pids in the groups and below, as this process's PID namespace sees them."""
    with cgroup_errors():
        return tuple(_cgroupkill.processes(directories))


def freeze(directories: Sequence[str], *, timeout: float = 10.0) -> None:
    """Stop every process. Raises NotSupported without a freezer, CgroupError when they do not stop in time."""
    if not any(
        os.path.exists(f"{path}/{name}")
        for path in directories
        for name in ("cgroup.freeze", "freezer.state")
    ):
        raise NotSupported("freeze: this container has no control group with a freezer")
    with cgroup_errors():
        done = _cgroupkill.freeze(directories, timeout)
    if not done:
        raise CgroupError(f"control group {quote(directories[0])} did not freeze within {timeout} s")


def thaw(directories: Sequence[str]) -> None:
    """Let stopped processes run again."""
    with cgroup_errors():
        _cgroupkill.thaw(directories)


def frozen(directories: Sequence[str]) -> bool:
    """Whether the groups are frozen."""
    with cgroup_errors():
        return _cgroupkill.frozen(directories)


def verify_membership(membership: Mapping[str, str], proc_cgroup: str) -> None:
    """Prove that a process is where the plan wants it, from the text of its ``/proc/PID/cgroup``.

    Raises CgroupError naming the first hierarchy where it is elsewhere: then it must not be started.
    """
    wrong = _cgroupfs.misplaced(membership.items(), proc_cgroup)
    if wrong is not None:
        controller, expected, found = wrong
        raise CgroupError(
            f"membership in {controller or 'the unified hierarchy'}: expected {quote(expected)}, found {quote(found)}"
        )


@contextmanager
def cgroup_errors() -> Iterator[None]:
    """Turn the kernel's refusals into CgroupError, keeping the file's name and the value."""
    try:
        yield
    except OSError as error:
        raise CgroupError(f"{error.filename or 'control group'}: {error.strerror or error}") from error
