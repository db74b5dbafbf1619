"""Pods without a server: real namespaces, and stand-ins for the other parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

from ociworks.cri.config import CriConfig
from ociworks.cri.locks import KeyedLocks
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.sandbox.parts import NetworkAnswer
from ociworks.cri.sandbox.sandboxes import Others, Sandboxes
from ociworks.cri.store import Store
from ociworks.errors import InvalidRequest, NetworkError
from ociworks.runtime import cgroups
from tests.cri.nodes import config_below

__all__ = ["Pods", "group_of", "pods_below", "traces"]


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
