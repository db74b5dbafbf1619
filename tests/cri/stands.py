"""A stand for containers: the real images, runtimes and records of a node, and pods that are directories and pins."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from ociworks.cri.config import CriConfig
from ociworks.cri.container import Containers, Others
from ociworks.cri.container.translate import PodFiles
from ociworks.cri.handlers import Handlers
from ociworks.cri.images import Images
from ociworks.cri.locks import KeyedLocks
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.cri.store import Store
from ociworks.runtime import cgroups
from ociworks.runtime.protocol import OCIRuntime
from tests.cri.nodes import IMAGE, config_below, container_config, pod_config

__all__ = ["Pods", "Stand", "both", "left", "stand", "until"]

MODES = api.NamespaceMode

both = pytest.mark.parametrize("node", ["", "runc"], indirect=True)
"""With our own runtime, and with somebody else's program as the default handler."""


class Pods:
    """Pods with pinned namespaces for network, IPC and host name, and files."""

    def __init__(self, place: Path, store: Store) -> None:
        self._place = place
        self._store = store
        self._group = f"/ociworks-test-{place.name}"
        self.pinned: dict[str, dict[str, str]] = {}

    def add(self, config: api.PodSandboxConfig, *, handler: str = "", pins: bool = True) -> str:
        """A pod; with ``pins`` it has namespaces of its own, otherwise the host's."""
        record = SandboxRecord(
            id=secrets.token_hex(32),
            name=f"{config.metadata.name}/{secrets.token_hex(4)}",
            phase="ready",
            created_at=time.time_ns(),
            handler=handler,
            config=config.SerializeToString(),
            cgroup_parent=self._group,
        )
        own = self._place / "pods" / record.id
        (own / "shm").mkdir(parents=True)
        (own / "shm").chmod(0o1777)
        for name in ("hosts", "hostname", "resolv.conf"):
            with open(own / name, "x") as file:
                file.write(f"{name} of {config.metadata.name}\n")
        self.pinned[record.id] = self._pin(own) if pins else {}
        self._store.sandboxes.add(record)
        return record.id

    def close(self) -> None:
        """Let go of the namespaces and the control group."""
        for pins in self.pinned.values():
            for path in pins.values():
                subprocess.run(["umount", "--lazy", path], check=False)
        for hierarchy in cgroups.detect().mounts:
            with suppress(FileNotFoundError):
                os.rmdir(f"{hierarchy.mount_point}{self._group}")

    def get(self, prefix: str) -> SandboxRecord:
        """The record."""
        return self._store.sandboxes.find(prefix)

    def is_ready(self, record: SandboxRecord) -> bool:
        """As recorded."""
        return record.phase == "ready"

    def namespaces(self, record: SandboxRecord) -> Mapping[str, str]:
        """The pins."""
        return self.pinned[record.id]

    def files(self, record: SandboxRecord) -> PodFiles:
        """What containers get."""
        own = self._place / "pods" / record.id
        return PodFiles(
            hosts=str(own / "hosts"),
            hostname=str(own / "hostname"),
            resolv_conf=str(own / "resolv.conf"),
            shm=str(own / "shm"),
        )

    def _pin(self, own: Path) -> dict[str, str]:
        pins = {kind: str(own / f"ns-{kind}") for kind in ("net", "ipc", "uts")}
        for path in pins.values():
            open(path, "x").close()
        wanted = [f"--{kind}={path}" for kind, path in pins.items()]
        subprocess.run(["unshare", *wanted, "true"], check=True)
        return pins


@define(kw_only=True)
class Stand:
    """One node's containers."""

    place: Path
    config: CriConfig
    store: Store
    images: Images
    handlers: Handlers
    pods: Pods
    containers: Containers
    events: list[tuple[int, str]] = field(factory=list)

    def pod(self, name: str = "pod", **settings: Any) -> str:
        """A pod with namespaces of its own; its ID. ``settings`` are those of :meth:`Pods.add`."""
        config = pod_config(self.place, name)
        config.linux.security_context.namespace_options.network = MODES.POD
        return self.pods.add(config, **settings)

    def create(self, pod: str, *command: str, name: str = "main", **settings: Any) -> str:
        """A container with a process namespace of its own, unless it asks for another."""
        config = container_config(*command, name=name)
        options = config.linux.security_context.namespace_options
        options.pid = MODES.CONTAINER
        config.MergeFrom(api.ContainerConfig(**settings))
        return self.containers.create(pod, config, api.PodSandboxConfig())

    def run(self, pod: str, *command: str, **settings: Any) -> tuple[api.ContainerStatus, str]:
        """Run a program to its end: the status, and what is in the log."""
        made = self.create(pod, *command, **settings)
        self.containers.start(made)
        self.wait(made)
        return self.status(made), self.log(made)

    def wait(self, id: str) -> None:
        """Wait for the end of a container."""
        record = self.store.containers.get(id)
        if record.phase == "running":
            self.handlers.get(record.handler).get(id).wait(60)

    def status(self, id: str) -> api.ContainerStatus:
        """Its status."""
        return self.containers.status(id).status

    def log(self, id: str) -> str:
        """What it wrote, without the format of the log."""
        path = Path(self.store.containers.get(id).log_path)
        return "".join(line.split(" ", 3)[3] for line in path.read_text().splitlines(keepends=True))

    def record(self, id: str) -> ContainerRecord:
        """Its record."""
        return self.store.containers.get(id)


@contextmanager
def stand(
    place: Path, mirror: str, *, given: Mapping[str, OCIRuntime] | None = None, **settings: Any
) -> Iterator[Stand]:
    """A stand below ``place`` with busybox pulled from a registry. At the end every container is removed."""
    config = config_below(place, mirror, **settings)
    for path in (config.root, config.state):
        Path(path).mkdir(mode=0o711, parents=True, exist_ok=True)
    with Store(Path(config.root) / "cri.db") as store, Images(config) as images:
        images.pull(api.ImageSpec(image=IMAGE), api.AuthConfig(), api.PodSandboxConfig())
        handlers, pods = Handlers(config, given or {}), Pods(place, store)
        events: list[tuple[int, str]] = []
        others = Others(
            handlers=handlers,
            images=images,
            sandboxes=pods,
            publish=lambda kind, subject, _: events.append((kind, subject)),
        )
        containers = Containers(config, store, KeyedLocks(), others)
        made = Stand(
            place=place,
            config=config,
            store=store,
            images=images,
            handlers=handlers,
            pods=pods,
            containers=containers,
            events=events,
        )
        try:
            yield made
        finally:
            for record in store.containers.all():
                containers.remove(record.id)
            pods.close()
            handlers.close()


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does."""
    event = threading.Event()
    for _ in range(400):
        if condition():
            return
        event.wait(0.05)
    raise AssertionError("it did not happen")


def left(node: Stand, id: str) -> list[str]:
    """What is still there of a container: directories, mounts, control groups."""
    found = [
        f"{directory}/{name}"
        for top in (node.config.root, node.config.state, "/sys/fs/cgroup")
        for directory, names, _ in os.walk(top)
        for name in names
        if id in name
    ]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [line for line in mounts if id in line]
