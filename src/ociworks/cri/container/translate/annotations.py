"""What of a request's annotations reaches the runtime: exactly what the handler's settings name (CR-09)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from ociworks.cri.container.translate.request import Request
from ociworks.errors import quote
from ociworks.spec import FrozenDict

__all__ = ["OWN", "runtime_annotations"]

_log = logging.getLogger(__name__)

OWN: Final = "io.kubernetes.cri."
"""Names below it are written by this server alone: runtimes such as gVisor learn from them what belongs together."""


def runtime_annotations(request: Request) -> FrozenDict[str, str]:
    """The runtime's annotations: facts of this server, and what is allowed, a container's before its pod's."""
    allowed = frozenset(request.handler.annotations)
    found = {
        name: value
        for given in (request.pod.annotations, request.config.annotations)
        for name, value in given.items()
        if name in allowed and not name.startswith(OWN)
    }
    refused = sorted((set(request.pod.annotations) | set(request.config.annotations)) - set(found))
    if refused:
        _log.debug(
            "container %s: annotations not for its runtime: %s", request.id, ", ".join(map(quote, refused))
        )
    return FrozenDict({**found, **dict(_facts(request))})


def _facts(request: Request) -> Iterator[tuple[str, str]]:
    metadata = request.pod.metadata
    yield f"{OWN}container-type", "container"
    yield f"{OWN}container-name", request.config.metadata.name
    yield f"{OWN}sandbox-id", request.sandbox_id
    yield f"{OWN}sandbox-name", metadata.name
    yield f"{OWN}sandbox-namespace", metadata.namespace
    yield f"{OWN}sandbox-uid", metadata.uid
