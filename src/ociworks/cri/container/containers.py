"""Containers: what happens to one, and in which order.

A container is recorded, then made; when a step fails, everything is unmade and the record goes. Its end is recorded
before anything of it is taken away. Calls about one container wait for each other, but nobody waits for one that is
asked to end.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from attrs import evolve

from ociworks.cri.config import CriConfig
from ociworks.cri.container.exits import START_ERROR, with_exit, with_start_error
from ociworks.cri.container.making import Maker
from ociworks.cri.container.messages import listed, matches, status_of, verbose_info
from ociworks.cri.container.names import reserved_name
from ociworks.cri.container.parts import Others
from ociworks.cri.container.scores import changed_scores
from ociworks.cri.container.translate.limits import merged, oom_score, resources
from ociworks.cri.container.waiting import has_ended, is_stopped
from ociworks.cri.images import LocalImage
from ociworks.cri.locks import KeyedLocks
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.store import Store
from ociworks.errors import (
    CommandNotFound,
    ContainerError,
    ContainerNotFound,
    DeadlinePassed,
    IllegalTransition,
    ImageNotFound,
    InvalidRequest,
    PodNotFound,
    PodStateError,
)
from ociworks.runtime.detach import Exit
from ociworks.runtime.protocol import OCIContainer
from ociworks.spec.runtime import Process, Resources, Rlimit, Spec

__all__ = ["Containers"]

logger = logging.getLogger(__name__)

_AFTER_KILL: Final = 60.0
"""Seconds in which a killed container has to be gone."""
_SPARE: Final = 5.0
"""As many of them as it has when the server ends."""
_STATUS: Final = 10.0
"""Seconds in which a shim has to say how its container ended, once that has."""
_ALIVE: Final = ("created", "running")


class Containers:
    """The containers of a node. Any thread may call."""

    def __init__(self, config: CriConfig, store: Store, locks: KeyedLocks, others: Others) -> None:
        self._config = config
        self._store = store
        self._locks = locks
        self._others = others
        self._maker = Maker(config, store, others)
        self._processes: dict[str, Process] = {}
        """Of containers made or asked for since this server began, for execs."""
        self._signalled: set[str] = set()
        """Those that were asked to end: another stop waits, and does not ask again."""

    def create(
        self,
        sandbox_id: str,
        config: api.ContainerConfig,
        pod_config: api.PodSandboxConfig,  # noqa: ARG002 - the pod is as it was made, whatever is said now
        *,
        archive: str = "",
    ) -> str:
        """Make a container in a pod that is ready; its ID. It waits to be started then, or nothing of it is there.

        With ``archive``, the path of a checkpoint, or with one as its image (by its name, or a path), it is restored.
        Raises CheckpointFailed then. InvalidRequest for what cannot be asked for, AlreadyReserved while another
        container of the pod has its name and attempt, PodNotFound, PodStateError, ImageNotFound, NotSupported and
        ContainerError.
        """
        sandboxes = self._others.sandboxes
        pod = sandboxes.get(sandbox_id)
        name = reserved_name(pod.id, config.metadata)
        with self._locks.hold(pod.id):
            pod = sandboxes.get(pod.id)
            if not sandboxes.is_ready(pod):
                raise PodStateError(f"pod {pod.id}: expected a ready one, it is {pod.phase}")
            record = ContainerRecord(
                id=secrets.token_hex(32),
                sandbox_id=pod.id,
                name=name,
                phase="creating",
                handler=self._others.handlers.chosen(pod.handler),  # whatever the default is later
                config=config.SerializeToString(),
                created_at=time.time_ns(),
            )
            with self._locks.hold(record.id):
                self._store.containers.add(record)
                try:
                    made, process = self._maker.make(record, pod, archive)
                    self._store.containers.update(record.id, lambda _: made)
                except BaseException:
                    self._give_up(record)
                    raise
        self._processes[record.id] = process
        self._watch(made)
        self._publish(api.CONTAINER_CREATED_EVENT, made)
        return record.id

    def start(self, id: str) -> None:
        """Run a created container.

        Raises PodNotFound, PodStateError for one that is not a created one of a ready pod, and ContainerError when its
        program cannot be executed: then it has exited, with the reason ``StartError``.
        """
        with self._locks.hold(id):
            record = self._store.containers.get(id)
            if record.phase != "created":
                raise PodStateError(f"container {id}: expected a created one, it is {record.phase}")
            pod = self._others.sandboxes.get(record.sandbox_id)
            if pod.phase != "ready":
                raise PodStateError(f"container {id}: its pod is {pod.phase}")
            began = time.time_ns()  # before it, since it may have ended when a slow runtime returns
            try:
                self._start(record)
            except ContainerError as error:
                self._failed_to_start(record, str(error))
                raise
            record = self._change(id, phase="running", started_at=began)
        self._publish(api.CONTAINER_STARTED_EVENT, record)

    def stop(self, id: str, timeout: int) -> None:
        """Ask a container to end, and end it after ``timeout`` seconds. Again, or without a container, is harmless.

        One that was not started is ended at once. Raises InvalidRequest for the beginning of an ID, DeadlinePassed when
        the kernel does not let it end, and ServerEnding when the server ends meanwhile: whoever asks the next one again
        gives the container its whole time once more.
        """
        if timeout < 0:
            raise InvalidRequest(f"timeout: expected 0 or more seconds, got {timeout}")
        container = self._ask_to_end(id, gently=timeout > 0)
        if container is None:
            return
        ending = self._others.ending
        if timeout > 0 and has_ended(container, timeout, ending):
            self.settle(id)
            return
        with contextlib.suppress(IllegalTransition, ContainerNotFound):
            container.kill("KILL", all=True)
        if not has_ended(container, _AFTER_KILL, ending, spare=_SPARE):
            raise DeadlinePassed(f"container {id}: killed, but not gone after {_AFTER_KILL:g} seconds")
        self.settle(id)

    def remove(self, id: str) -> None:
        """End a container, by force if it runs, and forget it; its log stays. Again is harmless.

        Raises InvalidRequest for the beginning of an ID.
        """
        with self._locks.hold(id):
            record = self._store.containers.whole(id)
            if record is None:
                return
            was_alive = record.phase in _ALIVE
            self._change(id, phase="removing")
            self._maker.unmake(record)
            self._forget(record)
            if was_alive:
                self._publish(api.CONTAINER_STOPPED_EVENT, record)
        self._publish(api.CONTAINER_DELETED_EVENT, record)

    def status(self, id: str, *, verbose: bool = False) -> api.ContainerStatusResponse:
        """One container, by its ID or the beginning of it. PodNotFound."""
        record = self._now(self.get(id))
        container = self._maker.find(record) if verbose and record.phase in _ALIVE else None
        spec = self._maker.spec_of(container) if container is not None else None
        info = verbose_info(record, container, spec) if verbose else {}
        return api.ContainerStatusResponse(status=status_of(record, self._image(record)), info=info)

    def list(self, filter: api.ContainerFilter) -> Sequence[api.Container]:
        """Those that match, oldest first."""
        records = self._store.containers.all()
        items = (listed(self._now(record)) for record in records if record.phase != "creating")
        return [item for item in items if matches(item, filter)]

    def update_resources(self, request: api.UpdateContainerResourcesRequest) -> None:
        """Change the limits of a container, and its OOM score: what the request says, all of it or nothing.

        Of one that has ended, only what its status tells changes. No annotation means anything. Raises PodNotFound,
        PodStateError, InvalidRequest, CgroupError, NotSupported, and ContainerError for a score that may not be given.
        """
        with self._locks.hold(request.container_id):
            record = self._now(self._store.containers.get(request.container_id))
            if record.phase not in (*_ALIVE, "exited"):
                raise PodStateError(f"container {record.id}: it is {record.phase}, there is nothing to limit")
            before = api.LinuxContainerResources.FromString(record.resources)
            after = merged(before, request.linux)
            foreign = self._maker.is_foreign(record.handler)
            limits = resources(request.linux, self._config, foreign=foreign)
            scores = oom_score(before, self._config), oom_score(after, self._config)
            container = self._maker.find(record) if record.phase in _ALIVE else None
            if container is not None:
                self._limit(container, limits, scores)
            self._change(record.id, resources=after.SerializeToString())

    def reopen_log(self, id: str) -> None:
        """Open the log of a running container by its name, after the file was moved away. PodStateError otherwise."""
        with self._locks.hold(id):
            record = self._now(self._store.containers.get(id))
            if record.phase != "running":
                raise PodStateError(f"container {id}: expected a running one, it is {record.phase}")
            if record.log_path:
                self._open(record).reopen_log()

    # For other parts

    def get(self, prefix: str) -> ContainerRecord:
        """The record of a container that has been made, by its ID or the beginning of it. PodNotFound."""
        record = self._store.containers.find(prefix)
        if record.phase == "creating":
            raise PodNotFound(f"container {record.id} is being made")
        return record

    def open(self, id: str) -> OCIContainer:
        """A running container in its runtime. PodNotFound, PodStateError."""
        record = self._now(self.get(id))
        if record.phase != "running":
            raise PodStateError(f"container {record.id}: expected a running one, it is {record.phase}")
        return self._open(record)

    def spec_of(self, container: OCIContainer) -> Spec:
        """The configuration of a container that is there."""
        return self._maker.spec_of(container)

    def exec_process(
        self, id: str, command: Sequence[str], *, tty: bool, limits: tuple[Rlimit, ...] = ()
    ) -> Process:
        """What a further program in a running container is: the container's own process with another command.

        It has ``limits`` where the container's has none.
        """
        record = self.get(id)
        if not command:
            raise InvalidRequest("cmd: expected a command, got none")
        process = self._processes.get(record.id)
        if process is None:
            process = self._maker.spec_of(self.open(record.id)).process or Process(cwd="/")
            self._processes[record.id] = process
        score = oom_score(api.LinuxContainerResources.FromString(record.resources), self._config)
        env = process.env
        if tty and not any(entry.startswith("TERM=") for entry in env):
            env = (*env, "TERM=xterm")
        return evolve(
            process,
            args=tuple(command),
            env=env,
            terminal=tty or None,
            console_size=None,
            rlimits=process.rlimits or limits,
            oom_score_adj=score,
        )

    def settle(self, id: str) -> ContainerRecord | None:
        """Record the end of a container that has ended, and let go of what its runtime has; its record then.

        None when there is no such container (any more). Any thread may call it, any number of times.
        """
        with self._locks.hold(id):
            try:
                record = self._store.containers.get(id)
            except PodNotFound:
                return None
            if record.phase not in _ALIVE:
                return record
            if record.reason == START_ERROR:  # its runtime never had it; whoever starts it is told
                return record
            container = self._maker.find(record)
            if container is not None and container.status != "stopped":
                return record
            return self._ended(record, _exit_of(container) if container is not None else None)

    def unmake(self, record: ContainerRecord) -> None:
        """Remove all that was made for a container, and its record: of one whose creation or removal was cut short."""
        with self._locks.hold(record.id):
            (self._maker.undo if record.phase == "creating" else self._maker.unmake)(record)
            self._forget(record)

    # Steps

    def _ask_to_end(self, id: str, *, gently: bool) -> OCIContainer | None:
        """Send a container its signal, once; the container. None when it has ended, or there is none."""
        with self._locks.hold(id):
            record = self._store.containers.whole(id)
            if record is None or record.phase not in _ALIVE:
                return None
            if record.reason == START_ERROR:
                self._failed_to_start(record, record.message)
                return None
            container = self._maker.find(record)
            if container is None:
                self._ended(record, None)
                return None
            signal = record.stop_signal or "TERM"
            if record.phase == "created":
                signal, gently = "KILL", True
            if gently and (id not in self._signalled or signal == "KILL"):
                self._signalled.add(id)
                with contextlib.suppress(IllegalTransition, ContainerNotFound):
                    container.kill(signal)
            return container

    def _ended(self, record: ContainerRecord, found: Exit | None) -> ContainerRecord:
        """Write an end down, then take away what is left of the processes and the runtime's state."""
        record = self._store.containers.update(record.id, lambda now: with_exit(now, found))
        self._signalled.discard(record.id)
        self._leave_runtime(record)
        self._publish(api.CONTAINER_STOPPED_EVENT, record)
        return record

    def _limit(self, container: OCIContainer, limits: Resources, scores: tuple[int, int]) -> None:
        """One that has ended just now is as one that had ended before."""
        try:
            with changed_scores(container, *scores):
                container.update(limits)
        except ContainerError:
            if not is_stopped(container):
                raise

    def _start(self, record: ContainerRecord) -> None:
        if record.reason == START_ERROR:
            raise CommandNotFound(record.message, step="exec")
        container = self._open(record)
        if record.restored:
            container.resume()
        else:
            container.start()

    def _failed_to_start(self, record: ContainerRecord, message: str) -> None:
        record = self._store.containers.update(record.id, lambda now: with_start_error(now, message))
        self._leave_runtime(record)
        self._publish(api.CONTAINER_STOPPED_EVENT, record)

    def _leave_runtime(self, record: ContainerRecord) -> None:
        """A removal does it again, should it fail now."""
        self._processes.pop(record.id, None)
        try:
            if (container := self._maker.find(record)) is not None:
                container.delete(force=True)
        except ContainerError as error:
            logger.warning("container %s has ended, but is not gone: %s", record.id, error)

    def _give_up(self, record: ContainerRecord) -> None:
        """Undo a creation that failed; what cannot be undone now stays recorded, for the next start."""
        try:
            self._maker.undo(record)
        except Exception:  # the error that matters is the one that made us give up
            logger.exception("container %s: what was made of it cannot be removed", record.id)
        else:
            self._store.containers.remove(record.id)

    def _forget(self, record: ContainerRecord) -> None:
        self._store.containers.remove(record.id)
        self._processes.pop(record.id, None)
        self._signalled.discard(record.id)

    def _now(self, record: ContainerRecord) -> ContainerRecord:
        """A record as it is now: without somebody who watches, ends are noticed here."""
        if self._others.watch is None and record.phase in _ALIVE:
            return self.settle(record.id) or record
        return record

    def _open(self, record: ContainerRecord) -> OCIContainer:
        return self._others.handlers.get(record.handler).get(record.id)

    def _image(self, record: ContainerRecord) -> LocalImage | None:
        try:
            return self._others.images.get(record.image_id)
        except ImageNotFound:
            return None

    def _change(self, id: str, **changes: object) -> ContainerRecord:
        change: Callable[[ContainerRecord], ContainerRecord] = lambda now: evolve(now, **changes)  # type: ignore[arg-type]  # noqa: E731
        return self._store.containers.update(id, change)

    def _watch(self, record: ContainerRecord) -> None:
        if self._others.watch is not None and record.reason != START_ERROR:
            self._others.watch(record)

    def _publish(self, kind: api.ContainerEventType, record: ContainerRecord) -> None:
        self._others.publish(kind, record.id, record.sandbox_id)


def _exit_of(container: OCIContainer) -> Exit | None:
    """How it ended. Its shim writes that when all output is in the log."""
    with contextlib.suppress(ContainerError):
        container.wait(_STATUS)
    return container.exit
