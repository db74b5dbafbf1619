"""What the RPCs need of each part of a node. The parts take and give messages of the interface, and raise typed errors.

A part whose calls have other shapes than these does not fit into a node (:mod:`ociworks.cri.node`); mypy says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = ["Checkpoints", "Containers", "Images", "Stats", "Streaming"]


class Images(Protocol):
    """The images of this node."""

    def pull(self, spec: api.ImageSpec, auth: api.AuthConfig, pod: api.PodSandboxConfig) -> str:
        """Bring an image here; its ID."""

    def list(self, filter: api.ImageFilter) -> Sequence[api.Image]:
        """Those that match."""

    def status(self, spec: api.ImageSpec, *, verbose: bool = False) -> api.ImageStatusResponse:
        """One of them; an empty answer when there is none."""

    def remove(self, spec: api.ImageSpec) -> None:
        """Remove one with all its names; again is harmless."""

    def fs_info(self) -> api.ImageFsInfoResponse:
        """What images and writable layers take on disk."""


class Containers(Protocol):
    """Containers in pods."""

    def create(self, sandbox_id: str, config: api.ContainerConfig, pod_config: api.PodSandboxConfig) -> str:
        """Make one; its ID."""

    def start(self, id: str) -> None:
        """Run it."""

    def stop(self, id: str, timeout: int) -> None:
        """End it, by force after so many seconds."""

    def remove(self, id: str) -> None:
        """End and forget it."""

    def status(self, id: str, *, verbose: bool = False) -> api.ContainerStatusResponse:
        """One of them."""

    def list(self, filter: api.ContainerFilter) -> Sequence[api.Container]:
        """Those that match."""

    def update_resources(self, request: api.UpdateContainerResourcesRequest) -> None:
        """Change its limits."""

    def reopen_log(self, id: str) -> None:
        """Open its log anew."""


class Streaming(Protocol):
    """Programs and ports with streams."""

    def exec_sync(self, container_id: str, command: Sequence[str], timeout: int) -> api.ExecSyncResponse:
        """Run a program to its end, in so many seconds (0: any time)."""

    def exec(self, request: api.ExecRequest) -> str:
        """The URL for it."""

    def attach(self, request: api.AttachRequest) -> str:
        """The URL for it."""

    def port_forward(self, request: api.PortForwardRequest) -> str:
        """The URL for it."""

    def start(self) -> None:
        """Listen."""

    def close(self) -> None:
        """End every session."""


class Stats(Protocol):
    """What is used."""

    def container(self, id: str) -> api.ContainerStats:
        """By one container."""

    def list_containers(self, filter: api.ContainerStatsFilter) -> Sequence[api.ContainerStats]:
        """By those that match."""

    def pod(self, id: str) -> api.PodSandboxStats:
        """By one pod."""

    def list_pods(self, filter: api.PodSandboxStatsFilter) -> Sequence[api.PodSandboxStats]:
        """By those that match."""

    def metric_descriptors(self) -> Sequence[api.MetricDescriptor]:
        """Which metrics there are."""

    def pod_metrics(self) -> Sequence[api.PodSandboxMetrics]:
        """All of them, of every pod."""


class Checkpoints(Protocol):
    """Containers and pods on disk."""

    def checkpoint_container(self, request: api.CheckpointContainerRequest) -> None:
        """Write a container to an archive."""

    def checkpoint_pod(self, request: api.CheckpointPodRequest) -> None:
        """Write a pod to a directory."""

    def restore_pod(self, _request: api.RestorePodRequest) -> api.RestorePodResponse:
        """Make a pod of that."""
