"""Records of containers as messages: status, lists, filters, and what a verbose status adds."""

from __future__ import annotations

import json

from ociworks.cri.container.translate.signals import signal_of
from ociworks.cri.images import LocalImage
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.runtime.protocol import OCIContainer
from ociworks.spec import to_json
from ociworks.spec.runtime import Spec

__all__ = ["config_of", "listed", "matches", "status_of", "verbose_info"]

_STATES = {
    "creating": api.ContainerState.CONTAINER_UNKNOWN,
    "created": api.ContainerState.CONTAINER_CREATED,
    "running": api.ContainerState.CONTAINER_RUNNING,
    "exited": api.ContainerState.CONTAINER_EXITED,
    "removing": api.ContainerState.CONTAINER_EXITED,
}


def config_of(record: ContainerRecord) -> api.ContainerConfig:
    """What the request asked for."""
    return api.ContainerConfig.FromString(record.config)


def status_of(record: ContainerRecord, image: LocalImage | None) -> api.ContainerStatus:
    """Everything that is to be said of one; ``image`` is its image, while that is here."""
    config = config_of(record)
    return api.ContainerStatus(
        id=record.id,
        metadata=config.metadata,
        state=_STATES[record.phase],
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        exit_code=record.exit_code,
        image=_image(config, image),
        image_ref=record.image_ref,
        image_id=record.image_id,
        reason=record.reason,
        message=record.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=api.ContainerStatus.FromString(record.mounts).mounts,
        log_path=record.log_path,
        resources=api.ContainerResources(linux=api.LinuxContainerResources.FromString(record.resources)),
        user=api.ContainerUser.FromString(record.user),
        stop_signal=api.Signal.Name(signal_of(record.stop_signal)),
    )


def listed(record: ContainerRecord) -> api.Container:
    """One entry of a list."""
    config = config_of(record)
    return api.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox_id,
        metadata=config.metadata,
        image=config.image,
        image_ref=record.image_ref,
        image_id=record.image_id,
        state=_STATES[record.phase],
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
    )


def matches(item: api.Container, filter: api.ContainerFilter) -> bool:
    """Whether a list with this filter has it."""
    return (
        item.id.startswith(filter.id)
        and item.pod_sandbox_id.startswith(filter.pod_sandbox_id)
        and (not filter.HasField("state") or item.state == filter.state.state)
        and all(item.labels.get(name) == value for name, value in filter.label_selector.items())
    )


def verbose_info(
    record: ContainerRecord, container: OCIContainer | None, spec: Spec | None
) -> dict[str, str]:
    """The record and the runtime's view of it, as JSON under ``info``."""
    info: dict[str, object] = {
        "sandboxID": record.sandbox_id,
        "pid": 0,
        "runtimeHandler": record.handler,
        "phase": record.phase,
        "restored": record.restored,
    }
    if container is not None:
        info["pid"] = container.pid
        info["bundle"] = container.bundle
    if spec is not None:
        info["runtimeSpec"] = json.loads(to_json(spec))
    return {"info": json.dumps(info)}


def _image(config: api.ContainerConfig, image: LocalImage | None) -> api.ImageSpec:
    """The image as it is called here: by its first tag, while it has one."""
    spec = api.ImageSpec()
    spec.CopyFrom(config.image)
    if image is not None and image.repo_tags:
        spec.image = image.repo_tags[0]
    return spec
