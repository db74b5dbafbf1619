"""The files of an archive that describe a container; the names in them are those that checkpointctl knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from google.protobuf.json_format import MessageToJson

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.errors import quote

__all__ = ["archive_names", "config_dump", "pod_dump", "status_dump"]

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
            "runtime": record.handler or "ociworks",
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


def archive_names(raw: bytes) -> dict[str, str]:
    """The file of each container's archive, by the container's name. ValueError when it says no such thing."""
    found = json.loads(raw)
    names = found.get("containers") if isinstance(found, dict) else None
    if not isinstance(names, dict):
        raise ValueError("expected an object with an object of containers")
    for file in names.values():
        if not isinstance(file, str) or "/" in file or "\0" in file or file in ("", ".", ".."):
            raise ValueError(f"expected the name of a file beside it, got {quote(str(file))}")
    return names


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // _BILLION, UTC).isoformat()
