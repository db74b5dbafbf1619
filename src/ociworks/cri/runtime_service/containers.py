"""Containers: create, start, stop, remove, status, list, update, logs."""

from __future__ import annotations

from collections.abc import Iterator

from ociworks.cri._pieces import pieces
from ociworks.cri._requests import need
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = [
    "container_status",
    "create_container",
    "list_containers",
    "remove_container",
    "reopen_container_log",
    "start_container",
    "stop_container",
    "stream_containers",
    "update_container_resources",
]


def create_container(node: Node, request: api.CreateContainerRequest) -> api.CreateContainerResponse:
    """A new container in a pod that is ready; it does not run yet."""
    need(request, "pod_sandbox_id", "config", "config.metadata", "config.image", "sandbox_config")
    made = node.containers.create(request.pod_sandbox_id, request.config, request.sandbox_config)
    return api.CreateContainerResponse(container_id=made)


def start_container(node: Node, request: api.StartContainerRequest) -> api.StartContainerResponse:
    """Run it."""
    need(request, "container_id")
    node.containers.start(request.container_id)
    return api.StartContainerResponse()


def stop_container(node: Node, request: api.StopContainerRequest) -> api.StopContainerResponse:
    """End it."""
    need(request, "container_id")
    node.containers.stop(request.container_id, request.timeout)
    return api.StopContainerResponse()


def remove_container(node: Node, request: api.RemoveContainerRequest) -> api.RemoveContainerResponse:
    """Forget it."""
    need(request, "container_id")
    node.containers.remove(request.container_id)
    return api.RemoveContainerResponse()


def list_containers(node: Node, request: api.ListContainersRequest) -> api.ListContainersResponse:
    """Containers that match."""
    return api.ListContainersResponse(containers=node.containers.list(request.filter))


def stream_containers(
    node: Node, request: api.StreamContainersRequest
) -> Iterator[api.StreamContainersResponse]:
    """The same, in pieces."""
    for piece in pieces(node.containers.list(request.filter)):
        yield api.StreamContainersResponse(containers=piece)


def container_status(node: Node, request: api.ContainerStatusRequest) -> api.ContainerStatusResponse:
    """One container."""
    need(request, "container_id")
    return node.containers.status(request.container_id, verbose=request.verbose)


def update_container_resources(
    node: Node, request: api.UpdateContainerResourcesRequest
) -> api.UpdateContainerResourcesResponse:
    """Other limits for it."""
    need(request, "container_id")
    node.containers.update_resources(request)
    return api.UpdateContainerResourcesResponse()


def reopen_container_log(
    node: Node, request: api.ReopenContainerLogRequest
) -> api.ReopenContainerLogResponse:
    """A new log file, after somebody moved the old one away."""
    need(request, "container_id")
    node.containers.reopen_log(request.container_id)
    return api.ReopenContainerLogResponse()
