"""What ``--debug`` logs: the plan of a container, operation by operation, and each step of its life.

Steps that runc's log has too are named by its words, which scripts look for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ociworks.runtime import Runtime
from ociworks.runtime.plan.numa import numbers
from ociworks.runtime.seccomp.names import TSYNC, TSYNC_ESRCH

if TYPE_CHECKING:
    from ociworks.runtime import Event
    from ociworks.runtime.cli._log import Log
    from ociworks.runtime.plan import Plan

__all__ = ["Told", "tell_affinity"]

_STEPS: Final = {
    "created": "child process in init(), init: closing the pipe to signal completion",
    "exec": "nsexec container setup, child process in init(), setns_init: about to exec",
}
"""What comes before an event."""

_SEALED: Final = (
    "what sets it up runs from a sealed copy in memory (runc exeseal: using /proc/self/exe clone)"
)
_OF_THREADS: Final = TSYNC | TSYNC_ESRCH
"""Flags without effect on a process that has one thread."""


def tell_affinity(log: Log, initial: str | None) -> None:
    """Log the CPUs that a further process starts on, as a mask."""
    cpus = numbers(initial, "$.process.execCPUAffinity.initial") if initial else os.sched_getaffinity(0)
    log.detail(f"nsexec: affinity: {sum(1 << cpu for cpu in cpus):#x}")


class Told(Runtime):
    """A runtime that logs what it does. Arguments and environments of programs are not shown."""

    def __init__(self, root: str, log: Log, *, systemd_cgroup: bool) -> None:
        super().__init__(root, systemd_cgroup=systemd_cgroup)
        self._log = log

    def edit_plan(self, plan: Plan) -> Plan:
        """Log it and leave it as it is."""
        self._log.detail(f"container {plan.container_id}: nsexec container setup")
        self._log.detail(_SEALED)
        for number, operation in enumerate(plan.operations):
            shown = operation.name if operation.name == "hook" else operation
            self._log.detail(f"container {plan.container_id}: operation {number}: {shown}")
            flags = operation.args[1] if operation.name in ("seccomp", "seccomp_listener") else None
            if isinstance(flags, int):
                self._log.detail(f"seccomp filter flags: {flags & ~_OF_THREADS}")
        return plan

    def on_event(self, event: Event) -> None:
        """Log it."""
        if event.kind in _STEPS:
            self._log.detail(f"container {event.container_id}: {_STEPS[event.kind]}")
        ended = "" if event.returncode is None else f", status {event.returncode}"
        self._log.detail(f"container {event.container_id}: {event.kind}, pid {event.pid}{ended}")
