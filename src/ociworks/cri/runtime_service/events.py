"""What happens to containers, from now on."""

from __future__ import annotations

from ociworks.cri.events import Subscription
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = [
    "get_container_events",
]


def get_container_events(node: Node, request: api.GetEventsRequest) -> Subscription:
    """Every event after this call."""
    return node.events.subscribe()
