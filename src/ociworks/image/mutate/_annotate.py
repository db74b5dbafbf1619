"""What manifests and indexes say besides their content: annotations, subject, artifact type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

from attrs import evolve

from ociworks.errors import InvalidSpec
from ociworks.image.mutate._build import rebuilt
from ociworks.image.mutate._config import merged
from ociworks.image.mutate._index import reindexed
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import validate
from ociworks.spec.image import Descriptor, Index, Manifest

__all__ = ["annotate", "artifact_type", "subject"]


@overload
def annotate(img: Image, annotations: Mapping[str, str | None]) -> Image: ...
@overload
def annotate(img: ImageIndex, annotations: Mapping[str, str | None]) -> ImageIndex: ...
def annotate(img: Image | ImageIndex, annotations: Mapping[str, str | None]) -> Image | ImageIndex:
    """The image or index with these annotations; None as a value removes one.

    Raises :class:`~ociworks.errors.InvalidSpec` for what the specification forbids (annotations.md).
    """
    if isinstance(img, ImageIndex):
        index = img.index
        return _index(img, evolve(index, annotations=merged(index.annotations, annotations)))
    manifest = img.manifest
    return _image(img, evolve(manifest, annotations=merged(manifest.annotations, annotations)))


@overload
def subject(img: Image, of: Image | ImageIndex | Descriptor | None) -> Image: ...
@overload
def subject(img: ImageIndex, of: Image | ImageIndex | Descriptor | None) -> ImageIndex: ...
def subject(img: Image | ImageIndex, of: Image | ImageIndex | Descriptor | None) -> Image | ImageIndex:
    """The image or index as something said about another one, its referrer (manifest.md, subject); None: no more.

    What stands in a subject is media type, digest and size; where it comes from stays out.
    """
    target = None if of is None else _bare(of if isinstance(of, Descriptor) else of.descriptor)
    if isinstance(img, ImageIndex):
        return _index(img, evolve(img.index, subject=target))
    return _image(img, evolve(img.manifest, subject=target))


@overload
def artifact_type(img: Image, media_type: str | None) -> Image: ...
@overload
def artifact_type(img: ImageIndex, media_type: str | None) -> ImageIndex: ...
def artifact_type(img: Image | ImageIndex, media_type: str | None) -> Image | ImageIndex:
    """The image or index with this ``artifactType``; None removes it.

    Raises :class:`~ociworks.errors.InvalidSpec` when it is no media type, or its removal is forbidden.
    """
    if isinstance(img, ImageIndex):
        return _index(img, evolve(img.index, artifact_type=media_type))
    return _image(img, evolve(img.manifest, artifact_type=media_type))


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)


def _image(img: Image, value: Manifest) -> Image:
    _check(img.manifest, value)
    return rebuilt(img, manifest=value)


def _index(img: ImageIndex, value: Index) -> ImageIndex:
    _check(img.index, value)
    return reindexed(img, value)


def _check(old: Manifest | Index, new: Manifest | Index) -> None:
    known = set(validate(old))
    if problems := [problem for problem in validate(new) if problem not in known]:
        raise InvalidSpec(problems, "the changed manifest")
