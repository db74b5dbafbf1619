"""`RuntimeBinary`: any program with runc's command line as a runtime."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from typing import Final, Self

import attrs

from ociworks.errors import (
    ContainerError,
    ContainerExists,
    ContainerNotFound,
    CreateFailed,
    NotSupported,
    SpecError,
    quote,
)
from ociworks.runtime import state
from ociworks.runtime._command import with_command
from ociworks.runtime._running import Running
from ociworks.runtime.binary.command import BinaryOptions, Failed, Program, console_socket, error_for
from ociworks.runtime.binary.container import BinaryContainer, listed, read_state
from ociworks.runtime.binary.held import Verb, create_held, shims_root
from ociworks.runtime.checkpoint import RestoreOptions, flags
from ociworks.runtime.completed import CompletedContainer
from ociworks.runtime.detach import FILE, Detach, load
from ociworks.runtime.ids import check_id, new_id
from ociworks.runtime.options import RunOptions
from ociworks.runtime.process import check_terminal, finish
from ociworks.runtime.stdio import Stream, Streams
from ociworks.spec import Bundle, parse
from ociworks.spec.runtime import Features, Mount, Root, Spec

__all__ = ["RuntimeBinary"]

_NOT_ALONE: Final = "detach: a container of another program outlives us with Detach options only"


class RuntimeBinary(Running):
    """A runtime that is a program with runc's command line: runc, crun, runsc, kata-runtime, ociworks-runtime.

    ``root`` is its state directory (default: ``/run/`` and the program's name). The first call starts a helper process,
    the parent of the containers; :meth:`close`, or the end of this process, however it comes, deletes them, but those
    that were created with a :class:`Detach`.

    Raises MissingDependency when there is no such program.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        *,
        options: BinaryOptions | None = None,
    ) -> None:
        name = os.path.basename(os.fspath(path))
        place = os.path.abspath(os.fspath(root)) if root is not None else f"/run/{name}"
        self.program = Program(os.fspath(path), place, options or BinaryOptions())
        self._containers: dict[str, BinaryContainer] = {}
        self._bundles: dict[str, tuple[str, str]] = {}
        """Of containers whose bundle we wrote: the one that was given, and ours."""

    @property
    def root(self) -> str:
        """The state directory of the program."""
        return self.program.root

    def create(
        self,
        container_id: str,
        bundle: Bundle,
        args: Sequence[str] | None = None,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        detach: bool | Detach = False,
    ) -> BinaryContainer:
        """Make a container, ready to be started, as :meth:`Runtime.create`.

        A configuration that differs from the bundle's config.json is written into a bundle of our own. With a
        :class:`Detach` a shim holds the container, like one of ours; its files are in ``<root>@shims``.

        Raises ContainerExists, CreateFailed, CommandNotFound, ContainerTimeout.
        """
        check_id(container_id)
        changed = bundle if args is None else with_command(bundle, args, None)
        if detach is True:
            raise NotSupported(_NOT_ALONE)
        if detach:
            return self._create_held(container_id, changed, (stdin, stdout, stderr), detach)
        streams = Streams(stdin, stdout, stderr)
        try:
            return self._create(container_id, changed, streams)
        except BaseException:
            streams.close()
            raise

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
    ) -> BinaryContainer:
        """Make a running container of what :meth:`BinaryContainer.checkpoint` wrote, as :meth:`Runtime.restore`.

        Without a ``timeout`` of its own it may take as long as other verbs, or as the :class:`Detach` says.

        Raises ContainerExists, CheckpointFailed, ContainerTimeout; NotSupported, before anything is done, for options
        that other programs do not have.
        """
        check_id(container_id)
        verb = ("restore", "--detach", *flags(options))
        if detach is True:
            raise NotSupported(_NOT_ALONE)
        if detach:
            given = (stdin, stdout, stderr)
            return self._create_held(container_id, bundle, given, detach, verb, options.timeout)
        streams = Streams(stdin, stdout, stderr)
        try:
            return self._create(container_id, bundle, streams, verb, options.timeout)
        except BaseException:
            streams.close()
            raise

    def _run(
        self,
        bundle: Bundle,
        streams: Streams,
        data: bytes | None,
        timeout: float | None,
        options: RunOptions | None,
    ) -> CompletedContainer:
        """By create, start and delete: of ``run`` nobody could tell the runtime's failures from the program's."""
        changed = _with_options(bundle, options)
        process = changed.spec.process
        if process is not None:
            check_terminal(process, captured=streams.stdout is not None)
        with self._create(new_id(), changed, streams) as container:
            if container.console is not None:
                streams.use_terminal(container.console.fileno())
            container.start()
            spawned = container.spawned
            done = finish(spawned, streams, process.args if process else (), data, timeout)
            return attrs.evolve(done, container_id=container.id)

    def get(self, container_id: str) -> BinaryContainer:
        """A container by its ID, also one of another process. ContainerNotFound when there is none."""
        check_id(container_id)
        known = self._containers.get(container_id)
        if known is not None:
            return known
        if not state.has(shims_root(self.program), container_id, FILE):
            read_state(self.program, container_id)
        return BinaryContainer(self, container_id)

    def list(self) -> tuple[BinaryContainer, ...]:
        """Every container that the program knows, by ID."""
        return tuple(
            self._containers.get(name) or BinaryContainer(self, name) for name in sorted(listed(self.program))
        )

    def features(self) -> Features:
        """What the program says it can do. NotSupported when it cannot say (runc before 1.1)."""
        try:
            return parse(Features, self.program.ask("features"))
        except Failed as failed:
            raise NotSupported(f"{self.program.path} features: {quote(failed.message, 2000)}") from failed
        except SpecError as error:
            raise ContainerError(f"{self.program.path} features: {error}") from error

    def close(self) -> None:
        """Delete every container that was created here, and end the helper; again is harmless."""
        try:
            for container in tuple(self._containers.values()):
                container.__exit__()
        finally:
            self._containers.clear()
            self.program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bundle_of(self, container_id: str) -> str:
        """The bundle that the caller gave, when we wrote another one for it; empty otherwise."""
        if container_id in self._bundles:
            return self._bundles[container_id][0]
        saved = load(shims_root(self.program), container_id)
        return saved.bundle if saved is not None else ""

    def spec_of(self, container: BinaryContainer) -> Spec:
        """The configuration of a container that was found."""
        return Bundle.load(read_state(self.program, container.id).bundle).spec

    def forget(self, container: BinaryContainer) -> None:
        """A container is gone."""
        self._containers.pop(container.id, None)
        _, ours = self._bundles.pop(container.id, ("", ""))
        if ours:
            shutil.rmtree(ours, ignore_errors=True)
        self.program.reaper().forget(container.id)

    def _create(
        self,
        container_id: str,
        bundle: Bundle,
        streams: Streams,
        verb: Sequence[str] = ("create",),
        timeout: float | None = None,
    ) -> BinaryContainer:
        program = self.program
        directory = self._written(bundle)
        process = bundle.spec.process
        terminal = process is not None and bool(process.terminal)
        try:
            with console_socket(program, wanted=terminal) as (more, take):
                command = (*verb, "--bundle", directory, *more, container_id)
                spawned = program.leave(command, streams, timeout)
                console = take()
        except Failed as failed:
            _discard(directory, bundle)
            self._explain(container_id, failed)
            raise error_for(verb[0], container_id, failed) from failed
        program.reaper().trust(container_id, program.argv("delete", "--force", container_id))
        container = BinaryContainer(
            self, container_id, spawned=spawned, spec=bundle.spec, streams=streams, console=console
        )
        self._containers[container_id] = container
        if directory != os.fspath(bundle.path):
            self._bundles[container_id] = (os.fspath(bundle.path), directory)
        return container

    def _create_held(
        self,
        container_id: str,
        bundle: Bundle,
        streams: tuple[Stream, ...],
        options: Detach,
        verb: Sequence[str] = ("create",),
        timeout: float | None = None,
    ) -> BinaryContainer:
        if streams != (None, None, None):
            raise ValueError("a container with a shim has the streams of its Detach options")
        spec = bundle.spec if _is_written(bundle) else _absolute(bundle)
        patience = options.start_timeout if timeout is None else timeout
        create_held(self.program, container_id, bundle, spec, options, Verb(tuple(verb), patience))
        return BinaryContainer(self, container_id, spec=bundle.spec)

    def _explain(self, container_id: str, failed: Failed) -> None:
        """Raise ContainerExists when that is why nothing was created: a failed creation leaves no container."""
        with contextlib.suppress(ContainerNotFound):
            read_state(self.program, container_id)
            raise ContainerExists(f"container {container_id} exists already in {self.root}") from failed

    def _written(self, bundle: Bundle) -> str:
        """The bundle's directory if its config.json says the same, otherwise one of our own that does."""
        if _is_written(bundle):
            return os.fspath(bundle.path)
        path = self.program.scratch("bundle")
        Bundle.create(path, _absolute(bundle))
        return path


