"""OCI's media types to Docker's, and back: the bytes of layers stay, the documents speak the other words."""

from __future__ import annotations

from typing import Literal, overload

from attrs import evolve

from ociworks.errors import NotSupported, quote
from ociworks.image.mutate._build import DOCKER, fitting, rebuilt, retyped
from ociworks.image.mutate._index import rebuilt_children
from ociworks.image.types import Image, ImageIndex
from ociworks.spec.image import Index, Manifest

__all__ = ["media_types"]


@overload
def media_types(img: Image, wanted: Literal["oci", "docker"]) -> Image: ...
@overload
def media_types(img: ImageIndex, wanted: Literal["oci", "docker"]) -> ImageIndex: ...
def media_types(img: Image | ImageIndex, wanted: Literal["oci", "docker"]) -> Image | ImageIndex:
    """The image or index in the words of OCI or of Docker; of an index, all that it lists.

    No layer is read; of an index the manifests and configurations are. Raises
    :class:`~ociworks.errors.NotSupported` for what Docker's documents have no place for (annotations, a subject, an
    artifact type, artifacts): take it away first, so that nothing is lost without a word.
    """
    if isinstance(img, ImageIndex):
        value = img.index
        if wanted == DOCKER:
            _check(value, img.descriptor.media_type)
        return rebuilt_children(
            img,
            lambda child: media_types(child, wanted),
            evolve(value, media_type=retyped(img.descriptor.media_type, wanted)),
        )
    manifest = img.manifest
    if wanted == DOCKER:
        _check(manifest, img.descriptor.media_type)
    described = evolve(manifest.config, media_type=retyped(manifest.config.media_type, wanted))
    changed = evolve(manifest, media_type=retyped(img.descriptor.media_type, wanted), config=described)
    if changed == manifest and all(fitting(layer, wanted) is layer for layer in img.layers):
        return img
    return rebuilt(img, manifest=changed, layers=[fitting(layer, wanted) for layer in img.layers])


def _check(value: Manifest | Index, media_type: str) -> None:
    if value.annotations or value.subject or value.artifact_type:
        raise NotSupported(
            f"{quote(media_type)}: Docker's documents have no annotations, subject or artifact type; remove them first"
        )
