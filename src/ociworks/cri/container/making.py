"""How a container is made of its record: image, root, mounts, log, configuration, and the runtime's own creation."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from ociworks._linux.path import remove_tree
from ociworks.cri.checkpoints.saved import Saved, is_checkpoint, unpack_archive, unpack_image
from ociworks.cri.config import CriConfig
from ociworks.cri.container.exits import MAX_MESSAGE, START_ERROR
from ociworks.cri.container.logpath import log_path, remove_empty_log
from ociworks.cri.container.messages import config_of
from ociworks.cri.container.parts import Others
from ociworks.cri.container.restoring import apply_changes, check_same, continue_log, options_for
from ociworks.cri.container.sources import find_sources, relabel
from ociworks.cri.container.translate import PodFiles, Request, Source, Translated, translate
from ociworks.cri.container.translate.identity import user_status
from ociworks.cri.container.translate.mounts import place_of
from ociworks.cri.container.translate.namespaces import mappings
from ociworks.cri.container.volumes import make_volumes
from ociworks.cri.images import ContainerRoot, LocalImage, UserNamespace
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.cri.store import Store
from ociworks.errors import (
    CheckpointFailed,
    CommandNotFound,
    ContainerNotFound,
    CreateFailed,
    InvalidRequest,
    NotSupported,
    OciworksError,
    quote,
)
from ociworks.runtime import Container as OwnContainer
from ociworks.runtime import Runtime as OwnRuntime
from ociworks.runtime.detach import Detach
from ociworks.runtime.overlay import OverlayBundle
from ociworks.runtime.protocol import OCIContainer, OCIRuntime
from ociworks.spec import Bundle, FrozenDict
from ociworks.spec.runtime import Process, Spec

__all__ = ["Maker"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IMPOSSIBLE: Final = (errno.ENOSYS, errno.EOPNOTSUPP)
_KINDS: Final = {"net": "network"}
"""Pins whose names differ from the specification's."""


@frozen(kw_only=True)
class _Pod:
    """What a container needs of its pod."""

    record: SandboxRecord
    config: api.PodSandboxConfig
    namespaces: FrozenDict[str, str]
    users: UserNamespace | None


