"""Pods: run, stop, remove, status, list, update."""

from __future__ import annotations

from collections.abc import Iterator

from ociworks.cri._pieces import pieces
from ociworks.cri._requests import need
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = [
    "list_pod_sandbox",
    "pod_sandbox_status",
    "remove_pod_sandbox",
    "run_pod_sandbox",
    "stop_pod_sandbox",
    "stream_pod_sandboxes",
    "update_pod_sandbox_resources",
]


def run_pod_sandbox(node: Node, request: api.RunPodSandboxRequest) -> api.RunPodSandboxResponse:
    """A new pod; ready afterwards."""
    need(request, "config", "config.metadata")
    made = node.sandboxes.run(request.config, request.runtime_handler)
    return api.RunPodSandboxResponse(pod_sandbox_id=made)


def stop_pod_sandbox(node: Node, request: api.StopPodSandboxRequest) -> api.StopPodSandboxResponse:
    """End its containers, take down its network."""
    need(request, "pod_sandbox_id")
    node.sandboxes.stop(request.pod_sandbox_id)
    return api.StopPodSandboxResponse()


def remove_pod_sandbox(node: Node, request: api.RemovePodSandboxRequest) -> api.RemovePodSandboxResponse:
    """Forget it, with its containers."""
    need(request, "pod_sandbox_id")
    node.sandboxes.remove(request.pod_sandbox_id)
    return api.RemovePodSandboxResponse()


def pod_sandbox_status(node: Node, request: api.PodSandboxStatusRequest) -> api.PodSandboxStatusResponse:
    """One pod."""
    need(request, "pod_sandbox_id")
    return node.sandboxes.status(request.pod_sandbox_id, verbose=request.verbose)


def list_pod_sandbox(node: Node, request: api.ListPodSandboxRequest) -> api.ListPodSandboxResponse:
    """Pods that match."""
    return api.ListPodSandboxResponse(items=node.sandboxes.list(request.filter))


def stream_pod_sandboxes(
    node: Node, request: api.StreamPodSandboxesRequest
) -> Iterator[api.StreamPodSandboxesResponse]:
    """The same, in pieces."""
    for piece in pieces(node.sandboxes.list(request.filter)):
        yield api.StreamPodSandboxesResponse(pod_sandboxes=piece)


def update_pod_sandbox_resources(
    node: Node, request: api.UpdatePodSandboxResourcesRequest
) -> api.UpdatePodSandboxResourcesResponse:
    """Other limits for it."""
    need(request, "pod_sandbox_id")
    node.sandboxes.update_resources(request)
    return api.UpdatePodSandboxResourcesResponse()
