"""Every RPC by the descriptors' table: which function it is, and how it may behave."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ociworks.cri import image_service, runtime_service
from ociworks.cri._rpc import Method
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

__all__ = ["SERVICES", "methods"]

SERVICES: Final = {
    "RuntimeService": runtime_service.GROUPS,
    "ImageService": image_service.GROUPS,
}
_CHANGES: Final = frozenset(
    "Run Stop Remove Create Start Update Reopen Exec Attach Port Checkpoint Restore Pull".split()
)
"""The first words of RPCs that change something or run something; they may take long, too."""


def methods(service: str, node: Callable[[], Node]) -> list[Method]:
    """The RPCs of one service, for the node that there is when they are called."""
    return [_method(found, SERVICES[service], node) for found in _descriptors(service)]


def _descriptors(service: str) -> list[MethodDescriptor]:
    return list(api.DESCRIPTOR.services_by_name[service].methods)


def _method(found: MethodDescriptor, groups: tuple[ModuleType, ...], node: Callable[[], Node]) -> Method:
    words = re.findall("[A-Z][a-z]+", found.name)
    function = _function("_".join(words).lower(), groups)
    changes = words[0] in _CHANGES
    return Method(
        name=found.name,
        request=getattr(api, found.input_type.name),
        response=getattr(api, found.output_type.name),
        call=partial(_call, function, node),
        streams=found.server_streaming,
        slow=changes,
        audited=changes,
    )


def _function(name: str, groups: tuple[ModuleType, ...]) -> Callable[[Node, Any], Any]:
    for group in groups:
        if name in group.__all__:
            function: Callable[[Node, Any], Any] = getattr(group, name)
            return function
    raise LookupError(name)


def _call(function: Callable[[Node, Any], Any], node: Callable[[], Node], request: object) -> object:
    return function(node(), request)