def _with_options(bundle: Bundle, options: RunOptions | None) -> Bundle:
    """The bundle with the filter of the options; the program's command line is not told the others here."""
    if options is None:
        return bundle
    if options != RunOptions(seccomp=options.seccomp):
        raise NotSupported("options: another program is given seccomp only; use BinaryOptions, or a Runtime")
    return bundle.replace(options.apply(bundle.spec))


def _is_written(bundle: Bundle) -> bool:
    """Whether its config.json says the same."""
    try:
        return Bundle.load(bundle.path).spec == bundle.spec
    except (SpecError, OSError):
        return False


def _discard(directory: str, bundle: Bundle) -> None:
    if directory != os.fspath(bundle.path):
        shutil.rmtree(directory, ignore_errors=True)


def _absolute(bundle: Bundle) -> Spec:
    """The configuration with every path that is relative to the bundle made absolute."""
    spec = bundle.spec
    if spec.root is None:
        raise CreateFailed("the configuration has no root", step="create")
    root: Root = attrs.evolve(spec.root, path=os.fspath(bundle.rootfs))
    mounts = tuple(_absolute_mount(mount, os.fspath(bundle.path)) for mount in spec.mounts)
    return attrs.evolve(spec, root=root, mounts=mounts)


def _absolute_mount(mount: Mount, directory: str) -> Mount:
    bind = mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options
    if not bind or not mount.source or os.path.isabs(mount.source):
        return mount
    return attrs.evolve(mount, source=os.path.join(directory, mount.source))
