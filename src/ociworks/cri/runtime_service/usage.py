"""What containers and pods use, and metrics."""

from __future__ import annotations

from collections.abc import Iterator

from ociworks.cri._pieces import pieces
from ociworks.cri._requests import need
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = [
    "container_stats",
    "list_container_stats",
    "list_metric_descriptors",
    "list_pod_sandbox_metrics",
    "list_pod_sandbox_stats",
    "pod_sandbox_stats",
    "stream_container_stats",
    "stream_pod_sandbox_metrics",
    "stream_pod_sandbox_stats",
]


def container_stats(node: Node, request: api.ContainerStatsRequest) -> api.ContainerStatsResponse:
    """What one container uses."""
    need(request, "container_id")
    return api.ContainerStatsResponse(stats=node.stats.container(request.container_id))


def list_container_stats(
    node: Node, request: api.ListContainerStatsRequest
) -> api.ListContainerStatsResponse:
    """What containers that match use."""
    return api.ListContainerStatsResponse(stats=node.stats.list_containers(request.filter))


def stream_container_stats(
    node: Node, request: api.StreamContainerStatsRequest
) -> Iterator[api.StreamContainerStatsResponse]:
    """The same, in pieces."""
    for piece in pieces(node.stats.list_containers(request.filter)):
        yield api.StreamContainerStatsResponse(container_stats=piece)


def pod_sandbox_stats(node: Node, request: api.PodSandboxStatsRequest) -> api.PodSandboxStatsResponse:
    """What one pod uses."""
    need(request, "pod_sandbox_id")
    return api.PodSandboxStatsResponse(stats=node.stats.pod(request.pod_sandbox_id))


def list_pod_sandbox_stats(
    node: Node, request: api.ListPodSandboxStatsRequest
) -> api.ListPodSandboxStatsResponse:
    """What pods that match use."""
    return api.ListPodSandboxStatsResponse(stats=node.stats.list_pods(request.filter))


def stream_pod_sandbox_stats(
    node: Node, request: api.StreamPodSandboxStatsRequest
) -> Iterator[api.StreamPodSandboxStatsResponse]:
    """The same, in pieces."""
    for piece in pieces(node.stats.list_pods(request.filter)):
        yield api.StreamPodSandboxStatsResponse(pod_sandbox_stats=piece)


def list_metric_descriptors(
    node: Node, request: api.ListMetricDescriptorsRequest
) -> api.ListMetricDescriptorsResponse:
    """Which metrics there are."""
    return api.ListMetricDescriptorsResponse(descriptors=node.stats.metric_descriptors())


def list_pod_sandbox_metrics(
    node: Node, request: api.ListPodSandboxMetricsRequest
) -> api.ListPodSandboxMetricsResponse:
    """Metrics of every pod."""
    return api.ListPodSandboxMetricsResponse(pod_metrics=node.stats.pod_metrics())


def stream_pod_sandbox_metrics(
    node: Node, request: api.StreamPodSandboxMetricsRequest
) -> Iterator[api.StreamPodSandboxMetricsResponse]:
    """The same, in pieces."""
    for piece in pieces(node.stats.pod_metrics()):
        yield api.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=piece)
