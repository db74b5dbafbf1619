"""The runtime: makes containers, finds them again, runs programs in new ones."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import os
import secrets
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from typing import TYPE_CHECKING, Self

import attrs

from ociworks._linux.path import remove_tree
from ociworks.errors import (
    ContainerExists,
    ContainerNotFound,
    CreateFailed,
    LauncherError,
    NotSupported,
)
from ociworks.runtime import plan, state
from ociworks.runtime._command import with_command
from ociworks.runtime._hooks import run_started, run_stopped
from ociworks.runtime._host import Host
from ociworks.runtime._making import record_of, request_for
from ociworks.runtime._points import points
from ociworks.runtime._progress import Follower
from ociworks.runtime._root import default_root
from ociworks.runtime._running import Running
from ociworks.runtime.completed import CompletedContainer
from ociworks.runtime.container import Container
from ociworks.runtime.events import Watch
from ociworks.runtime.ids import check_id, new_id
from ociworks.runtime.launcher import Launcher, Spawned
from ociworks.runtime.options import RunOptions
from ociworks.runtime.plan import Plan
from ociworks.runtime.plan.build import IN_SCOPE
from ociworks.runtime.process import check_terminal, finish
from ociworks.runtime.seams import POINTS, HostStep, Seams, Subject, do_steps, undo_steps, with_points
from ociworks.runtime.stdio import Stream, Streams
from ociworks.spec import Bundle, to_json
from ociworks.spec.runtime import Features

if TYPE_CHECKING:
    from ociworks.runtime._shim import Making
    from ociworks.runtime.checkpoint import RestoreOptions
    from ociworks.runtime.console import Console
    from ociworks.runtime.detach import Detach

__all__ = ["Runtime", "default_root"]

_EEXIST = 17
_log = logging.getLogger(__name__)


class Runtime(Running, Seams):
    """Creates and runs containers.

    ``root`` holds one directory per container (default: ``/run/ociworks`` as root, otherwise
    ``$XDG_RUNTIME_DIR/ociworks``).

    The first container starts a helper process; :meth:`close` (or the end of a ``with`` block, or the end of this
    process, however it comes) ends the helper and every container with it.

    With ``systemd_cgroup`` each container is in a scope of systemd, the system's as root and that of the user's manager
    otherwise; ``linux.cgroupsPath`` is then of the form ``slice:prefix:name``.

    A custom runtime is a subclass that overrides methods of :class:`~ociworks.runtime.seams.Seams`.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, *, systemd_cgroup: bool = False) -> None:
        self._systemd_cgroup = systemd_cgroup
        place = os.path.abspath(os.fspath(root)) if root is not None else default_root()
        self._host = Host(place, self if _is_custom(type(self)) else None)

    @property
    def root(self) -> str:
        """The directory that holds one directory per container."""
        return self._host.root

    def at(self, root: str | os.PathLike[str], *, systemd_cgroup: bool = False) -> Self:
        """The same runtime, of the same class and with the same attributes, with another state root.

        ``systemd_cgroup`` puts new containers into scopes of systemd even if this Runtime does not.
        """
        other = copy.copy(self)
        other._systemd_cgroup |= systemd_cgroup  # noqa: SLF001 - it is one of us
        seams = other if self._host.seams is not None else None
        other._host = Host(os.path.abspath(os.fspath(root)), seams)  # noqa: SLF001 - it is one of us
        return other

    def use_launcher(self, start: Callable[[], Launcher]) -> None:
        """Get the helper process from ``start`` when it is first needed, or needed again."""
        self._host.start_launcher = start

    def plan(self, bundle: Bundle, container_id: str = "plan") -> Plan:
        """What :meth:`create` would do, as data. Raises what create raises before anything exists."""
        return self._plan(bundle, check_id(container_id))

    def _plan(
        self,
        bundle: Bundle,
        container_id: str,
        *,
        wait: bool = True,
        detached: bool = False,
        options: RunOptions | None = None,
    ) -> Plan:
        build = functools.partial(
            plan.build,
            wait=wait,
            detached=detached,
            hierarchies=self._host.hierarchies,
            systemd_cgroup=self._systemd_cgroup,
            options=options or RunOptions(),
        )
        if self._host.seams is None:
            return build(bundle, container_id)
        edited = self.edit_spec(bundle, container_id)
        first = edited.spec.process
        if first is not None and (process := self.edit_process(first, edited.spec)) is not first:
            edited = edited.replace(attrs.evolve(edited.spec, process=process))
        planned = build(edited, container_id)
        planned = self.edit_plan(with_points(planned, self._steps(planned)))
        self._host.tell("planned", container_id)
        return planned

    def _steps(self, planned: Plan) -> Sequence[HostStep]:
        return self.host_steps(self._subject(planned)) if self._host.seams is not None else ()

    def _subject(self, planned: Plan, pid: int = 0) -> Subject:
        return Subject(
            container_id=planned.container_id,
            bundle=planned.bundle,
            spec=planned.spec,
            directory=os.path.join(self.root, planned.container_id),
            pid=pid,
        )

    def create(  # noqa: PLR0913 - the keywords of subprocess.Popen
        self,
        container_id: str,
        bundle: Bundle,
        args: Sequence[str] | None = None,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        detach: bool | Detach = False,
        options: RunOptions | None = None,
    ) -> Container:
        """Make a container, ready to be started, of ``args`` (None: the configuration's own).

        The streams are as :class:`subprocess.Popen` has them. With a :class:`Detach` the container outlives this
        Runtime and its process, held by a shim that reads its output, serves :meth:`Container.attach` and keeps the
        exit status; the streams are the shim's. With ``detach=True`` it outlives them with nobody to look after it:
        when the Runtime is closed, the nearest subreaper adopts it (prctl(2), PR_SET_CHILD_SUBREAPER).

        Raises ContainerExists, InvalidSpec, NotSupported, CgroupError, CreateFailed; nothing is left behind then.
        """
        changed = bundle if args is None else with_command(bundle, args, None)
        planned = self._plan(changed, check_id(container_id), detached=detach is True, options=options)
        if not isinstance(detach, bool):
            _check_no_streams(stdin, stdout, stderr)
            if planned.passed:
                raise NotSupported("pass_fds: a container with a shim has its standard streams only")
            return self._create_held(planned, detach)
        return self._create_from(planned, Streams(stdin, stdout, stderr), detach=detach)

    def create_from(
        self, planned: Plan, *, stdin: Stream = None, stdout: Stream = None, stderr: Stream = None
    ) -> Container:
        """Make a container by a plan of :meth:`plan`, as it is or edited; otherwise like :meth:`create`.

        The plan must keep its ``wait_start``: without it the program would be executed before ``start``.
        """
        return self._create_from(planned, Streams(stdin, stdout, stderr), detach=False)

    def _create_from(self, planned: Plan, streams: Streams, *, detach: bool) -> Container:
        try:
            container = self._create(planned, streams, detach=detach)
        except BaseException:
            streams.close()
            raise
        streams.started()
        if not detach:
            self._host.containers[container.id] = container
        self._host.tell("created", container.id, container.pid)
        return container

    def restore(
        self,
        container_id: str,
        bundle: Bundle,
        options: RestoreOptions,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        detach: bool | Detach = False,
    ) -> Container:
        """Make a running container of what :meth:`Container.checkpoint` wrote, through criu.

        The bundle is that of the checkpoint; its root filesystem must be as it was then. ``detach`` and the streams are
        as :meth:`create` has them. A terminal is another one than before, :attr:`Container.console`, or the shim's.

        Raises ContainerExists, CheckpointFailed, NotSupported, MissingDependency; nothing is left behind then.
        """
        from ociworks.runtime.netdevices import without_devices

        planned = self._plan(without_devices(bundle), check_id(container_id), detached=detach is True)
        if self._steps(planned):
            raise NotSupported("restore: criu does not stop where this runtime's host steps would be done")
        if isinstance(detach, bool):
            container = self._restore(planned, options, Streams(stdin, stdout, stderr), detach=detach)
        else:
            from ociworks.runtime._criu.held import restore_held

            _check_no_streams(stdin, stdout, stderr)
            container = Container(
                self._host, restore_held(self._host, planned, options, detach), planned.spec
            )
        self._host.tell("restored", container_id, container.pid)
        return container

    def _restore(
        self, planned: Plan, options: RestoreOptions, streams: Streams, *, detach: bool
    ) -> Container:
        from ociworks.runtime._criu.running import restore

        try:
            spawned, console = restore(self._host, planned, options, streams, detach=detach)
            record = self._saved(planned, spawned, console)
        except BaseException:
            streams.close()
            raise
        streams.started()
        ours = None if detach else spawned
        container = Container(self._host, record, planned.spec, ours, streams=streams, console=console)
        if detach:
            spawned.close()
        else:
            self._host.containers[planned.container_id] = container
        return container

    def _saved(self, planned: Plan, spawned: Spawned, console: Console | None) -> state.Record:
        """Write down what was restored; what cannot be written down is ended and removed."""
        try:
            record = record_of(planned, spawned.pid)
            self._host.save(record, to_json(planned.spec))
        except BaseException:
            spawned.kill()
            spawned.close()
            if console is not None:
                console.close()
            self._sweep(planned)
            self._host.leave(planned)
            raise
        return record

    def _run(
        self,
        bundle: Bundle,
        streams: Streams,
        data: bytes | None,
        timeout: float | None,
        options: RunOptions | None,
    ) -> CompletedContainer:
        planned = self._plan(bundle, new_id(), wait=False, options=options)
        if planned.spec.process is not None:
            check_terminal(planned.spec.process, captured=streams.stdout is not None)
        begun: list[HostStep] = []
        try:
            spawned = self._listed(planned, streams.child) or self._spawn(
                planned, streams.child, ephemeral=True
            )
            streams.started()
            command = planned.spec.process.args if planned.spec.process else ()
            try:
                self._follower(spawned, planned, begun).run_on(streams)
                self._host.tell("started", planned.container_id, spawned.pid)
                run_started(planned.spec, planned.container_id, planned.bundle, spawned.pid)
                done = finish(spawned, streams, command, data, timeout)
            except LauncherError:
                self._sweep(planned)
                raise
            finally:
                spawned.end()
                self._poststop(planned)
        finally:
            streams.close()
            self._host.leave(planned)
            undo_steps(begun, self._subject(planned))
        if self._host.watched:
            self._host.tell("exited", planned.container_id, spawned.pid, done.returncode)
            self._host.tell("deleted", planned.container_id)
        return attrs.evolve(done, container_id=planned.container_id)

    def get(self, container_id: str) -> Container:
        """A container by its ID, also one of another process. ContainerNotFound when there is none."""
        check_id(container_id)
        known = self._host.containers.get(container_id)
        if known is not None:
            return known
        return Container(self._host, state.load(self.root, container_id))

    def list(self) -> tuple[Container, ...]:
        """Every container below ``root``, by ID."""
        try:
            names = sorted(name for name in os.listdir(self.root) if not name.startswith("@"))
        except FileNotFoundError:
            return ()
        found = []
        for name in names:
            with contextlib.suppress(ContainerNotFound):
                found.append(self.get(name))
        return tuple(found)

    def features(self) -> Features:
        """What this runtime can do (runtime-spec features.md); about the code, not about this host."""
        from ociworks.runtime.features import features

        return features()

    def events(self) -> Watch:
        """What happens to the containers of this Runtime from now on, in order; ends of those that it created too.

        ::

            with runtime.events() as watch:
                for event in watch:
                    print(event.kind, event.container_id)
        """
        watch = Watch(self._host.containers, self._unwatch)
        self._host.watches = (*self._host.watches, watch)
        return watch

    def _unwatch(self, watch: Watch) -> None:
        self._host.watches = tuple(other for other in self._host.watches if other is not watch)

    @contextlib.contextmanager
    def scratch(self, directory: str | None = None) -> Iterator[str]:
        """A private directory (below ``directory``, default ``root``), removed at the end, even after kill -9."""
        name = f"@{secrets.token_hex(8)}"
        path = os.path.join(directory or self._host.directory(), name)
        launcher = self._host.launcher()
        launcher.scratch(name, path)
        try:
            yield path
        finally:
            if not self._host.remove(name):
                remove_tree(path)

    def close(self) -> None:
        """End the helper and every container of this Runtime; again is harmless."""
        self._host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spawn(
        self, planned: Plan, streams: tuple[int, ...], *, ephemeral: bool, making: Making | None = None
    ) -> Spawned:
        request = request_for(
            planned,
            os.path.join(self._host.directory(), planned.container_id),
            ephemeral=ephemeral,
            shim=making.settings(record_of(planned, 0)) if making is not None else None,
        )
        self._host.hold(planned)
        try:
            spawned = self._host.launcher().spawn(request, streams, passed=planned.passed)
        except CreateFailed as error:
            if not ephemeral:
                self._host.leave(planned)
            if error.errno == _EEXIST and error.path == request.claim:
                raise ContainerExists(
                    f"container {planned.container_id} exists already in {self.root}"
                ) from error
            raise
        self._host.tell("spawned", planned.container_id, spawned.pid)
        return spawned

    def _listed(self, planned: Plan, streams: tuple[int, ...]) -> Spawned | None:
        """A process that executes its program by now, through a list of system calls; None where it takes more."""
        lists = self._host.lists()
        if lists is None:
            return None
        directory = os.path.join(self._host.directory(), planned.container_id)
        request = request_for(planned, directory, ephemeral=True)
        found, key = lists.find(request, streams)
        if not found:
            return None
        spawned = None
        try:
            spawned = self._host.launcher().spawn(lists.applied(request, found), streams)
            Follower(spawned).until_waiting()
        except BaseException as error:
            if spawned is not None:
                spawned.end()
            if not lists.gave_up(error, key):
                raise
            return None
        self._host.tell("spawned", planned.container_id, spawned.pid)
        return spawned

    def _follower(self, spawned: Spawned, planned: Plan, begun: MutableSequence[HostStep]) -> Follower:
        actions = dict(points(planned.spec, planned.container_id, planned.bundle, spawned.pid))
        if (scope := planned.cgroup.scope) is not None:
            moved = spawned.pid if scope.user else 0
            actions[IN_SCOPE] = lambda: self._host.let_go(planned.container_id, scope.key, moved)
        for step in (steps := self._steps(planned)):
            subject = self._subject(planned, spawned.pid)
            actions[POINTS[step.at]] = functools.partial(do_steps, steps, step.at, subject, begun)
        return Follower(spawned, actions)

    def _poststop(self, planned: Plan) -> None:
        run_stopped(planned.spec, planned.container_id, planned.bundle, _log.warning)

    def _sweep(self, planned: Plan) -> None:
        group, resctrl = planned.cgroup, planned.resctrl.remove if planned.resctrl is not None else ()
        self._host.sweep(planned.container_id, group.directories, group.shared, resctrl)

    def _create(self, planned: Plan, streams: Streams, *, detach: bool) -> Container:
        spawned = self._spawn(planned, streams.child, ephemeral=False)
        begun: list[HostStep] = []
        try:
            follower = self._follower(spawned, planned, begun)
            record = self._until_created(follower, planned, spawned.pid)
            if detach:
                self._host.launcher().release(planned.container_id)
        except BaseException:
            if not self._host.remove(planned.container_id):
                self._sweep(planned)
            spawned.close()
            self._host.leave(planned)
            undo_steps(begun, self._subject(planned))
            self._poststop(planned)
            raise
        if detach:
            spawned.close()
            return Container(self._host, record, planned.spec, None, follower, streams)
        return Container(self._host, record, planned.spec, spawned, follower, streams)

    def _create_held(self, planned: Plan, options: Detach) -> Container:
        """Create a container whose first process is a shim's child, not our launcher's."""
        from ociworks.runtime._shim import Making

        spawned, begun = None, list[HostStep]()
        with Making(self._host, planned, options) as making:
            try:
                spawned = self._spawn(planned, making.fds, ephemeral=False, making=making)
                follower = self._follower(spawned, planned, begun)
                record = self._until_created(follower, planned, spawned.pid)
                making.keep(spawned, follower.console)
            except BaseException:
                making.undo(spawned)
                self._host.leave(planned)
                undo_steps(begun, self._subject(planned))
                self._poststop(planned)
                raise
            finally:
                if spawned is not None:
                    spawned.close()
        self._host.tell("created", planned.container_id, record.pid)
        return Container(self._host, record, planned.spec)

    def _until_created(self, follower: Follower, planned: Plan, pid: int) -> state.Record:
        """Follow an init until it waits to be started, and write down that it does."""
        try:
            if not follower.until_waiting():
                raise CreateFailed("the first process ended before it was ready", step="init")
            record = record_of(planned, pid)
            self._host.save(record, to_json(planned.spec))
        except BaseException:
            if follower.console is not None:
                follower.console.close()
            raise
        return record


def _check_no_streams(*streams: Stream) -> None:
    if any(stream is not None for stream in streams):
        raise ValueError("a container with a shim has the streams of its Detach options")


def _is_custom(kind: type[Runtime]) -> bool:
    """Whether a seam is overridden; if none is, nobody needs to be asked."""
    names = (name for name in vars(Seams) if not name.startswith("_"))
    return any(getattr(kind, name) is not getattr(Seams, name) for name in names)
