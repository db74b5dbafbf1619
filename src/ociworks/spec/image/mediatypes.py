"""Media types of images, OCI's and Docker's (image-spec media-types.md), and what they say.

Types are compared exactly: two spellings of one type are how documents get confused. ``+gzip`` on a type that is
not in the table says nothing, because nobody knows what is inside.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from ociworks.errors import SpecError, quote

__all__ = [
    "DOCKER_CONFIG",
    "DOCKER_FOREIGN_LAYER",
    "DOCKER_FOREIGN_LAYER_GZIP",
    "DOCKER_LAYER",
    "DOCKER_LAYER_GZIP",
    "DOCKER_LAYER_ZSTD",
    "DOCKER_MANIFEST",
    "DOCKER_MANIFEST_LIST",
    "DOCKER_SCHEMA1",
    "DOCKER_SCHEMA1_SIGNED",
    "OCI_CONFIG",
    "OCI_DESCRIPTOR",
    "OCI_EMPTY",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_LAYER_GZIP",
    "OCI_LAYER_ZSTD",
    "OCI_LAYOUT",
    "OCI_MANIFEST",
    "OCI_NONDISTRIBUTABLE_LAYER",
    "OCI_NONDISTRIBUTABLE_LAYER_GZIP",
    "OCI_NONDISTRIBUTABLE_LAYER_ZSTD",
    "Compression",
    "compression_of",
    "essence",
    "is_config",
    "is_distributable",
    "is_index",
    "is_layer",
    "is_manifest",
    "is_media_type",
    "is_schema1",
]

OCI_DESCRIPTOR: Final = "application/vnd.oci.descriptor.v1+json"
OCI_LAYOUT: Final = "application/vnd.oci.layout.header.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_NONDISTRIBUTABLE_LAYER: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_NONDISTRIBUTABLE_LAYER_GZIP: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_NONDISTRIBUTABLE_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"

DOCKER_MANIFEST_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

Compression = Literal["none", "gzip", "zstd"]
"""How the bytes of a layer are compressed."""

_INDEXES: Final = frozenset({OCI_INDEX, DOCKER_MANIFEST_LIST})
_MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_SCHEMA1: Final = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
_LAYERS: Final[dict[str, Compression]] = {
    OCI_LAYER: "none",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    OCI_NONDISTRIBUTABLE_LAYER: "none",
    OCI_NONDISTRIBUTABLE_LAYER_GZIP: "gzip",
    OCI_NONDISTRIBUTABLE_LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
    DOCKER_FOREIGN_LAYER: "none",
    DOCKER_FOREIGN_LAYER_GZIP: "gzip",
}
_RESTRICTED: Final = frozenset(
    {
        OCI_NONDISTRIBUTABLE_LAYER,
        OCI_NONDISTRIBUTABLE_LAYER_GZIP,
        OCI_NONDISTRIBUTABLE_LAYER_ZSTD,
        DOCKER_FOREIGN_LAYER,
        DOCKER_FOREIGN_LAYER_GZIP,
    }
)

_NAME: Final = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_GRAMMAR = re.compile(f"{_NAME}/{_NAME}", re.ASCII)


def is_media_type(text: str) -> bool:
    """Whether ``text`` is a type and a subtype and nothing more (RFC 6838 section 4.2)."""
    return _GRAMMAR.fullmatch(text) is not None


def essence(header: str) -> str:
    """The media type in a ``Content-Type`` header, without parameters; raises `SpecError`.

    Clients should ignore parameters (distribution-spec, Pulling manifests). Upper case is kept, and so matches no
    known type.
    """
    found = header.partition(";")[0].strip(" \t")
    if not is_media_type(found):
        raise SpecError(f"Content-Type: expected a media type, got {quote(header)}")
    return found


def is_index(media_type: str) -> bool:
    """Whether it is an image index or a Docker manifest list."""
    return media_type in _INDEXES


def is_manifest(media_type: str) -> bool:
    """Whether it is an image manifest, of OCI or of Docker schema 2."""
    return media_type in _MANIFESTS


def is_config(media_type: str) -> bool:
    """Whether it is an image configuration, of OCI or of Docker."""
    return media_type in _CONFIGS


def is_layer(media_type: str) -> bool:
    """Whether it is a filesystem layer that can be unpacked (image-spec layer.md)."""
    return media_type in _LAYERS


def is_distributable(media_type: str) -> bool:
    """False for layers that may only be fetched from their ``urls`` (layer.md, Non-Distributable Layers)."""
    return media_type not in _RESTRICTED


def is_schema1(media_type: str) -> bool:
    """Whether it is a manifest of Docker schema 1, which ociworks refuses."""
    return media_type in _SCHEMA1


def compression_of(media_type: str) -> Compression:
    """How a layer of this type is compressed; raises `SpecError` when it is not the type of a layer."""
    try:
        return _LAYERS[media_type]
    except KeyError:
        raise SpecError(f"expected the media type of a layer, got {quote(media_type)}") from None
