"""Containers and pods on disk."""

from __future__ import annotations

from ociworks.cri._requests import need
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = [
    "checkpoint_container",
    "checkpoint_pod",
    "restore_pod",
]


def checkpoint_container(
    node: Node, request: api.CheckpointContainerRequest
) -> api.CheckpointContainerResponse:
    """Write a running container to an archive."""
    need(request, "container_id", "location")
    node.checkpoints.checkpoint_container(request)
    return api.CheckpointContainerResponse()


def checkpoint_pod(node: Node, request: api.CheckpointPodRequest) -> api.CheckpointPodResponse:
    """Write a running pod to a directory."""
    need(request, "pod_sandbox_id", "output_path")
    node.checkpoints.checkpoint_pod(request)
    return api.CheckpointPodResponse()


def restore_pod(node: Node, request: api.RestorePodRequest) -> api.RestorePodResponse:
    """Make a pod of what CheckpointPod wrote."""
    need(request, "checkpoint_path", "config", "config.metadata")
    return node.checkpoints.restore_pod(request)
