"""An image from an image and what is different: the one place where changed documents get their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve, frozen

from ociworks.errors import NotSupported
from ociworks.image import partial
from ociworks.image.types import ByteStream, Image, Layer
from ociworks.spec import Digest, FrozenDict, Platform, to_json
from ociworks.spec.image import Descriptor, ImageConfiguration, Manifest, mediatypes

__all__ = ["DOCKER", "FAMILIES", "OCI", "described", "family", "fitting", "rebuilt", "replaced", "retyped"]

OCI: Final = "oci"
DOCKER: Final = "docker"

FAMILIES: Final = (
    (mediatypes.OCI_INDEX, mediatypes.DOCKER_MANIFEST_LIST),
    (mediatypes.OCI_MANIFEST, mediatypes.DOCKER_MANIFEST),
    (mediatypes.OCI_CONFIG, mediatypes.DOCKER_CONFIG),
    (mediatypes.OCI_LAYER, mediatypes.DOCKER_LAYER),
    (mediatypes.OCI_LAYER_GZIP, mediatypes.DOCKER_LAYER_GZIP),
    (mediatypes.OCI_LAYER_ZSTD, mediatypes.DOCKER_LAYER_ZSTD),
    (mediatypes.OCI_NONDISTRIBUTABLE_LAYER, mediatypes.DOCKER_FOREIGN_LAYER),
    (mediatypes.OCI_NONDISTRIBUTABLE_LAYER_GZIP, mediatypes.DOCKER_FOREIGN_LAYER_GZIP),
)
"""The media types that say the same in OCI's words and in Docker's."""
_OF_ITS_AUTHOR: Final = "org.opencontainers.image."
_TO: Final = {OCI: {docker: oci for oci, docker in FAMILIES}, DOCKER: dict(FAMILIES)}


def family(media_type: str) -> str:
    """Whose words a manifest or index speaks."""
    return DOCKER if media_type in _TO[OCI] else OCI


def retyped(media_type: str, wanted: str) -> str:
    """The same type in the words of ``wanted``; NotSupported when they have none for it."""
    other = _TO[wanted].get(media_type, media_type)
    if wanted == DOCKER and other not in _TO[OCI]:
        raise NotSupported(f"Docker has no media type for {media_type}")
    return other


def fitting(layer: Layer, wanted: str) -> Layer:
    """The layer as a manifest of that family lists it: the same bytes, perhaps under the other name of their type."""
    media_type = layer.media_type
    if not mediatypes.is_layer(media_type):
        return layer
    if (other := retyped(media_type, wanted)) == media_type:
        return layer
    return described(layer, evolve(layer.descriptor, media_type=other))


def described(layer: Layer, descriptor: Descriptor) -> Layer:
    """The same bytes under another descriptor of them; a registry that has them is still known to have them."""
    return partial.layer(descriptor, layer.diff_id, partial.source_of(layer) or _Below(layer))


def replaced(old: Layer | None, new: Layer, wanted: str) -> Layer:
    """A layer that was made anew, as a manifest of that family lists it in the place of ``old``.

    Annotations of the old descriptor stay when they are the specification's own; others describe its bytes, such as
    the tables of contents of lazily pulled layers.
    """
    if old is None or new is old:
        return fitting(new, wanted)
    kept = {
        name: value for name, value in old.descriptor.annotations.items() if name.startswith(_OF_ITS_AUTHOR)
    }
    if not kept:
        return fitting(new, wanted)
    return fitting(described(new, evolve(new.descriptor, annotations=FrozenDict(kept))), wanted)


def rebuilt(
    base: Image,
    *,
    manifest: Manifest | None = None,
    config: ImageConfiguration | None = None,
    layers: Sequence[Layer] | None = None,
) -> Image:
    """``base`` with these parts instead of its own; whatever describes them follows.

    Without a difference this is ``base`` itself, so nothing ever gets another digest for having been touched.
    """
    kept = base.layers if layers is None else tuple(layers)
    if layers is not None:
        settings = config or base.config
        config = evolve(settings, rootfs=evolve(settings.rootfs, diff_ids=_diff_ids(kept)))
    raw_config = base.raw_config if config is None or config == base.config else to_json(config)
    value = evolve(
        manifest or base.manifest,
        config=_described((manifest or base.manifest).config, raw_config),
        layers=tuple(layer.descriptor for layer in kept),
    )
    if value == base.manifest:
        return base
    media_type = value.media_type or base.descriptor.media_type
    return partial.from_layers(
        to_json(value), raw_config, kept, media_type=media_type, platform=_platform(base, config)
    )


def _diff_ids(layers: Sequence[Layer]) -> tuple[Digest, ...]:
    return tuple(layer.diff_id for layer in layers)


def _described(descriptor: Descriptor, raw: bytes) -> Descriptor:
    """The descriptor of a document that may have changed; addresses are those of the old bytes and are dropped."""
    digest = Digest.of(raw, descriptor.digest.algorithm)
    if digest == descriptor.digest:
        return descriptor
    data = None if descriptor.data is None else raw
    return evolve(descriptor, digest=digest, size=len(raw), urls=(), data=data)


def _platform(base: Image, config: ImageConfiguration | None) -> Platform | None:
    """What an index said of the image, unless the image has become one for another platform."""
    if config is None or config.platform == base.config.platform:
        return base.descriptor.platform
    return config.platform


@frozen
class _Below:
    """A layer as the source of its own bytes."""

    _layer: Layer

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:  # noqa: ARG002 - there is only one
        return self._layer.open()
