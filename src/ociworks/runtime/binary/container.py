"""A container of another runtime."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import attrs

from ociworks.errors import (
    CommandFailed,
    ContainerError,
    ContainerNotFound,
    ContainerTimeout,
    InvalidSpec,
    Problem,
    SpecError,
    quote,
)
from ociworks.runtime import state
from ociworks.runtime._alike import Alike
from ociworks.runtime.binary.command import Failed, Program, console_socket, error_for
from ociworks.runtime.binary.held import remove_held, shim_of
from ociworks.runtime.binary.stats import group_stats, parse_stats
from ociworks.runtime.checkpoint import flags
from ociworks.runtime.completed import CompletedContainer
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.process import ContainerProcess, check_terminal, finish
from ociworks.runtime.stdio import DEVNULL, PIPE, Stream, Streams
from ociworks.spec import parse, to_json
from ociworks.spec.runtime import Process, Resources, Spec, State
from ociworks.spec.signals import signal_number

if TYPE_CHECKING:
    from ociworks.runtime._shim import Shim
    from ociworks.runtime.binary.runtime import RuntimeBinary
    from ociworks.runtime.cgroups import ContainerStats
    from ociworks.runtime.checkpoint import CheckpointOptions
    from ociworks.runtime.console import Console

__all__ = ["BinaryContainer", "listed", "read_state"]

_FIRST_FD = 3
_LISTS = 10


class BinaryContainer(Alike):
    """A container of a :class:`RuntimeBinary`. As a context manager it is deleted, by force, at the end.

    Every question is one call of the program. One that was found, not created, cannot report an exit status, unless a
    shim holds it.
    """

    def __init__(
        self,
        runtime: RuntimeBinary,
        container_id: str,
        *,
        spawned: Spawned | None = None,
        spec: Spec | None = None,
        streams: Streams | None = None,
        console: Console | None = None,
    ) -> None:
        self._runtime = runtime
        self._id = container_id
        self._spawned = spawned
        self._spec = spec
        self._streams = streams
        self._console = console
        self._deleted = False
        self._left: Shim | None = None
        """The shim of one that the program has deleted."""
        self._owner = os.getpid()

    @property
    def id(self) -> str:
        """The container's ID."""
        return self._id

    @property
    def pid(self) -> int:
        """The pid of its first process on the host; 0 when it has ended."""
        return self.state().pid or 0

    @property
    def bundle(self) -> str:
        """The path of its bundle."""
        return self.state().bundle

    @property
    def status(self) -> str:
        """``created``, ``running``, ``paused`` or ``stopped``; the program's word."""
        return self.state().status

    @property
    def console(self) -> Console | None:
        """Its terminal, when the configuration has one; only in the process that created it."""
        return self._console

    @property
    def spawned(self) -> Spawned:
        """Its first process. ContainerError where it was not created."""
        if self._spawned is None:
            raise ContainerError(f"container {self._id} was not created here")
        return self._spawned

    def state(self) -> State:
        """The state as the program has it; ``stopped`` once it is deleted. ContainerNotFound when somebody else did."""
        if self._deleted:
            return State(id=self._id, status="stopped", pid=0, bundle=self._runtime.bundle_of(self._id))
        found = read_state(self._runtime.program, self._id)
        return attrs.evolve(found, bundle=self._runtime.bundle_of(self._id) or found.bundle)

    def start(self) -> None:
        """Let the program run. Raises CommandNotFound, CreateFailed, IllegalTransition."""
        self._do("start", "start", self._id)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit status, or the negative number of the signal. ContainerTimeout, ContainerError."""
        if self._shim is not None:
            return self._shim.wait(timeout, self._runs)
        if self._spawned is not None:
            status = self._spawned.wait(timeout)
            if status is not None:
                return status
        elif self._ended(timeout):
            raise ContainerError(
                f"container {self._id} has ended; only the process that created it learns the status"
            )
        raise ContainerTimeout(f"container {self._id} has not ended yet", timeout=timeout or 0.0)

    def kill(self, signum: int | str = "TERM", *, all: bool = False) -> None:
        """Send a signal (number, ``TERM`` or ``SIGTERM``) to the first process, or to ``all``."""
        flags = ("--all",) if all else ()
        self._do("kill", "kill", *flags, self._id, str(signal_number(str(signum))))

    def exec(
        self,
        args: Sequence[str] | Process,
        *,
        capture_output: bool = True,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        stdin: Stream = DEVNULL,
    ) -> CompletedContainer:
        """Run a further program to its end, as :meth:`Container.exec`."""
        target = self._process(args)
        check_terminal(target, captured=capture_output)
        output = PIPE if capture_output else None
        with contextlib.closing(Streams(PIPE if input is not None else stdin, output, output)) as streams:
            spawned = self._exec(target, streams)
            try:
                done = finish(spawned, streams, target.args, input, timeout)
            finally:
                spawned.end()
        done = attrs.evolve(done, container_id=self._id)
        if check and done.returncode:
            raise CommandFailed(done)
        return done

    def spawn(
        self,
        args: Sequence[str] | Process,
        *,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> ContainerProcess:
        """Begin a further program and return when it runs, as :meth:`Container.spawn`."""
        target = self._process(args)
        if target.terminal:
            stdin = stdout = stderr = DEVNULL
        streams = Streams(stdin, stdout, stderr)
        try:
            spawned, console = self._begin(target, streams)
        except BaseException:
            streams.close()
            raise
        running = ContainerProcess(spawned, streams, target.args, self._id)
        running.console = console
        return running

    def stats(self) -> ContainerStats:
        """What its control groups count: by ``events --stats``, or read here where there is no such verb (crun)."""
        try:
            return parse_stats(self._runtime.program.ask("events", "--stats", self._id))
        except Failed as failed:
            pid = self.pid
            if not pid:
                raise error_for("events", self._id, failed) from failed
            return group_stats(pid)

    def processes(self) -> tuple[int, ...]:
        """The pids of all its processes on the host."""
        raw = self._do("processes", "ps", "--format", "json", self._id)
        try:
            found = json.loads(raw)
        except ValueError as error:
            raise ContainerError(f"ps of container {self._id}: expected JSON, got {quote(raw)}") from error
        return tuple(pid for pid in found if isinstance(pid, int)) if isinstance(found, list) else ()

    def pause(self) -> None:
        """Freeze every process."""
        state.allow("pause", self.status, self._id)  # not every program minds
        self._do("pause", "pause", self._id)

    def resume(self) -> None:
        """Let frozen processes go on."""
        state.allow("resume", self.status, self._id)
        self._do("resume", "resume", self._id)

    def update(self, resources: Resources) -> None:
        """Change its limits."""
        self._do("update", "update", "--resources", "-", self._id, data=to_json(resources))

    def checkpoint(self, options: CheckpointOptions) -> None:
        """Write the running container to disk; unless it is left running, the program may have deleted it then."""
        pass_on = (options.status_fd,) if options.status_fd >= 0 else ()
        given = attrs.evolve(options, status_fd=_FIRST_FD) if pass_on else options
        verb = ("checkpoint", *flags(given), self._id)
        self._do("checkpoint", *verb, pass_on=pass_on, timeout=options.timeout)
        if not options.leave_running and not options.pre_dump:
            self._deleted = self._id not in listed(self._runtime.program)
            if self._deleted:
                self._left = self._shim
                self._runtime.forget(self)

    def delete(self, *, force: bool = False) -> None:
        """Remove everything that is there because of it; a running one only by ``force``; again is harmless."""
        if not self._deleted:
            self._delete(force=force)
            self._deleted = True
            self._runtime.forget(self)
        elif self._left is not None:
            remove_held(self._runtime.program, self._id, self._left)
        self._left = None
        self._close()

    def _delete(self, *, force: bool) -> None:
        """Of one with a shim, the program may have forgotten it before the shim was removed."""
        shim = self._shim
        with contextlib.suppress(ContainerNotFound) if shim is not None else contextlib.nullcontext():
            self._do("delete", "delete", *(("--force",) if force else ()), self._id)
        if shim is not None:
            remove_held(self._runtime.program, self._id, shim)

    @functools.cached_property
    def _shim(self) -> Shim | None:
        return None if self._spawned is not None else shim_of(self._runtime.program, self._id)

    def _runs(self) -> bool:
        """Whether the first process is still there, by the program's word."""
        try:
            return self.status != "stopped"
        except ContainerNotFound:
            return False

    def _close(self) -> None:
        if self._spawned is not None:
            self._spawned.wait(self._runtime.program.options.timeout)
            self._spawned.close()
        if self._streams is not None:
            self._streams.close()
        if self._console is not None:
            self._console.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owner == os.getpid():
            self.delete(force=True)

    def __repr__(self) -> str:
        return f"<BinaryContainer {self._id} of {self._runtime.program.path}>"

    def _do(
        self,
        operation: str,
        *verb: str,
        data: bytes | None = None,
        pass_on: tuple[int, ...] = (),
        timeout: float | None = None,
    ) -> bytes:
        try:
            return self._runtime.program.ask(*verb, data=data, pass_on=pass_on, timeout=timeout)
        except Failed as failed:
            self._explain(operation)
            raise error_for(verb[0], self._id, failed) from failed

    def _explain(self, operation: str) -> None:
        """Raise ContainerNotFound or IllegalTransition when that is why an operation failed."""
        found = read_state(self._runtime.program, self._id)
        if operation in state.OPERATIONS:
            state.allow(operation, found.status, self._id)

    def _exec(self, target: Process, streams: Streams) -> Spawned:
        spawned, console = self._begin(target, streams)
        if console is not None:
            with console:
                streams.use_terminal(console.fileno())
        return spawned

    def _begin(self, target: Process, streams: Streams) -> tuple[Spawned, Console | None]:
        program = self._runtime.program
        path = program.scratch("process.json")
        with open(path, "xb") as stream:
            stream.write(to_json(target))
        try:
            with console_socket(program, wanted=bool(target.terminal)) as (flags, take):
                spawned = program.leave(("exec", "--detach", "--process", path, *flags, self._id), streams)
                return spawned, take()
        except Failed as failed:
            self._explain("exec")
            raise error_for("exec", self._id, failed) from failed
        finally:
            os.unlink(path)

    def _process(self, args: Sequence[str] | Process) -> Process:
        if isinstance(args, Process):
            return args
        spec = self._spec or self._runtime.spec_of(self)
        if spec.process is None:
            raise InvalidSpec([Problem("$.process", "the container has none to take the settings from")])
        return attrs.evolve(spec.process, args=tuple(args), terminal=None, console_size=None)

    def _ended(self, timeout: float | None) -> bool:
        """Wait for the first process of a container that we found."""
        pid = self.pid
        try:
            pidfd = os.pidfd_open(pid) if pid else -1
        except ProcessLookupError:
            return True
        if pidfd < 0:
            return True
        try:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            return bool(poller.poll(None if timeout is None else timeout * 1000))
        finally:
            os.close(pidfd)


