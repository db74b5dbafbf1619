"""From a plan to a request to the launcher, and to the record of what came of it: Runtime and the command share it."""

from __future__ import annotations

import os
import time

from ociworks._linux import numbers as kernel
from ociworks.runtime import _cgroupfs, state
from ociworks.runtime.launcher.request import SpawnRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociworks.runtime.plan import Plan

__all__ = ["record_of", "request_for"]


def request_for(
    planned: Plan, directory: str, *, ephemeral: bool, shim: dict[str, Any] | None = None
) -> SpawnRequest:
    """What the launcher has to know; ``directory`` is the container's, which it makes."""
    group = planned.cgroup
    return SpawnRequest(
        name=planned.container_id,
        ops=tuple(op.encode() for op in planned.operations),
        claim=directory,
        ephemeral=ephemeral,
        cgroup=group.plain() if group.directories else None,
        groups=tuple(group.directories),
        tasks=planned.tasks,
        unified=group.cloned_into,
        flags=planned.clone_flags,
        gate=state.GATE if not ephemeral else "",
        outlives=any(op.name == "outlive" for op in planned.operations),
        joins=planned.namespaces.joins,
        oom_score_adj=_early_score(planned),
        maps=planned.maps.encode() if planned.maps is not None else None,
        sources=planned.sources,
        time_offsets=planned.time_offsets,
        shim=shim,
        resctrl=planned.resctrl.plain() if planned.resctrl is not None else None,
        passed=len(planned.passed),
        owner=_owner(planned),
    )


def _owner(planned: Plan) -> int:
    """Who is given pipes before the root of a user namespace is taken on, to whom nobody's files can be given."""
    process = planned.spec.process
    if planned.maps is None or process is None or os.geteuid() != 0:
        return -1
    return planned.maps.host_uid(process.user.uid)


def _early_score(planned: Plan) -> int | None:
    """The out-of-memory score that is set before the root of a user namespace is taken on, who may not any more."""
    process = planned.spec.process
    has_users = planned.namespaces.private & kernel.CLONE_NEWUSER
    return process.oom_score_adj if process is not None and has_users else None


def record_of(planned: Plan, pid: int) -> state.Record:
    """What is written down of a container; ``pid`` is that of its first process, 0 when there is none yet."""
    rdt = planned.resctrl
    return state.Record(
        id=planned.container_id,
        bundle=planned.bundle,
        rootfs=planned.rootfs,
        oci_version=planned.spec.oci_version,
        annotations=planned.spec.annotations,
        owner=os.geteuid(),
        pid=pid,
        start_time=state.start_time(pid) if pid else 0,
        boot_id=state.boot_id(),
        cgroups=planned.cgroup.directories,
        cgroup_ids=tuple(_cgroupfs.identities(planned.cgroup.directories)) if pid else (),
        shared_cgroups=planned.cgroup.shared,
        unified_cgroup=planned.cgroup.unified,
        scope=planned.cgroup.scope.key if planned.cgroup.scope is not None else "",
        kinds=planned.namespaces.private,
        deny_setgroups=planned.maps is not None and planned.maps.deny_setgroups,
        created=_now(),
        resctrl=rdt.remove if rdt is not None else (),
        resctrl_tasks=rdt.tasks if rdt is not None else (),
        hooks=tuple(point for point in ("poststart", "poststop") if getattr(planned.spec.hooks, point, ())),
    )


def _now() -> str:
    """The time as RFC 3339, UTC, with microseconds."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06}Z"
