"""What ``--debug`` logs: the plan of a container, operation by operation, and each step of its life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.runtime import Runtime

if TYPE_CHECKING:
    from ociworks.runtime import Event
    from ociworks.runtime.cli._log import Log
    from ociworks.runtime.plan import Plan

__all__ = ["Told"]


class Told(Runtime):
    """A runtime that logs what it does. Arguments and environments of programs are not shown."""

    def __init__(self, root: str, log: Log, *, systemd_cgroup: bool) -> None:
        super().__init__(root, systemd_cgroup=systemd_cgroup)
        self._log = log

    def edit_plan(self, plan: Plan) -> Plan:
        """Log it and leave it as it is."""
        for number, operation in enumerate(plan.operations):
            shown = operation.name if operation.name == "hook" else operation
            self._log.detail(f"container {plan.container_id}: operation {number}: {shown}")
        return plan

    def on_event(self, event: Event) -> None:
        """Log it."""
        ended = "" if event.returncode is None else f", status {event.returncode}"
        self._log.detail(f"container {event.container_id}: {event.kind}, pid {event.pid}{ended}")
