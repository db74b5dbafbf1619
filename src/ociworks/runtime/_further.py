"""Begins further processes of a container: what they are, where they go, and how they are followed to their program."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import attrs

from ociworks._linux import numbers as kernel
from ociworks.errors import CreateFailed, InvalidSpec, Problem, quote
from ociworks.runtime import cgroups, plan, state
from ociworks.runtime._points import Points, listener_point
from ociworks.runtime.execs import ExecOptions
from ociworks.runtime.launcher import Spawned, SpawnRequest
from ociworks.runtime.plan.build import IN_SCOPE
from ociworks.runtime.process import ContainerProcess
from ociworks.spec.runtime import Linux, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ociworks.runtime._first import FirstProcess
    from ociworks.runtime._host import Host
    from ociworks.runtime.container import Container
    from ociworks.runtime.stdio import Streams

__all__ = ["Further"]

_AS_USUAL = ExecOptions()


def _time_of(pid: int) -> int:
    """The kind of namespace that criu adds to what it restores, whatever the configuration has.

    Whoever were not in it could not be checkpointed with the container.
    """
    try:
        differs = os.stat(f"/proc/{pid}/ns/time").st_ino != os.stat("/proc/self/ns/time").st_ino
    except OSError:
        return 0
    return kernel.CLONE_NEWTIME if differs else 0


class Further:
    """Begins further processes of one container."""

    def __init__(self, container: Container, host: Host, record: state.Record, first: FirstProcess) -> None:
        self._container = container
        self._host = host
        self._record = record
        self._first = first

    def process(self, args: Sequence[str] | Process, options: ExecOptions | None) -> Process:
        """The whole process that ``args`` and ``options`` mean. InvalidSpec when there is nothing to complete them."""
        target = self._given_process(args, options)
        seams = self._host.seams
        return target if seams is None else seams.edit_process(target, self._container.spec)

    def begin(self, target: Process, streams: Streams, options: ExecOptions | None) -> ContainerProcess:
        """Spawn, and follow to the program; the streams are closed when that fails."""
        try:
            spawned = self._spawn(target, streams, options or _AS_USUAL)
            streams.started()
        except BaseException:
            streams.close()
            raise
        ended = functools.partial(self._host.tell, "exec-exited", self._record.id)
        running = ContainerProcess(spawned, streams, target.args, self._record.id, ended)
        try:
            running.begin(self._points(spawned.pid))
        except BaseException:
            running.end()
            raise
        self._host.tell("exec", self._record.id, spawned.pid)
        return running

    def _given_process(self, args: Sequence[str] | Process, options: ExecOptions | None) -> Process:
        if isinstance(args, Process):
            return args
        own = self._container.spec.process
        if own is None:
            raise InvalidSpec([Problem("$.process", "the container has none to take the settings from")])
        if options is None:
            return attrs.evolve(own, args=tuple(args), terminal=None, console_size=None)
        with self._first.root() as root:
            return options.process(own, args, root)

    @property
    def _moved_by_systemd(self) -> bool:
        """Whether the kernel lets only systemd move processes into its groups: a user's outside of the user's tree."""
        return self._record.scope.startswith("user:")

    def _points(self, pid: int) -> Points:
        """What to do when an exec must be moved to its scope, and when its filter asks somebody."""
        actions: dict[str, Callable[..., None]] = {}
        if self._moved_by_systemd:
            actions[IN_SCOPE] = functools.partial(self._host.let_go, "", self._record.scope, pid)
        spec = self._container.spec
        filtered = spec.linux.seccomp if spec.linux is not None else None
        if filtered is not None and filtered.listener_path:
            actions.update(listener_point(spec, self._container.state(), pid))
        return actions

    def _spawn(self, target: Process, streams: Streams, options: ExecOptions) -> Spawned:
        self._allow(options)
        chosen = options.run_options()
        planned = plan.build_exec(
            self._record.kinds | _time_of(self._record.pid),
            target,
            self._container.spec.linux or Linux(),
            may_set_groups=not self._record.deny_setgroups,
            in_scope=self._moved_by_systemd,
            detached=options.detach,
            options=chosen,
        )
        tasks, unified = _places(self._record, options.groups)
        request = SpawnRequest(
            name=self._record.id,
            ops=tuple(op.encode() for op in planned.operations),
            tasks=tasks,
            unified="" if self._moved_by_systemd else unified,
            join_kinds=planned.kinds,
            outlives=options.detach,
            oom_score_adj=planned.oom_score_adj,
            affinity=planned.affinity,
            passed=len(chosen.pass_fds),
            owner=self._owner(target),
        )
        with self._first.pidfd() as pidfd:
            try:
                return self._host.launcher().spawn(request, streams.child, pidfd, chosen.pass_fds)
            except CreateFailed:
                self._allow(options)  # it may have ended meanwhile
                raise

    def _owner(self, target: Process) -> int:
        """Who is given pipes, on the host: see ``SpawnRequest.owner``."""
        linux = self._container.spec.linux
        if linux is None or os.geteuid() != 0 or not self._record.kinds & kernel.CLONE_NEWUSER:
            return -1
        uid = target.user.uid
        outside = (
            each.host_id + uid - each.container_id
            for each in linux.uid_mappings
            if each.container_id <= uid < each.container_id + each.size
        )
        return next(outside, -1)

    def _allow(self, options: ExecOptions) -> None:
        status = self._container.status
        allowed = {"paused": options.ignore_paused, "created": options.before_start}
        if not allowed.get(status, False):
            state.allow("exec", status, self._record.id)


def _places(record: state.Record, below: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """The files of version 1 by which a process enters the container's groups, and the group of version 2."""
    if not below:
        return record.tasks, record.unified_cgroup
    mounts = cgroups.detect().mounts
    known = {name.removeprefix("name=") for each in mounts for name in each.controllers}
    for name in below:
        if name and name not in known:
            raise InvalidSpec([Problem("cgroup", f"unknown controller {quote(name)}")])
    moved = {path: _below(path, below) for path in record.cgroups}
    tasks = tuple(f"{moved[path]}/tasks" for path in record.cgroups if path != record.unified_cgroup)
    return tasks, moved.get(record.unified_cgroup, "")


def _below(path: str, below: Mapping[str, str]) -> str:
    mounts = cgroups.detect().mounts
    names = next((each.controllers for each in mounts if path.startswith(f"{each.mount_point}/")), ())
    name = next((name for name in names if name.removeprefix("name=") in below), "").removeprefix("name=")
    part = below.get(name, "").strip("/")
    return f"{path}/{part}" if part else path
