"""Programs and ports: ExecSync, and URLs for Exec, Attach and PortForward."""

from __future__ import annotations

from ociworks.cri._requests import need
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = [
    "attach",
    "exec",
    "exec_sync",
    "port_forward",
]


def exec_sync(node: Node, request: api.ExecSyncRequest) -> api.ExecSyncResponse:
    """Run a program to its end."""
    need(request, "container_id", "cmd")
    return node.streaming.exec_sync(request.container_id, request.cmd, request.timeout)


def exec(node: Node, request: api.ExecRequest) -> api.ExecResponse:  # noqa: A001 - the RPC's name
    """Where a program can be run with streams."""
    need(request, "container_id", "cmd")
    return api.ExecResponse(url=node.streaming.exec(request))


def attach(node: Node, request: api.AttachRequest) -> api.AttachResponse:
    """Where a container's streams can be had."""
    need(request, "container_id")
    return api.AttachResponse(url=node.streaming.attach(request))


def port_forward(node: Node, request: api.PortForwardRequest) -> api.PortForwardResponse:
    """Where ports inside a pod can be reached."""
    need(request, "pod_sandbox_id")
    return api.PortForwardResponse(url=node.streaming.port_forward(request))
