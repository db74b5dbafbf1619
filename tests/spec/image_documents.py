"""Documents that several tests of images share, as plain JSON."""

from __future__ import annotations

import json

from ociworks.spec.digest import Digest
from ociworks.spec.image import mediatypes

CONFIG_DIGEST = str(Digest.of(b"config"))
LAYER_DIGEST = str(Digest.of(b"layer"))


def encode(document: object) -> bytes:
    """Compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def descriptor(media_type: str = mediatypes.OCI_LAYER_GZIP, **members: object) -> dict[str, object]:
    """A descriptor of nothing in particular."""
    return {"mediaType": media_type, "digest": LAYER_DIGEST, "size": 5, **members}


def manifest(**members: object) -> dict[str, object]:
    """A small image manifest."""
    return {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": mediatypes.OCI_CONFIG, "digest": CONFIG_DIGEST, "size": 6},
        "layers": [descriptor()],
        **members,
    }


def index(**members: object) -> dict[str, object]:
    """A small image index."""
    platform = {"architecture": "amd64", "os": "linux"}
    entry = descriptor(mediatypes.OCI_MANIFEST, platform=platform)
    return {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [entry], **members}


def configuration(**members: object) -> dict[str, object]:
    """A small image configuration."""
    return {
        "created": "2024-02-29T12:00:00.123456789Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "ExposedPorts": {"80/tcp": {}}, "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": [LAYER_DIGEST]},
        "history": [{"created_by": "COPY"}, {"created_by": "ENV", "empty_layer": True}],
        **members,
    }
