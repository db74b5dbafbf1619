"""Pods as the interface shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf import json_format

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import SandboxRecord

__all__ = ["config_of", "listed", "matches", "response", "status"]

_EMPTY: Final[Mapping[str, str]] = {}


def config_of(record: SandboxRecord) -> api.PodSandboxConfig:
    """The request's configuration."""
    return api.PodSandboxConfig.FromString(record.config)


def listed(record: SandboxRecord, *, ready: bool) -> api.PodSandbox:
    """An item of a list."""
    config = config_of(record)
    return api.PodSandbox(
        id=record.id,
        metadata=config.metadata,
        state=_state(ready=ready),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
    )


def status(record: SandboxRecord, *, ready: bool) -> api.PodSandboxStatus:
    """All that is said of one; addresses only while it is ready, as they may be another pod's then."""
    config = config_of(record)
    addresses = record.addresses if ready else ()
    options = config.linux.security_context.namespace_options
    return api.PodSandboxStatus(
        id=record.id,
        metadata=config.metadata,
        state=_state(ready=ready),
        created_at=record.created_at,
        network=api.PodSandboxNetworkStatus(
            ip=addresses[0] if addresses else "",
            additional_ips=[api.PodIP(ip=address) for address in addresses[1:]],
        ),
        linux=api.LinuxPodSandboxStatus(namespaces=api.Namespace(options=options)),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
    )


def response(
    record: SandboxRecord,
    *,
    ready: bool,
    pins: Mapping[str, str] | None,
    containers: Iterable[api.ContainerStatus],
    at: int,
) -> api.PodSandboxStatusResponse:
    """The answer about one, as it was ``at`` nanoseconds; with ``pins``, its namespaces, a verbose one."""
    return api.PodSandboxStatusResponse(
        status=status(record, ready=ready),
        info=_EMPTY if pins is None else {"info": _information(record, pins)},
        containers_statuses=containers,
        timestamp=at,
    )


def matches(item: api.PodSandbox, wanted: api.PodSandboxFilter) -> bool:
    """Whether it has the beginning of the ID, the state and every label that is asked for."""
    return (
        item.id.startswith(wanted.id)
        and (not wanted.HasField("state") or item.state == wanted.state.state)
        and all(item.labels.get(name) == value for name, value in wanted.label_selector.items())
    )


def _state(*, ready: bool) -> api.PodSandboxState:
    return api.SANDBOX_READY if ready else api.SANDBOX_NOTREADY


def _information(record: SandboxRecord, pins: Mapping[str, str]) -> str:
    """For people with crictl; not a promise to programs."""
    return json.dumps(
        {
            "phase": record.phase,
            "runtimeHandler": record.handler,
            "cgroupParent": record.cgroup_parent,
            "namespaces": dict(pins),
            "pause": record.pause,
            "cniResult": json.loads(record.network or b"null"),
            "config": json_format.MessageToDict(config_of(record)),
        }
    )
