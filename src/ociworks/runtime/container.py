"""One container: start it, look at it, run more in it, end it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

import attrs

from ociworks._linux.numbers import CLONE_NEWUSER
from ociworks.errors import (
    CgroupError,
    CommandFailed,
    ContainerError,
    ContainerNotFound,
    ContainerTimeout,
    CreateFailed,
    NotSupported,
)
from ociworks.runtime import _ending, cgroups, state
from ociworks.runtime._alike import Alike
from ociworks.runtime._first import FirstProcess
from ociworks.runtime._gate import open_gate
from ociworks.runtime._hooks import run_started, run_stopped
from ociworks.runtime._host import Host
from ociworks.runtime._init import resctrl
from ociworks.runtime._progress import Follower, failure
from ociworks.runtime.completed import CompletedContainer
from ociworks.runtime.execs import ExecOptions
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.process import ContainerProcess, check_terminal
from ociworks.runtime.seams import Subject, undo_steps
from ociworks.runtime.stdio import DEVNULL, PIPE, Stream, Streams
from ociworks.spec import FrozenDict, to_json
from ociworks.spec.runtime import Linux, Process, Resources, Spec, State
from ociworks.spec.signals import signal_number

if TYPE_CHECKING:
    from ociworks.runtime._further import Further
    from ociworks.runtime._shim import Shim
    from ociworks.runtime.checkpoint import CheckpointOptions
    from ociworks.runtime.console import Console

__all__ = ["Container"]

_KILL_TIMEOUT = 10.0
_AS_USUAL = ExecOptions()
_log = logging.getLogger(__name__)


class Container(Alike):
    """A container of a :class:`Runtime`. As a context manager it is deleted, by force, at the end.

    Made by :meth:`Runtime.create`, found again by :meth:`Runtime.get`. One found in another process cannot report an
    exit status: only the parent of a process is told.
    """

    def __init__(
        self,
        host: Host,
        record: state.Record,
        spec: Spec | None = None,
        spawned: Spawned | None = None,
        follower: Follower | None = None,
        streams: Streams | None = None,
        console: Console | None = None,
    ) -> None:
        self._host = host
        self._record = record
        self._spec = spec
        self._spawned = spawned
        self._first = FirstProcess(record, spawned)
        self._follower = follower
        self._console = console
        self._lock = threading.RLock()
        self._streams = streams
        self._deleted = False
        self._end_told = False
        self._owner = os.getpid()

    @property
    def id(self) -> str:
        """The container's ID."""
        return self._record.id

    @property
    def pid(self) -> int:
        """The pid of its first process on the host; 0 when it has ended."""
        return self._record.pid if self.status != "stopped" else 0

    @property
    def watched(self) -> bool:
        """Whether its end is still to come, or has not been reported yet; only where it was created."""
        return self._spawned is not None and self._spawned.pidfd >= 0 and not self._end_told

    @property
    def pidfd(self) -> int:
        """The pidfd of its first process, to wait for its end with poll; -1 where it was not created."""
        return self._spawned.pidfd if self._spawned is not None else -1

    @property
    def bundle(self) -> str:
        """The path of its bundle."""
        return self._record.bundle

    @property
    def spec(self) -> Spec:
        """Its configuration. ContainerError when its file was damaged."""
        if self._spec is None:
            self._spec = state.load_config(self._host.root, self.id)
        return self._spec

    @property
    def console(self) -> Console | None:
        """Its terminal, when the configuration has one; only in the process that created it."""
        return self._follower.console if self._follower is not None else self._console

    @property
    def status(self) -> str:
        """``created``, ``running``, ``paused`` or ``stopped`` (runtime-spec runtime.md, State)."""
        if self._deleted or not self._first.alive():
            return "stopped"
        return state.status_of_living(self._host.root, self._record)

    def state(self) -> State:
        """The state as the specification has it (runtime-spec runtime.md, State); ``paused`` is an extension."""
        return State(
            oci_version=self._record.oci_version,
            id=self.id,
            status=self.status,
            pid=self.pid,
            bundle=self.bundle,
            annotations=FrozenDict(self._record.annotations),
        )

    def start(self) -> None:
        """Let the program run; whoever found the container may do it.

        Raises CommandNotFound or CreateFailed when it cannot; the container is then stopped.
        """
        with state.Lock(self._host.root, self.id):
            state.allow("start", self.status, self.id)
            try:
                failed = open_gate(self._host.root, self._record)
            except OSError as error:
                raise ContainerError(f"container {self.id} cannot be started: {error.strerror}") from error
        if failed:
            raise failure(failed)
        self._host.tell("started", self.id, self._record.pid)
        self._poststart()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit status, or the negative number of the signal.

        Raises ContainerTimeout after ``timeout`` seconds; the container goes on.
        """
        if self._spawned is not None:
            status = self._spawned.wait(timeout)
            if status is None:
                raise ContainerTimeout(f"container {self.id} is still {self.status}", timeout=timeout or 0.0)
            self._tell_end(status)
            return status
        if self._shim is not None:
            return self._shim.wait(timeout, functools.partial(state.is_alive, self._record))
        status = self._first.wait_foreign(timeout, reap=True)
        if status is None:
            raise ContainerError(
                f"container {self.id} has ended; only the parent of a process learns its status"
            )
        return status

    def kill(self, signum: int | str = "TERM", *, all: bool = False) -> None:
        """Send a signal (number, ``TERM`` or ``SIGTERM``) to the first process, or to ``all`` in the control group."""
        number = signal_number(str(signum))
        state.allow("kill", self.status, self.id)
        if all:
            self._kill_all(number)
            return
        with self._first.pidfd() as pidfd:
            _ending.signal_first(self._record, pidfd, number)

    def exec(
        self,
        args: Sequence[str] | Process,
        *,
        capture_output: bool = True,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        stdin: Stream = DEVNULL,
        options: ExecOptions | None = None,
    ) -> CompletedContainer:
        """Run a further program to its end, as the container's user, as ``options`` say, or as a whole Process says.

        With a terminal, which must be captured, ``stdout`` is all that was written to it and ``input`` what is typed.

        Raises ContainerTimeout after ``timeout`` seconds (the program is killed), CommandNotFound, InvalidSpec,
        NotSupported, CreateFailed, and with ``check`` CommandFailed.
        """
        target = self._further.process(args, options)
        check_terminal(target, captured=capture_output)
        output = PIPE if capture_output else None
        streams = Streams(PIPE if input is not None else stdin, output, output)
        with self._further.begin(target, streams, options) as running:
            done = running.communicate(input, timeout)
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
        options: ExecOptions | None = None,
    ) -> ContainerProcess:
        """Begin a further program and return when it runs; the streams are as :class:`subprocess.Popen` has them.

        With a terminal the streams are not used: :attr:`ContainerProcess.console` takes their place. It ends with the
        launcher of this Runtime, and so with this process, unless ``options`` say that it outlives us: then the nearest
        subreaper adopts it, and what it writes goes where its streams go. Raises as :meth:`exec`.
        """
        target = self._further.process(args, options)
        if target.terminal:
            stdin = stdout = stderr = DEVNULL
        running = self._further.begin(target, Streams(stdin, stdout, stderr), options)
        if options is not None and options.detach:
            try:
                running.let_go()
            except BaseException:
                running.end()
                raise
        return running

    def stats(self) -> cgroups.ContainerStats:
        """What its control groups count. Raises CgroupError when it has none."""
        return cgroups.stats(self._record.cgroups)

    def update(self, resources: Resources) -> None:
        """Change limits while it runs: what ``resources`` names, all of it or nothing; the rest stays.

        Devices are replaced as a whole. The new limits are in :attr:`spec`, here and for other processes.

        Raises NotSupported and CgroupError.
        """
        with self._lock, state.Lock(self._host.root, self.id):
            state.allow("update", self.status, self.id)
            spec = state.load_config(self._host.root, self.id)
            linux = spec.linux or Linux()
            before = linux.resources or Resources()
            if resources.devices and self._record.kinds & CLONE_NEWUSER:
                raise NotSupported("update: a container in a user namespace has no device filter to change")
            cgroups.update(
                cgroups.detect(), self._record.cgroups, resources, before, scope=self._record.scope
            )
            linux = attrs.evolve(linux, resources=cgroups.merge(before, resources))
            self._spec = attrs.evolve(spec, linux=linux)
            state.save_config(self._host.root, self.id, to_json(self._spec))

    def update_rdt(self, *, l3_cache_schema: str = "", mem_bw_schema: str = "") -> None:
        """Change its share of cache or memory bandwidth (runtime-spec config-linux.md, IntelRdt) while it runs.

        A container that had none gets a group of its own. Raises NotSupported where resctrl does not offer it, OSError
        for a schema that the kernel refuses.
        """
        from ociworks.runtime import _schemata

        with self._lock, state.Lock(self._host.root, self.id):
            state.allow("update", self.status, self.id)
            spec = state.load_config(self._host.root, self.id)
            linux = spec.linux or Linux()
            rdt = _schemata.update(
                self._record, linux.intel_rdt, l3_cache_schema, mem_bw_schema, self.processes()
            )
            self._spec = attrs.evolve(spec, linux=attrs.evolve(linux, intel_rdt=rdt))
            state.save(self._host.root, self._record, to_json(self._spec))

    def events(self, pressure: cgroups.PressureTrigger | None = None) -> cgroups.GroupWatch:
        """What happens to it from now on: out of memory, killed for it, stopped; with a trigger, memory pressure.

        Iterate over it, or poll its ``fileno()`` and ``read(0)``; close it, unless ``stopped`` came. No thread is used.
        Raises IllegalTransition when it has ended already, NotSupported where pressure is not measured.
        """
        state.allow("events", self.status, self.id)
        with self._first.pidfd() as pidfd:
            own = fcntl.fcntl(pidfd, fcntl.F_DUPFD_CLOEXEC, 3)
        return cgroups.GroupWatch(self._record.cgroups, own, container_id=self.id, pressure=pressure)

    def processes(self) -> tuple[int, ...]:
        """The pids of all its processes on the host."""
        state.allow("processes", self.status, self.id)
        if not self._record.cgroups:
            return (self._record.pid,)
        return cgroups.processes(self._record.cgroups)

    def pause(self) -> None:
        """Freeze every process; a created container can be started when it was resumed."""
        state.allow("pause", self.status, self.id)
        cgroups.freeze(self._record.cgroups)
        self._host.tell("paused", self.id, self._record.pid)

    def resume(self) -> None:
        """Let frozen processes go on."""
        state.allow("resume", self.status, self.id)
        cgroups.thaw(self._record.cgroups)
        self._host.tell("resumed", self.id, self._record.pid)

    def checkpoint(self, options: CheckpointOptions) -> None:
        """Write the running container to disk, through criu; unless it is left running, it is stopped then.

        Raises CheckpointFailed, NotSupported, MissingDependency, IllegalTransition.
        """
        from ociworks.runtime._criu.running import dump

        with state.Lock(self._host.root, self.id):
            state.allow("checkpoint", self.status, self.id)
            dump(self._host, self._record, self.spec, options)
        self._host.tell("checkpointed", self.id, self._record.pid)

    def delete(self, *, force: bool = False) -> None:
        """Remove everything that is there because of it; a running one only by ``force``; again is harmless."""
        with self._lock:
            if self._deleted:
                return
            if not force:
                state.allow("delete", self.status, self.id)
            undo = self._undoing()
            self._remove()
            self._deleted = True
            self._host.containers.pop(self.id, None)
            if self._spawned is not None:
                if self._host.watched and (status := self._spawned.wait(0)) is not None:
                    self._tell_end(status)
                self._spawned.close()
            if self._streams is not None:
                self._streams.close()
            if self.console is not None:
                self.console.close()
        undo()
        self._host.tell("deleted", self.id)
        self._poststop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owner == os.getpid():  # a fork that leaves the block does not end its parent's container
            self.delete(force=True)

    def __repr__(self) -> str:
        return f"<Container {self.id} {self.status}>"

    def _end(self) -> None:
        try:
            self.kill("KILL")
        except (ContainerError, ProcessLookupError):
            if self.status != "stopped":  # it did not end by itself meanwhile
                raise
        self._first.wait_foreign(_KILL_TIMEOUT, reap=False)

    def _remove(self) -> None:
        if self._shim is not None:
            self._remove_held(self._shim)
        elif self._spawned is None or not self._host.remove(self.id):
            if self.status != "stopped":
                self._end()
            self._sweep()
        if self._record.resctrl:
            resctrl.remove(
                self._record.resctrl
            )  # one that came by an update is not known to who removed the rest
        self._host.leave_scope(self.id, self._record.scope, self._record.cgroups)

    def _remove_held(self, shim: Shim) -> None:
        """Of those that delete at once, one does it; while it is still being created, all wait."""
        with contextlib.suppress(ContainerNotFound), state.Lock(self._host.root, self.id):
            shim.leave()
            _ending.kill(self._record)
            self._sweep()

    def _sweep(self) -> None:
        """Remove what its first process left."""
        record = self._record
        if not record.pid:  # its creation was cut short: all in its groups died with its shim: they are empty
            self._host.remove_empty(record.cgroups)
        self._host.sweep(self.id, state.own_groups(record), record.shared_cgroups, record.resctrl)

    @functools.cached_property
    def _shim(self) -> Shim | None:
        """The shim that holds it; a container of this process, or a detached one without, has none."""
        if self._spawned is not None or not state.has(self._host.root, self.id, "shim.json"):
            return None
        from ociworks.runtime._shim import Shim

        return Shim(self._host.root, self.id)

    @functools.cached_property
    def _further(self) -> Further:
        """Imported when it is needed: to create and delete, it is not."""
        from ociworks.runtime._further import Further

        return Further(self, self._host, self._record, self._first)

    def _kill_all(self, number: int) -> None:
        if number == signal.SIGKILL and self._record.cgroups:
            cgroups.kill(self._record.cgroups)
            return
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _tell_end(self, status: int) -> None:
        """Report the end, once."""
        if self._host.watched and not self._end_told:
            self._end_told = True
            self._host.tell("exited", self.id, self._record.pid, status, oom=self._out_of_memory())

    def _out_of_memory(self) -> bool | None:
        try:
            memory = cgroups.stats(self._record.cgroups).memory if self._record.cgroups else None
        except CgroupError:
            return None
        return None if memory is None else memory.oom_kills > 0

    def _undoing(self) -> Callable[[], None]:
        """What undoes the host steps, made while the configuration can still be read."""
        seams = self._host.seams
        if seams is None:
            return lambda: None
        subject = Subject(
            container_id=self.id,
            bundle=self.bundle,
            spec=self.spec,
            directory=os.path.join(self._host.root, self.id),
        )
        return functools.partial(undo_steps, seams.host_steps(subject), subject)

    def _poststart(self) -> None:
        """A failing one stops the container (runtime-spec runtime.md, Lifecycle, 9)."""
        if "poststart" not in self._record.hooks:
            return
        try:
            run_started(self.spec, self.id, self.bundle, self._record.pid)
        except CreateFailed:
            with contextlib.suppress(ContainerError):
                self.kill("KILL")
            raise

    def _poststop(self) -> None:
        if "poststop" in self._record.hooks:
            run_stopped(self.spec, self.id, self.bundle, _log.warning)
