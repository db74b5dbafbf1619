"""The files of an archive that describe a container; the names in them are those that checkpointctl knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from google.protobuf.json_format import MessageToJson

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord

__all__ = ["config_dump", "pod_dump", "status_dump"]

_BILLION: Final = 1_000_000_000


def config_dump(record: ContainerRecord, status: api.ContainerStatus) -> bytes:
    """Which container it was, of which image."""
    return json.dumps(
        {
            "id": record.id,
            "name": record.name,
            "rootfsImage": status.image.image,
            "rootfsImageRef": record.image_ref,
            "rootfsImageName": status.image.user_specified_image or status.image.image,
            "runtime": record.handler,
            "createdTime": _time(record.created_at),
            "checkpointedTime": datetime.now(UTC).isoformat(),
            "restoredTime": _time(0),
            "restored": record.restored,
        },
        indent=2,
    ).encode()


def status_dump(status: api.ContainerStatus) -> bytes:
    """Everything that ContainerStatus says of it."""
    return MessageToJson(status).encode()


def pod_dump(config: api.PodSandboxConfig, containers: dict[str, str]) -> bytes:
    """Which pod it was, and the archive of each container by its name."""
    document = {"config": json.loads(MessageToJson(config)), "containers": containers}
    return json.dumps(document, indent=2).encode()


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // _BILLION, UTC).isoformat()