class Maker:
    """Makes containers, and unmakes them; the record is another's."""

    def __init__(self, config: CriConfig, store: Store, others: Others) -> None:
        self._config = config
        self._store = store
        self._others = others

    def make(
        self, record: ContainerRecord, pod_record: SandboxRecord, archive: str = ""
    ) -> tuple[ContainerRecord, Process]:
        """Everything but the record, which comes back with what was found out; and the process for execs.

        With ``archive``, or when the image is a checkpoint, it is restored, and paused. What was made before something
        fails is :meth:`unmake`'s.
        """
        pod = self._pod(pod_record)
        config = config_of(record)
        runtime = self._others.handlers.get(record.handler)
        local, saved = self._image(record, config.image.image, archive)
        if saved is not None and (not isinstance(runtime, OwnRuntime) or pod.users is not None):
            raise NotSupported(
                "only containers of our own runtime, without a user namespace, can be restored"
            )
        log = log_path(pod.config.log_directory, config.log_path, self._config.pod_logs)
        sources = self._sources(record.id, config, runtime, pod)
        mounted = self.is_foreign(record.handler)
        root = self._others.images.root(record.id, local, users=pod.users, mounted=mounted)
        if saved is not None:
            apply_changes(saved, root)
        with self._request(record, pod, local, root, sources) as request:
            made = translate(request)
            relabel(sources, made.spec.linux.mount_label or "" if made.spec.linux else "")
            bundle = self._bundle(record.id, made, root)
            detach = Detach(log=log, stdin=config.stdin, stdin_once=config.stdin_once)
            told = _told(record, made, local, log, self._mounts_told(config))
            if saved is not None and isinstance(runtime, OwnRuntime):
                check_same(saved, made.spec, stdin=config.stdin)
                _restore(runtime, record.id, bundle, saved, detach)
                told = evolve(told, restored=True)
            else:
                missing = _create(runtime, record.id, bundle, detach)
                told = evolve(told, reason=START_ERROR if missing else "", message=missing[:MAX_MESSAGE])
        return told, made.spec.process or Process(cwd="/")

    def unmake(self, record: ContainerRecord) -> None:
        """Remove all that was made for a container, however far that came. Again is harmless; the log stays."""
        if (container := self.find(record)) is not None:
            container.delete(force=True)
        self._others.images.release(record.id)
        remove_tree(self._bundle_path(record.id))
        remove_tree(self._own_path(record.id))

    def undo(self, record: ContainerRecord) -> None:
        """Unmake one that was never whole, with its empty log: a kubelet counts by the logs how often one ran."""
        self.unmake(record)
        config, roots = config_of(record), self._config.pod_logs
        with suppress(OciworksError, OSError):  # it has none, or never got as far
            pod = api.PodSandboxConfig.FromString(self._store.sandboxes.get(record.sandbox_id).config)
            if path := log_path(pod.log_directory, config.log_path, roots):
                remove_empty_log(path, roots)

    def find(self, record: ContainerRecord) -> OCIContainer | None:
        """The runtime's container; None when it has none."""
        try:
            return self._others.handlers.get(record.handler).get(record.id)
        except ContainerNotFound:
            return None

    def is_foreign(self, handler: str) -> bool:
        """Whether this handler's runtime is another than our own."""
        return not isinstance(self._others.handlers.get(handler), OwnRuntime)

    def spec_of(self, container: OCIContainer) -> Spec:
        """The configuration of a container that is there."""
        return container.spec if isinstance(container, OwnContainer) else Bundle.load(container.bundle).spec

    def _image(self, record: ContainerRecord, name: str, archive: str) -> tuple[LocalImage, Saved | None]:
        """The image of its root filesystem, and the checkpoint that it is made of, unpacked.

        A path in the place of an image is an archive. Which image goes with it then, or with an image that is a
        checkpoint, that one says, by its digest; it must be here.
        """
        images = self._others.images
        place = f"{self._own_path(record.id)}/checkpoint"
        if archive:
            os.makedirs(self._own_path(record.id), mode=0o711, exist_ok=True)
            return images.get(name), unpack_archive(archive, place)
        local = None if name.startswith("/") else images.get(name)
        if local is not None and not is_checkpoint(local.image):
            return local, None
        os.makedirs(self._own_path(record.id), mode=0o711, exist_ok=True)
        saved = unpack_archive(name, place) if local is None else unpack_image(local.image, place)
        return images.get(saved.image), saved

    def _pod(self, record: SandboxRecord) -> _Pod:
        config = api.PodSandboxConfig.FromString(record.config)
        pins = self._others.sandboxes.namespaces(record)
        users = None
        if "user" in pins:
            asked = config.linux.security_context.namespace_options.userns_options
            uids, gids = mappings(asked)
            users = UserNamespace(path=pins["user"], uids=uids, gids=gids)
        named = {_KINDS.get(kind, kind): path for kind, path in pins.items()}
        return _Pod(record=record, config=config, namespaces=FrozenDict(named), users=users)

    def _sources(
        self, id: str, config: api.ContainerConfig, runtime: OCIRuntime, pod: _Pod
    ) -> tuple[Source, ...]:
        images = self._others.images
        return find_sources(
            config.mounts,
            image_path=lambda given: images.mount_of(
                id, given.image.image, given.image_sub_path, users=pod.users
            ),
            recursive_read_only=lambda: "rro" in (runtime.features().mount_options or ()),
        )

    @contextmanager
    def _request(
        self,
        record: ContainerRecord,
        pod: _Pod,
        local: LocalImage,
        root: ContainerRoot,
        sources: tuple[Source, ...],
    ) -> Iterator[Request]:
        """What the configuration is made of; descriptors in it are open until the container is created."""
        config = config_of(record)
        with ExitStack() as stack:
            rootfd = os.open(root.path, _DIRECTORY)
            stack.callback(os.close, rootfd)
            volumes = f"{self._own_path(record.id)}/volumes"
            taken = [place_of(given.container_path) for given in config.mounts]
            yield Request(
                id=record.id,
                sandbox_id=record.sandbox_id,
                config=config,
                pod=pod.config,
                image=local.configuration,
                server=self._config,
                handler=self._others.handlers.settings(record.handler),
                foreign=self.is_foreign(record.handler),
                cgroup_parent=pod.record.cgroup_parent,
                namespaces=pod.namespaces,
                target_pid=self._target(record, config, stack),
                files=self._files(pod.record),
                sources=sources,
                volumes=make_volumes(volumes, local.configuration, root.snapshot, taken),
                rootfd=rootfd,
                rootfs=root.path,
            )

    def _files(self, record: SandboxRecord) -> PodFiles:
        files = self._others.sandboxes.files(record)
        return PodFiles(
            hosts=files.hosts, hostname=files.hostname, resolv_conf=files.resolv_conf, shm=files.shm
        )

    def _target(self, record: ContainerRecord, config: api.ContainerConfig, stack: ExitStack) -> str:
        """The process namespace of the container that is named as the target: one of the same pod that runs (CR-14)."""
        options = config.linux.security_context.namespace_options
        if options.pid != api.NamespaceMode.TARGET:
            return ""
        wanted = quote(options.target_id)
        of_pod = {each.id: each for each in self._store.containers.of_sandbox(record.sandbox_id)}
        target = of_pod.get(options.target_id)
        if target is None or target.id == record.id:
            raise InvalidRequest(f"namespace_options.target_id: no container {wanted} is in this pod")
        container = self.find(target)
        pid = container.pid if container is not None else 0
        if container is None or not pid:
            raise InvalidRequest(f"namespace_options.target_id: container {wanted} does not run")
        try:
            fd = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidRequest(f"namespace_options.target_id: container {wanted} has ended") from error
        stack.callback(os.close, fd)
        if container.pid != pid:  # the number may be another process's by now
            raise InvalidRequest(f"namespace_options.target_id: container {wanted} has ended")
        return f"/proc/{os.getpid()}/fd/{fd}"

    def _mounts_told(self, config: api.ContainerConfig) -> api.ContainerStatus:
        """The mounts as they were asked for, and which image those are that are one."""
        told = api.ContainerStatus(mounts=config.mounts)
        for mount in told.mounts:
            if mount.HasField("image"):
                mount.image.image_ref = self._others.images.get(mount.image.image).id
        return told

    def _bundle(self, id: str, made: Translated, root: ContainerRoot) -> Bundle:
        """Our own runtime keeps the configuration with the container's state; others read it here."""
        path = Path(self._bundle_path(id))
        if root.overlay is None:
            return Bundle.create(path, made.spec)
        path.mkdir(mode=0o700, parents=True)
        return OverlayBundle(path, made.spec, root.overlay)

    def _bundle_path(self, id: str) -> str:
        return os.path.join(self._config.state, "bundles", id)

    def _own_path(self, id: str) -> str:
        return os.path.join(self._config.root, "containers", id)


