"""Sandboxes: what happens to a pod, and in which order.

A pod is recorded, then made; when a step fails, everything is unmade and the record goes. What unmakes it needs the
record alone and may run any number of times: the same serves failures, stops, removals, and a server that finds what
another one left. Only when its network cannot be taken down does a failed pod stay, not ready, to be tried again.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import attrs

from ociworks.cri.config import CriConfig
from ociworks.cri.locks import KeyedLocks
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import SandboxRecord
from ociworks.cri.sandbox import files, groups, logs, messages, namespaces, parts, pause, users
from ociworks.cri.sandbox.namespaces import Furniture
from ociworks.cri.sandbox.options import sharing
from ociworks.cri.sandbox.request import Pod, checked
from ociworks.cri.sandbox.resolver import hosts_file
from ociworks.cri.store import Store
from ociworks.errors import AlreadyReserved, OciworksError, PodNotFound, PodStateError

__all__ = ["Others", "Sandboxes"]

logger = logging.getLogger(__name__)

_ENDED: Final = ("notready", "removing")


@attrs.frozen(kw_only=True)
class Others:
    """The other parts of the node."""

    network: parts.Network
    handlers: parts.Handlers
    containers: Callable[[], parts.Containers]
    """Asked when they are needed: they need the pods, too."""
    publish: parts.Publish
    followed: Callable[[], bool]
    """Whether somebody follows events; only then a status includes those of the containers."""


class Sandboxes:
    """The pods of a node. Any thread may call; calls about one pod wait for each other."""

    def __init__(self, config: CriConfig, store: Store, locks: KeyedLocks, others: Others) -> None:
        self._config = config
        self._store = store
        self._locks = locks
        self._others = others

    def run(self, config: api.PodSandboxConfig, handler: str) -> str:
        """Make a pod; its ID. It is ready then, or nothing of it is there.

        Raises InvalidRequest for what cannot be asked for, AlreadyReserved while another pod has these metadata,
        NetworkError, CgroupError and PodError for what this host refuses.
        """
        self._others.handlers.get(handler)
        pod = checked(config, self._config)
        record = self._new_record(pod, config, handler)
        with self._locks.hold(record.id):
            self._reserve(record)
            try:
                self._make(record, pod, config)
            except BaseException:
                self._give_up(record)
                raise
        self._others.publish(api.CONTAINER_CREATED_EVENT, record.id, record.id)
        self._others.publish(api.CONTAINER_STARTED_EVENT, record.id, record.id)
        return record.id

    def stop(self, id: str) -> None:
        """End its containers, take down its network, let go of its namespaces. Again, or without a pod, is harmless.

        Raises InvalidRequest for the beginning of an ID, NetworkError when the network cannot be taken down: try again.
        """
        with self._locks.hold(id):
            record = self._store.sandboxes.whole(id)
            if record is None:
                return
            self._stop(record)
        if record.phase == "ready":
            self._others.publish(api.CONTAINER_STOPPED_EVENT, id, id)

    def remove(self, id: str) -> None:
        """End it and forget it, with its containers. Again, or without a pod, is harmless. Raises as :meth:`stop`."""
        with self._locks.hold(id):
            record = self._store.sandboxes.whole(id)
            if record is None:
                return
            self._remove(record)
        last = messages.status(record, ready=False)
        self._others.publish(api.CONTAINER_DELETED_EVENT, id, id, pod=last)

    def status(self, id: str, *, verbose: bool = False) -> api.PodSandboxStatusResponse:
        """One pod, by its ID or the beginning of it. PodNotFound.

        While somebody follows events it has its containers and a time, as a kubelet that follows takes it then: what
        changes after that time has a later event. Without a time it asks for the containers itself.
        """
        at = time.time_ns() if self._others.followed() else 0
        record = self.get(id)
        return messages.response(
            record,
            ready=self.is_ready(record),
            pins=namespaces.pins_in(record.pins) if verbose else None,
            containers=self._containers_of(record.id) if at else (),
            at=at,
        )

    def list(self, filter: api.PodSandboxFilter) -> Sequence[api.PodSandbox]:
        """Those that match, oldest first."""
        items = (
            messages.listed(record, ready=self.is_ready(record))
            for record in self._store.sandboxes.all()
            if record.phase != "creating"
        )
        return [item for item in items if messages.matches(item, filter)]

    def update_resources(self, request: api.UpdatePodSandboxResourcesRequest) -> None:
        """Change the limits of its control group: all or none. PodNotFound, PodStateError, CgroupError."""
        with self._locks.hold(request.pod_sandbox_id):
            record = self._store.sandboxes.get(request.pod_sandbox_id)
            if record.phase != "ready":
                raise PodStateError(f"pod {record.id}: expected a ready one, it is {record.phase}")
            groups.change_groups(
                record.cgroup_parent, groups.pod_resources(request.resources, request.overhead)
            )
            config = messages.config_of(record)
            config.linux.resources.CopyFrom(request.resources)
            config.linux.overhead.CopyFrom(request.overhead)
            self._change(record.id, config=config.SerializeToString())

    def get(self, prefix: str) -> SandboxRecord:
        """The record of a pod that has been made, by its ID or the beginning of it. PodNotFound."""
        record = self._store.sandboxes.find(prefix)
        if record.phase == "creating":
            raise PodNotFound(f"pod {record.id} is being made")
        return record

    def is_ready(self, record: SandboxRecord) -> bool:
        """Whether containers can run in it: also what must hold its process namespace is there."""
        return record.phase == "ready" and (not record.pause or pause.is_alive(record.pause))

    def namespaces(self, record: SandboxRecord) -> Mapping[str, str]:
        """The pod's own namespaces: ``net``, ``ipc``, ``uts``, ``user``, ``pid`` → path; the host's are missing."""
        return namespaces.pins_in(record.pins)

    def files(self, record: SandboxRecord) -> files.PodFiles:
        """What its containers get mounted."""
        options = messages.config_of(record).linux.security_context.namespace_options
        return files.files_below(self._directory(record.id), host_ipc=options.ipc == api.NODE)

    def unmake(self, record: SandboxRecord) -> None:
        """Undo everything that was made for a pod, however far that came; its containers are gone.

        Needs nothing but the record. Again is harmless. NetworkError when the network cannot be taken down; then
        nothing else was undone.
        """
        self._release(record)
        groups.remove_groups(self._note(record.id), f"{self._config.state}/groups")
        files.remove_directory(self._directory(record.id))

    def _new_record(self, pod: Pod, config: api.PodSandboxConfig, handler: str) -> SandboxRecord:
        made = secrets.token_hex(32)
        driver = self._config.cgroup_driver
        return SandboxRecord(
            id=made,
            name=pod.name,
            phase="creating",
            created_at=time.time_ns(),
            handler=handler,
            config=config.SerializeToString(),
            cgroup_parent=pod.cgroup_parent or groups.default_parent(made, driver),
            pins=f"{self._directory(made)}/ns",
        )

    def _reserve(self, record: SandboxRecord) -> None:
        """Record it. One that has ended gives way to another attempt of the same name."""
        try:
            self._store.sandboxes.add(record)
        except AlreadyReserved as error:
            if not self._gives_way(error.holder):
                raise
            self._store.sandboxes.add(record)

    def _gives_way(self, id: str) -> bool:
        with suppress(PodNotFound):
            if self._store.sandboxes.get(id).phase not in _ENDED:
                return False
            self.remove(id)
        return True

    def _make(self, record: SandboxRecord, pod: Pod, config: api.PodSandboxConfig) -> None:
        directory = self._directory(record.id)
        if pod.log_directory:
            logs.make_log_directory(pod.log_directory, self._config.pod_logs)
        self._make_files(directory, pod)
        limits = groups.pod_resources(config.linux.resources, config.linux.overhead)
        groups.make_groups(record.cgroup_parent, limits, self._note(record.id))
        self._make_namespaces(record, pod)
        if not pod.sharing.host_ipc:
            files.make_shm(f"{directory}/shm", pod.sharing.owner)
        answer = self._connect(record, pod, config)
        hosts = files.host_file("/etc/hosts") if pod.sharing.host_network else b""
        files.write_file(f"{directory}/hosts", hosts or hosts_file(answer.addresses, pod.hostname))
        self._change(record.id, phase="ready", network=answer.result, addresses=tuple(answer.addresses))

    def _make_files(self, directory: str, pod: Pod) -> None:
        files.make_directory(directory)
        os.mkdir(f"{directory}/ns", 0o711)
        files.write_file(f"{directory}/resolv.conf", pod.resolver or files.host_file("/etc/resolv.conf"))
        files.write_file(f"{directory}/hostname", f"{pod.hostname or os.uname().nodename}\n".encode())

    def _make_namespaces(self, record: SandboxRecord, pod: Pod) -> None:
        furniture = Furniture(hostname=pod.hostname, sysctls=pod.sysctls)
        if not pod.sharing.shared_pid:
            self._fill(record, pod, furniture, None)
            return
        with pause.Holder(pod.sharing.uids, pod.sharing.gids) as holder:
            self._fill(record, pod, furniture, holder)
            self._change(record.id, pause=holder.identity)
            holder.keep()

    def _fill(
        self,
        record: SandboxRecord,
        pod: Pod,
        furniture: Furniture,
        holder: pause.Holder | None,
    ) -> None:
        """Make and pin the namespaces; with a holder, a process that waits to hold one of them."""
        if pod.sharing.mapped:
            with users.made(pod.sharing, holder) as made:
                namespaces.enter_and_furnish(made, furniture)
                for name, fd in made.items():
                    namespaces.pin(record.pins, name, fd)
            return
        then = holder.spawn if holder else None
        namespaces.make_and_furnish(pod.sharing.private, furniture, record.pins, then)
        if holder:
            namespaces.pin_of(record.pins, "pid", holder.pid)

    def _connect(self, record: SandboxRecord, pod: Pod, config: api.PodSandboxConfig) -> parts.NetworkAnswer:
        if pod.sharing.host_network:
            return parts.NetworkAnswer()
        return self._others.network.add(record.id, f"{record.pins}/net", config)

    def _stop(self, record: SandboxRecord) -> None:
        for container in self._store.containers.of_sandbox(record.id):
            self._others.containers().stop(container.id, 0)
        self._release(record)
        if record.phase == "ready":
            self._change(record.id, phase="notready")

    def _remove(self, record: SandboxRecord) -> None:
        self._stop(record)
        self._change(record.id, phase="removing")
        for container in self._store.containers.of_sandbox(record.id):
            self._others.containers().remove(container.id)
        self.unmake(record)
        self._store.sandboxes.remove(record.id)

    def _release(self, record: SandboxRecord) -> None:
        """Take down its network and let go of its namespaces."""
        record = self._store.sandboxes.get(record.id)
        config = messages.config_of(record)
        if not sharing(config.linux.security_context.namespace_options).host_network:
            self._others.network.remove(record.id, f"{record.pins}/net", config)
        if record.pause:
            pause.end(record.pause)
        with suppress(FileNotFoundError):
            namespaces.unpin(record.pins)

    def _give_up(self, record: SandboxRecord) -> None:
        try:
            self.unmake(record)
        except OciworksError as error:
            logger.warning("pod %s could not be undone, it stays for another try: %s", record.id, error)
            self._change(record.id, phase="notready")
        else:
            self._store.sandboxes.remove(record.id)

    def _change(self, id: str, **fields: str | bytes | tuple[str, ...]) -> SandboxRecord:
        return self._store.sandboxes.update(id, lambda now: attrs.evolve(now, **fields))  # type: ignore[arg-type]

    def _containers_of(self, id: str) -> Sequence[api.ContainerStatus]:
        """Newest first: a kubelet takes the first one of a name for what it is now."""
        found = []
        records = self._store.containers.of_sandbox(id)
        for container in sorted(records, key=lambda record: record.created_at, reverse=True):
            with suppress(OciworksError):  # removed meanwhile
                found.append(self._others.containers().status(container.id).status)
        return found

    def _directory(self, id: str) -> str:
        return f"{self._config.state}/sandboxes/{id}"

    def _note(self, id: str) -> str:
        return f"{self._directory(id)}/groups"
