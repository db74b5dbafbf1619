"""OCI's media types to Docker's, and back: the bytes of layers stay, the documents speak the other words."""

from __future__ import annotations

from typing import Literal, TypeVar, overload

from attrs import evolve

from ociworks.errors import NotSupported
from ociworks.image.mutate._build import DOCKER, OCI, described, fitting, rebuilt, retyped
from ociworks.image.mutate._index import rebuilt_children
from ociworks.image.types import Image, ImageIndex, Layer
from ociworks.spec import FrozenDict
from ociworks.spec.image import Index, Manifest, mediatypes

__all__ = ["media_types"]

Document = TypeVar("Document", Manifest, Index)


@overload
def media_types(img: Image, wanted: Literal["oci", "docker"], *, drop_annotations: bool = False) -> Image: ...
@overload
def media_types(
    img: ImageIndex, wanted: Literal["oci", "docker"], *, drop_annotations: bool = False
) -> ImageIndex: ...
@overload
def media_types(
    img: Image | ImageIndex, wanted: Literal["oci", "docker"], *, drop_annotations: bool = False
) -> Image | ImageIndex: ...
def media_types(
    img: Image | ImageIndex, wanted: Literal["oci", "docker"], *, drop_annotations: bool = False
) -> Image | ImageIndex:
    """The image or index in the words of OCI or of Docker; of an index, all that it lists.

    No layer is read; of an index the manifests and configurations are. Docker's documents have no annotations:
    ``drop_annotations`` takes those away, otherwise they are an error, so that nothing is lost without a word. Raises
    :class:`~ociworks.errors.NotSupported` for them and for what Docker's formats cannot say at all: subjects,
    artifacts, layers of types without a counterpart.
    """
    if isinstance(img, ImageIndex):
        value = _plain(img.index, drop=drop_annotations) if wanted == DOCKER else img.index
        return rebuilt_children(
            img,
            lambda child: media_types(child, wanted, drop_annotations=drop_annotations),
            evolve(value, media_type=_type(value.media_type, img.descriptor.media_type, wanted)),
        )
    if wanted == OCI and not mediatypes.is_config(img.manifest.config.media_type):
        return img  # an artifact speaks OCI's words already
    manifest = _plain(img.manifest, drop=drop_annotations) if wanted == DOCKER else img.manifest
    config = evolve(manifest.config, media_type=retyped(manifest.config.media_type, wanted))
    layers = [_layer(layer, wanted, drop=drop_annotations) for layer in img.layers]
    media_type = _type(manifest.media_type, img.descriptor.media_type, wanted)
    return rebuilt(img, manifest=evolve(manifest, media_type=media_type, config=config), layers=layers)


def _type(said: str | None, found: str, wanted: str) -> str | None:
    """The type that the document states: the other one, or what it said when it is of that family already."""
    other = retyped(found, wanted)
    return said if other == found else other


def _layer(layer: Layer, wanted: str, *, drop: bool) -> Layer:
    """The layer as the other family lists it."""
    other = fitting(layer, wanted)
    if wanted != DOCKER or not layer.descriptor.annotations:
        return other
    if not drop:
        raise _lossy()
    return described(other, evolve(other.descriptor, annotations=FrozenDict()))


def _plain(value: Document, *, drop: bool) -> Document:
    if value.subject or value.artifact_type:
        raise NotSupported("Docker's documents have no subject and no artifact type; remove them first")
    if value.annotations and not drop:
        raise _lossy()
    return evolve(value, annotations=FrozenDict())


def _lossy() -> NotSupported:
    return NotSupported("Docker's documents have no annotations; remove them first, or drop them")