def _create(runtime: OCIRuntime, id: str, bundle: Bundle, detach: Detach) -> str:
    """Have the runtime make it; what is said of a missing program, which a client expects to be told at the start.

    NotSupported for what the kernel or a file system of this host cannot do.
    """
    try:
        runtime.create(id, bundle, detach=detach)
    except CommandNotFound as error:
        return str(error)
    except CreateFailed as error:
        if error.errno in _IMPOSSIBLE:
            raise NotSupported(f"this host cannot make container {id}: {error}") from error
        raise
    return ""


def _restore(runtime: OwnRuntime, id: str, bundle: Bundle, saved: Saved, detach: Detach) -> None:
    """Have criu make it. CheckpointFailed says why it did not: its log goes with the images."""
    continue_log(saved, detach.log)
    try:
        runtime.restore(id, bundle, options_for(saved), detach=detach)
    except CheckpointFailed as error:
        raise CheckpointFailed(f"container {id} was not restored: {error}", log="") from error
    remove_tree(saved.directory)


def _told(
    record: ContainerRecord, made: Translated, local: LocalImage, log: str, mounts: api.ContainerStatus
) -> ContainerRecord:
    """The record with what a status tells."""
    return evolve(
        record,
        phase="created",
        image_id=local.id,
        image_ref=local.repo_digests[0] if local.repo_digests else local.id,
        log_path=log,
        stop_signal=made.stop_signal,
        resources=config_of(record).linux.resources.SerializeToString(),
        mounts=mounts.SerializeToString(),
        user=user_status(made.user).SerializeToString(),
    )
