"""CheckpointContainer, CheckpointPod, RestorePod."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from attrs import frozen

from ociworks._linux.path import remove_tree
from ociworks.cri.checkpoints.archive import Archive, Deadline, written
from ociworks.cri.checkpoints.documents import archive_names, config_dump, pod_dump, status_dump
from ociworks.cri.config import CriConfig
from ociworks.cri.locks import KeyedLocks
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.store import Store
from ociworks.errors import (
    CheckpointFailed,
    ContainerTimeout,
    DeadlinePassed,
    IllegalTransition,
    InvalidRequest,
    MissingDependency,
    NotSupported,
    OciworksError,
    PodError,
    PodStateError,
    quote,
)
from ociworks.image import Layer
from ociworks.runtime import CheckpointOptions
from ociworks.runtime._criu.requests import criu
from ociworks.runtime._criu.running import reason
from ociworks.runtime.protocol import OCIContainer
from ociworks.spec import to_json
from ociworks.spec.runtime import Spec

__all__ = ["Checkpoints", "Containers", "Sandboxes"]

_LOG: Final = "dump.log"
_STATISTICS: Final = "stats-dump"
_POD: Final = "pod.dump"
_CHECK: Final = 20
_LONGEST: Final = 600.0
"""Seconds for criu where the request has no limit: the container stands still meanwhile."""
_MAX_POD: Final = 16 << 20
_REGULAR: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Containers(Protocol):
    """The containers of this node."""

    def open(self, id: str) -> OCIContainer:
        """A running container in its runtime. PodNotFound, PodStateError."""

    def status(self, id: str, *, verbose: bool = False) -> api.ContainerStatusResponse:
        """All that is to be said of one."""

    def spec_of(self, container: OCIContainer) -> Spec:
        """The configuration of one."""

    def create(
        self,
        sandbox_id: str,
        config: api.ContainerConfig,
        pod_config: api.PodSandboxConfig,
        *,
        archive: str = "",
    ) -> str:
        """One that waits to be started, made of an archive; its ID."""

    def start(self, id: str) -> None:
        """Let it run."""


class Sandboxes(Protocol):
    """The pods of this node."""

    def run(self, config: api.PodSandboxConfig, handler: str) -> str:
        """Make a pod; its ID."""

    def remove(self, id: str) -> None:
        """End it and forget it, with its containers."""


@frozen(kw_only=True)
class _Job:
    """One container to write."""

    record: ContainerRecord
    container: OCIContainer
    location: str


class Checkpoints:
    """Containers and pods on disk. The containers go on; they stand still while criu reads them."""

    def __init__(
        self, config: CriConfig, store: Store, locks: KeyedLocks, containers: Containers, sandboxes: Sandboxes
    ) -> None:
        self._root = config.root
        self._store = store
        self._locks = locks
        self._containers = containers
        self._sandboxes = sandboxes

    def checkpoint_container(self, request: api.CheckpointContainerRequest) -> None:
        """Write a running container to an archive at ``location``.

        Raises PodNotFound, PodStateError, InvalidRequest; MissingDependency and NotSupported where criu is missing or
        cannot work; CheckpointFailed with its log; DeadlinePassed.
        """
        if request.timeout < 0:
            raise InvalidRequest(f"timeout: expected 0 or more seconds, got {request.timeout}")
        record = self._store.containers.get(request.container_id)
        with self._locks.hold(record.id):
            job = _Job(record=record, container=self._containers.open(record.id), location=request.location)
            self._write(job, Deadline(request.timeout))

    def checkpoint_pod(self, request: api.CheckpointPodRequest) -> None:
        """Write containers of a pod (those asked for, else all that run) into a new directory. Raises as above."""
        if request.options:
            raise InvalidRequest(f"options: there is no {quote(min(request.options))}")
        pod = self._store.sandboxes.get(request.pod_sandbox_id)
        with self._locks.hold(pod.id):
            if pod.phase != "ready":
                raise PodStateError(f"pod {pod.id}: expected a ready one, it is {pod.phase}")
            records = self._chosen(pod.id, request.container_ids)
            config = api.PodSandboxConfig.FromString(pod.config)
            with _directory(request.output_path) as place:
                names = {_name(record): f"{record.id}.tar" for record in records}
                for record in records:
                    location = f"{place}/{record.id}.tar"
                    self.checkpoint_container(
                        api.CheckpointContainerRequest(container_id=record.id, location=location)
                    )
                with open(f"{place}/{_POD}", "xb") as stream:
                    stream.write(pod_dump(config, names))

    def restore_pod(self, request: api.RestorePodRequest) -> api.RestorePodResponse:
        """Make a pod of the request, and in it every container that :meth:`checkpoint_pod` wrote: all, or nothing.

        What a container is, its own configuration in the request says; of the checkpoint it has its processes, its
        files and its log. Raises InvalidRequest when one has none, CheckpointFailed, and what new pods and containers
        raise.
        """
        if request.options:
            raise InvalidRequest(f"options: there is no {quote(min(request.options))}")
        archives = _archives(request.checkpoint_path)
        configs = {config.metadata.name: config for config in request.container_configs}
        for name in sorted(archives.keys() ^ configs.keys()):
            has = "a configuration" if name in configs else "an archive"
            raise InvalidRequest(f"container_configs: container {quote(name)} has only {has}")
        pod = self._sandboxes.run(request.config, request.runtime_handler)
        try:
            made = {
                name: self._containers.create(pod, configs[name], request.config, archive=archive)
                for name, archive in archives.items()
            }
            for container_id in made.values():
                self._containers.start(container_id)
        except BaseException:
            self._sandboxes.remove(pod)
            raise
        restored = [
            api.RestoredContainer(name=name, container_id=container_id) for name, container_id in made.items()
        ]
        return api.RestorePodResponse(pod_sandbox_id=pod, restored_containers=restored)

    def _chosen(self, pod_id: str, ids: Sequence[str]) -> list[ContainerRecord]:
        found = {record.id: record for record in self._store.containers.of_sandbox(pod_id)}
        strange = [name for name in ids if name not in found]
        if strange:
            raise InvalidRequest(f"container_ids: {quote(strange[0])} is no container of pod {pod_id}")
        chosen = [record for record in found.values() if record.id in ids or not ids]
        return [record for record in chosen if record.phase == "running" or ids]

    def _write(self, job: _Job, deadline: Deadline) -> None:
        # The place is tried first: a dump is dear.
        with (
            tempfile.TemporaryDirectory(prefix="checkpoint-", dir=self._root) as scratch,
            written(job.location, deadline) as archive,
        ):
            images, work = f"{scratch}/images", f"{scratch}/work"
            left = deadline.left()
            options = CheckpointOptions(
                image_path=images,
                work_path=work,
                leave_running=True,
                tcp_established=True,
                file_locks=True,
                timeout=_LONGEST if left is None else left,
            )
            with _paused(job.container):
                try:
                    job.container.checkpoint(options)
                except CheckpointFailed as error:
                    raise _explained(job.record, work) from error
                except ContainerTimeout as error:
                    raise DeadlinePassed(f"timeout: {error}; nothing was written") from error
                deadline.check()
                self._add_changes(job.record, archive)
            archive.add_tree("checkpoint", images)
            for name in (_LOG, _STATISTICS):
                with suppress(FileNotFoundError):
                    archive.add_file(name, f"{work}/{name}")
            self._describe(job, archive)

    def _describe(self, job: _Job, archive: Archive) -> None:
        status = self._containers.status(job.record.id).status
        archive.add("config.dump", config_dump(job.record, status))
        archive.add("spec.dump", to_json(self._containers.spec_of(job.container)))
        archive.add("status.dump", status_dump(status))
        if job.record.log_path:
            with suppress(FileNotFoundError):
                archive.add_file("container.log", job.record.log_path)

    def _add_changes(self, record: ContainerRecord, archive: Archive) -> None:
        """What it has changed in its root filesystem; nothing when that is not an overlay of ours."""
        upper = f"{self._root}/containers/{record.id}/upper"
        if os.path.isdir(upper):
            layer = Layer.from_overlay_upper(upper, compression="none")
            with layer.uncompressed() as source, tempfile.TemporaryFile(dir=self._root) as scratch:
                archive.add_stream("rootfs-diff.tar", source, scratch)


@contextmanager
def _paused(container: OCIContainer) -> Iterator[None]:
    """It stands still, so that its files are those that its memory knows of."""
    container.pause()
    try:
        yield
    finally:
        with suppress(IllegalTransition):  # it was killed
            container.resume()


def _archives(path: str) -> dict[str, str]:
    """The archive of each container by its name, in a directory that :meth:`Checkpoints.checkpoint_pod` wrote."""
    if not path.startswith("/"):
        raise InvalidRequest(f"checkpoint_path: expected an absolute path, got {quote(path)}")
    try:
        with open(os.open(f"{path}/{_POD}", _REGULAR), "rb") as stream:
            regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            raw = stream.read(_MAX_POD) if regular else b""
    except OSError as error:
        raise InvalidRequest(f"checkpoint_path: {quote(path)}: {error.strerror}") from error
    try:
        return {name: f"{path}/{file}" for name, file in archive_names(raw).items()}
    except ValueError as error:
        raise InvalidRequest(f"checkpoint_path: {_POD}: {error}") from error


def _explained(record: ContainerRecord, work: str) -> OciworksError:
    """Why criu failed, by its log, which goes with the directory; NotSupported where it cannot work at all."""
    why = reason(work, _LOG)
    try:
        checked = subprocess.run([criu(), "check"], capture_output=True, timeout=_CHECK, check=False)
    except (OSError, MissingDependency, subprocess.TimeoutExpired) as error:
        return NotSupported(f"container {record.id} cannot be checkpointed: criu cannot be asked: {error}")
    if checked.returncode:
        return NotSupported(f"containers cannot be checkpointed: criu does not work on this kernel: {why}")
    return CheckpointFailed(f"container {record.id} was not checkpointed: {why}", log="")


@contextmanager
def _directory(path: str) -> Iterator[str]:
    """A new directory, 0700, that is there once the block has ended without an error."""
    above, name = os.path.split(path.rstrip("/"))
    if not path.startswith("/") or not name or name in (".", ".."):
        raise InvalidRequest(f"output_path: expected an absolute path, got {quote(path)}")
    if os.path.lexists(path):
        raise InvalidRequest(f"output_path: {quote(path)} exists already")
    try:
        place = tempfile.mkdtemp(prefix=".checkpoint-", dir=above)
    except OSError as error:
        raise InvalidRequest(f"output_path: {quote(above)}: {error.strerror}") from error
    try:
        yield place
        os.rename(place, path.rstrip("/"))
    except BaseException as error:
        remove_tree(place)
        if isinstance(error, OSError):
            raise PodError(f"checkpoint {quote(path)}: {error}") from error
        raise


def _name(record: ContainerRecord) -> str:
    return api.ContainerConfig.FromString(record.config).metadata.name
