"""Containers and pods to count: records without a server, and processes in control groups."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import define, evolve, field

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.cri.stats import Stats
from ociworks.cri.store import Store
from ociworks.errors import ContainerNotFound
from ociworks.runtime import cgroups
from tests.cri.nodes import config_below
from tests.runtime.groups import needs_groups, sleeper

__all__ = ["Counted", "counted", "in_groups"]

_PROGRAM = "read _; x=$(head -c 1000000 /dev/zero | tr '\\0' x); echo ready; read _"


@define
class FakeRuntimes:
    """Every handler has the same containers; they are known by their first processes alone."""

    pids: dict[str, int] = field(factory=dict)

    def get(self, name: str) -> Any:
        return SimpleNamespace(get=self._container)

    def _container(self, id: str) -> Any:
        if id not in self.pids:
            raise ContainerNotFound(f"no container {id}")
        return SimpleNamespace(pid=self.pids[id])


@define
class FakeLayers:
    """Every container has written the same."""

    calls: list[str] = field(factory=list)

    def usage(self, container_id: str) -> tuple[int, int]:
        self.calls.append(container_id)
        return 4096, 2

    def fs_info(self) -> api.ImageFsInfoResponse:
        identifier = api.FilesystemIdentifier(mountpoint="/")
        return api.ImageFsInfoResponse(container_filesystems=[api.FilesystemUsage(fs_id=identifier)])


@define
class Counted:
    """Statistics over records that a test writes."""

    store: Store
    stats: Stats
    runtimes: FakeRuntimes
    layers: FakeLayers
    place: Path

    def pod(self, name: str, **settings: Any) -> str:
        """Record a ready pod."""
        config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="tests"),
            labels={"app": name},
            annotations={"note": name},
        )
        record = SandboxRecord(
            id=_id(name),
            name=name,
            phase="ready",
            created_at=1_700_000_000_000_000_000,
            handler="",
            config=config.SerializeToString(),
        )
        self.store.sandboxes.add(evolve(record, **settings))
        return record.id

    def container(self, pod: str, name: str, pid: int = 0, **settings: Any) -> str:
        """Record a running container whose first process is this."""
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name),
            labels={"part": name},
            image=api.ImageSpec(image="sha256:abc", user_specified_image="registry.example/app:1"),
            linux=api.LinuxContainerConfig(
                resources=api.LinuxContainerResources(
                    cpu_period=100_000, cpu_quota=20_000, cpu_shares=512, memory_limit_in_bytes=64 << 20
                )
            ),
        )
        record = ContainerRecord(
            id=_id(pod + name),
            sandbox_id=pod,
            name=pod + name,
            phase="running",
            handler="",
            config=config.SerializeToString(),
            created_at=1_700_000_000_000_000_000,
            started_at=1_700_000_001_000_000_000,
        )
        self.store.containers.add(evolve(record, **settings))
        if pid:
            self.runtimes.pids[record.id] = pid
        return record.id


@contextmanager
def counted(place: Path, **settings: Any) -> Iterator[Counted]:
    """Statistics with no records yet, below ``place``."""
    config = config_below(place, **settings)
    os.makedirs(config.root)
    with Store(place / "cri.db") as store:
        runtimes, layers = FakeRuntimes(), FakeLayers()
        stats = Stats(config, store, runtimes, layers)
        yield Counted(store=store, stats=stats, runtimes=runtimes, layers=layers, place=place)


@contextmanager
def in_groups(path: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in control groups of that path, which has used memory there; both are gone in the end."""
    hierarchies = needs_groups("memory", "pids")
    planned = cgroups.plan(hierarchies, path, "", None, devices=False)
    with ExitStack() as undo:
        made = cgroups.apply(planned)
        undo.callback(cgroups.remove, made)
        process = undo.enter_context(sleeper("sh", "-c", _PROGRAM))
        cgroups.join(planned, process.pid)
        undo.callback(cgroups.kill, planned.directories)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        yield process


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
