"""Images as messages of the interface."""

from __future__ import annotations

import json

from ociworks.cri.images.local import LocalImage
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import SpecError
from ociworks.spec.numbers import parse_uint

__all__ = ["described", "described_fully"]

_MAX_ID = 0xFFFF_FFFE


def described(image: LocalImage) -> api.Image:
    """What a list says of an image."""
    uid, username = _user((image.configuration.config.user if image.configuration.config else None) or "")
    name = next(iter((*image.repo_tags, *image.repo_digests)), image.id)
    return api.Image(
        id=image.id,
        repo_tags=image.repo_tags,
        repo_digests=image.repo_digests,
        size=image.size,
        uid=uid,
        username=username,
        spec=api.ImageSpec(image=name, annotations=image.image.manifest.annotations),
        pinned=image.pinned,
    )


def described_fully(image: LocalImage) -> dict[str, str]:
    """What a verbose status adds, as JSON: configuration, manifest, and the chain ID of the unpacked layers."""
    chain = image.chain_ids
    return {
        "info": json.dumps(
            {
                "chainID": str(chain[-1]) if chain else "",
                "imageSpec": json.loads(image.image.raw_config),
                "manifest": json.loads(image.image.raw_manifest),
            }
        )
    }


def _user(text: str) -> tuple[api.Int64Value | None, str]:
    """The user of an image without its group: a number or a name. What is too large a number is a name nobody has."""
    user = text.partition(":")[0]
    try:
        return api.Int64Value(value=parse_uint(user, _MAX_ID, "user")), ""
    except SpecError:
        return None, user
