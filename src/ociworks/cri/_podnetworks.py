"""The network part as pods need it: by a pod's configuration instead of a value made of it."""

from __future__ import annotations

from ociworks.cri.network import Network
from ociworks.cri.network.request import pod_network
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.sandbox.parts import NetworkAnswer

__all__ = ["PodNetworks"]


class PodNetworks:
    """Connects and disconnects pods."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def add(self, id: str, netns: str, config: api.PodSandboxConfig) -> NetworkAnswer:
        """Connect a pod. NetworkError, and InvalidRequest for what plugins cannot be told."""
        found = self._network.add(pod_network(id, config, netns))
        return NetworkAnswer(result=found.result, addresses=found.addresses)

    def remove(self, id: str, netns: str, config: api.PodSandboxConfig) -> None:
        """Disconnect it; again is harmless. NetworkError."""
        self._network.remove(pod_network(id, config, netns))
