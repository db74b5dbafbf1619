"""Pods without a server: real namespaces, and stand-ins for the other parts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from ociworks.cri.config import CriConfig
from ociworks.cri.locks import KeyedLocks
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.sandbox.parts import NetworkAnswer
from ociworks.cri.sandbox.sandboxes import Others, Sandboxes
from ociworks.cri.store import Store
from ociworks.errors import InvalidRequest, NetworkError
from ociworks.runtime import cgroups
from tests.cri.nodes import config_below, pod_config

__all__ = [
    "MAPPED",
    "Pods",
    "a_container",
    "config",
    "directory_of",
    "group_of",
    "inside",
    "pods_below",
    "traces",
]

_MAPS = [api.IDMapping(container_id=0, host_id=200000, length=65536)]
MAPPED = api.UserNamespace(mode=api.POD, uids=_MAPS, gids=_MAPS)
_OWN = {"network": api.POD, "pid": api.CONTAINER}


@define
class FakeNetwork:
    """Gives everybody the same two addresses, and remembers what it was asked."""

    calls: list[tuple[str, str, bool]] = field(factory=list)
    fails: set[str] = field(factory=set)

    def add(self, id: str, netns: str, config: api.PodSandboxConfig) -> NetworkAnswer:
        self._call("add", id, netns)
        return NetworkAnswer(result=b'{"ips": []}', addresses=("10.1.2.3", "fd00::3"))

    def remove(self, id: str, netns: str, config: api.PodSandboxConfig) -> None:
        self._call("remove", id, netns)

    def _call(self, what: str, id: str, netns: str) -> None:
        self.calls.append((what, id, os.path.ismount(netns)))
        if what in self.fails:
            raise NetworkError(f"{what} fails, as it was told to")


@define(slots=False)
class FakeContainers:
    """Forgets what is removed."""

    store: Store
    calls: list[tuple[str, str]] = field(factory=list)

    def stop(self, id: str, timeout: int) -> None:
        self.calls.append(("stop", id))

    def remove(self, id: str) -> None:
        self.calls.append(("remove", id))
        self.store.containers.remove(id)

    def status(self, id: str) -> api.ContainerStatusResponse:
        return api.ContainerStatusResponse(status=api.ContainerStatus(id=id))


class FakeHandlers:
    """Knows the default one and ``known``."""

    def get(self, name: str) -> object:
        if name not in ("", "known"):
            raise InvalidRequest(f"runtime_handler: {name} is unknown")
        return self


@define
class Pods:
    """Sandboxes and what stands around them."""

    config: CriConfig
    store: Store
    network: FakeNetwork
    containers: FakeContainers
    sandboxes: Sandboxes
    events: list[tuple[int, str]]
    last: list[api.PodSandboxStatus]
    """What events said of pods that are gone."""


@contextmanager
def pods_below(place: Path, **settings: Any) -> Iterator[Pods]:
    """Sandboxes whose directories are below ``place``."""
    config = config_below(place, **settings)
    os.makedirs(config.root, exist_ok=True)
    os.makedirs(config.state, exist_ok=True)
    with Store(f"{config.root}/cri.db") as store:
        network, containers, events = FakeNetwork(), FakeContainers(store), list[tuple[int, str]]()
        last: list[api.PodSandboxStatus] = []

        def publish(kind: int, subject: str, _: str, /, *, pod: api.PodSandboxStatus | None = None) -> None:
            events.append((kind, subject))
            last.extend([pod] if pod else [])

        others = Others(
            network=network,
            handlers=FakeHandlers(),
            containers=lambda: containers,
            publish=publish,
            followed=lambda: bool(store.containers.all()),
        )
        sandboxes = Sandboxes(config, store, KeyedLocks(), others)
        yield Pods(config, store, network, containers, sandboxes, events, last)


def group_of(place: Path) -> str:
    """The control group for pods of a test; everything else there is somebody else's."""
    return f"/ociworks-{place.name}"


def traces(place: Path) -> tuple[list[str], list[str]]:
    """What a pod below ``place`` can leave on the machine: mounts and control groups."""
    with open("/proc/self/mounts") as stream:
        mounts = sorted(line.split()[1] for line in stream if str(place) in line)
    mounted = {mount.mount_point for mount in cgroups.detect().mounts}
    groups = [found for mount in sorted(mounted) if os.path.exists(found := mount + group_of(place))]
    return mounts, groups


def config(place: Path, name: str = "pod", **namespaces: Any) -> api.PodSandboxConfig:
    """A pod with namespaces of its own, except as said."""
    made = pod_config(place, name)
    made.linux.cgroup_parent = f"{group_of(place)}/{name}"
    made.linux.security_context.namespace_options.CopyFrom(api.NamespaceOption(**{**_OWN, **namespaces}))
    return made


def inside(pods: Pods, id: str, *command: str) -> str:
    """What a program says in the namespaces of a pod."""
    pins = pods.sandboxes.namespaces(pods.sandboxes.get(id))
    flags = [f"--{name}={path}" for name, path in pins.items()]
    done = subprocess.run(["nsenter", *flags, *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def directory_of(parent: str, controller: str) -> Path:
    """The directory of a group in the hierarchy of a controller."""
    mount = cgroups.detect().find(controller)
    if mount is None:
        pytest.skip(f"no {controller} controller")
    return Path(mount.mount_point + parent)


# --- ends --------------------------------------------------------------------------------------------


def a_container(pod: str) -> ContainerRecord:
    """Running, as far as the records know."""
    return ContainerRecord(
        id="c" * 64, sandbox_id=pod, name="c", phase="running", handler="", config=b"", created_at=1
    )