def read_state(program: Program, container_id: str) -> State:
    """What ``state`` says; ContainerNotFound when ``list`` does not know the container either."""
    try:
        raw = program.ask("state", container_id)
    except Failed as failed:
        if container_id not in listed(program):
            raise ContainerNotFound(f"no container {container_id} in {program.root}") from failed
        raise error_for("state", container_id, failed) from failed
    return _parse_state(raw, container_id)


def listed(program: Program) -> tuple[str, ...]:
    """The IDs that ``list`` knows."""
    raw = _ask_list(program)
    try:
        found = json.loads(raw) or ()
    except ValueError as error:
        raise ContainerError(f"list: expected JSON, got {quote(raw)}") from error
    return tuple(str(item["id"]) for item in found if isinstance(item, dict) and "id" in item)


def _ask_list(program: Program) -> bytes:
    """What ``list`` says. That of runc fails when a container is deleted while it looks: it is asked again then."""
    for _ in range(_LISTS):
        try:
            return program.ask("list", "--format", "json")
        except Failed as failed:
            last = failed
    raise ContainerError(f"list: {quote(last.message, 2000)}") from last


def _parse_state(raw: bytes, container_id: str) -> State:
    try:
        found = parse(State, raw)
    except SpecError as error:
        raise ContainerError(f"state of container {container_id}: {error}") from error
    return attrs.evolve(found, extra=type(found.extra)())
