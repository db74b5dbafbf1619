"""Between Docker's media types and OCI's: the same configuration, the same layers, other names for them.

Only manifests and indexes change, and with them their digests: signatures and other referrers of the old ones do not
speak of the new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, overload

from attrs import evolve

from ociworks.errors import BlobNotFound, NotSupported
from ociworks.image import partial
from ociworks.image.types import Image, ImageIndex, Layer
from ociworks.spec import FrozenDict, to_json
from ociworks.spec.image import Descriptor, Index, Manifest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ociworks.image.types import ByteStream

__all__ = ["MediaTypes", "convert"]

MediaTypes: TypeAlias = Literal["oci", "docker"]
"""Whose media types the documents have."""

_TO_DOCKER: Final = {
    mediatypes.OCI_MANIFEST: mediatypes.DOCKER_MANIFEST,
    mediatypes.OCI_INDEX: mediatypes.DOCKER_MANIFEST_LIST,
    mediatypes.OCI_CONFIG: mediatypes.DOCKER_CONFIG,
    mediatypes.OCI_LAYER: mediatypes.DOCKER_LAYER,
    mediatypes.OCI_LAYER_GZIP: mediatypes.DOCKER_LAYER_GZIP,
    mediatypes.OCI_LAYER_ZSTD: mediatypes.DOCKER_LAYER_ZSTD,
    mediatypes.OCI_NONDISTRIBUTABLE_LAYER: mediatypes.DOCKER_FOREIGN_LAYER,
    mediatypes.OCI_NONDISTRIBUTABLE_LAYER_GZIP: mediatypes.DOCKER_FOREIGN_LAYER_GZIP,
}
_TABLES: Final = {"docker": _TO_DOCKER, "oci": {there: here for here, there in _TO_DOCKER.items()}}


@overload
def convert(found: Image, to: MediaTypes) -> Image: ...


@overload
def convert(found: ImageIndex, to: MediaTypes) -> ImageIndex: ...


@overload
def convert(found: Image | ImageIndex, to: MediaTypes) -> Image | ImageIndex: ...


def convert(found: Image | ImageIndex, to: MediaTypes) -> Image | ImageIndex:
    """The same image, or index with all its images, in Docker's or OCI's media types; itself when it is so already.

    Docker's documents have no annotations, and so lose them. Raises :class:`~ociworks.errors.NotSupported` for what
    Docker's formats cannot say: artifacts, subjects, layers of types without a counterpart.
    """
    return _index(found, to) if isinstance(found, ImageIndex) else _image(found, to)


def _index(found: ImageIndex, to: MediaTypes) -> ImageIndex:
    from ociworks.image.mutate._index import rebuilt_children

    value = found.index
    if to == "docker":
        _check_plain(value, found)
        value = evolve(value, annotations=FrozenDict())
    media_type = _renamed(found.descriptor.media_type, to)
    return rebuilt_children(found, lambda child: convert(child, to), evolve(value, media_type=media_type))


def _image(found: Image, to: MediaTypes) -> Image:
    if not mediatypes.is_config(found.manifest.config.media_type) and to == "oci":
        return found  # an artifact: OCI's already
    value = found.manifest
    media_type = _renamed(found.descriptor.media_type, to)
    config = _relabelled(value.config, to)
    layers = tuple(_relabelled(layer, to) for layer in value.layers)
    if (media_type, config, layers) == (found.descriptor.media_type, value.config, value.layers):
        return found
    if to == "docker":
        _check_plain(value, found)
        value = evolve(value, annotations=FrozenDict())
    raw = to_json(evolve(value, media_type=media_type, config=config, layers=layers))
    blobs = _Layers(found.layers)
    return partial.from_layers(
        raw,
        found.raw_config,
        [
            partial.layer(descriptor, layer.diff_id, blobs)
            for descriptor, layer in zip(layers, found.layers, strict=True)
        ],
        platform=found.descriptor.platform,
    )


def _renamed(media_type: str, to: MediaTypes) -> str:
    table = _TABLES[to]
    if media_type in table.values():
        return media_type
    if media_type not in table:
        raise NotSupported(f"{media_type} has no counterpart among the media types of {to}")
    return table[media_type]


def _relabelled(descriptor: Descriptor, to: MediaTypes) -> Descriptor:
    media_type = _renamed(descriptor.media_type, to)
    if media_type == descriptor.media_type:
        return descriptor
    return evolve(descriptor, media_type=media_type, annotations=FrozenDict(), data=None)


def _check_plain(value: Manifest | Index, found: Image | ImageIndex) -> None:
    if value.subject is not None or value.artifact_type is not None:
        raise NotSupported(f"{found.digest}: Docker's formats have no artifacts and no subjects")


class _Layers:
    """The layers of an image as blobs, under whatever descriptor."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self._layers = {layer.digest: layer for layer in layers}

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        layer = self._layers.get(descriptor.digest)
        if layer is None or layer.size != descriptor.size:
            raise BlobNotFound(f"no layer {descriptor.digest} of {descriptor.size} bytes in the image")
        return layer.open()
