"""What a pod needs of the other parts of a node."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = ["Containers", "Handlers", "Network", "NetworkAnswer", "Publish"]


@frozen(kw_only=True)
class NetworkAnswer:
    """What the plugins said."""

    result: bytes = b""
    addresses: tuple[str, ...] = ()


class Handlers(Protocol):
    """Runtimes by name."""

    def get(self, name: str) -> object:
        """The runtime of this name, empty for the default one. InvalidRequest when there is none."""


class Network(Protocol):
    """Networks of pods that have one of their own; each call gets all that is known of the pod."""

    def add(self, id: str, netns: str, config: api.PodSandboxConfig) -> NetworkAnswer:
        """Connect the pod. NetworkError."""

    def remove(self, id: str, netns: str, config: api.PodSandboxConfig) -> None:
        """Disconnect it, however far connecting it came; again is harmless. NetworkError."""


class Containers(Protocol):
    """Containers of pods."""

    def stop(self, id: str, timeout: int) -> None:
        """End one; again is harmless."""

    def remove(self, id: str) -> None:
        """End and forget one; again is harmless."""

    def status(self, id: str) -> api.ContainerStatusResponse:
        """What is to be said of one."""


class Publish(Protocol):
    """Tells followers what happened."""

    def __call__(
        self,
        kind: api.ContainerEventType,
        container_id: str,
        sandbox_id: str,
        /,
        *,
        pod: api.PodSandboxStatus | None = None,
    ) -> None:
        """To which container, of which pod (of a pod: its own ID twice); ``pod``: the last word on one that is gone."""
