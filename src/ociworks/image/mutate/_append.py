"""Layers on top of an image."""

from __future__ import annotations

from typing import Final

from attrs import evolve

from ociworks.errors import ImageConfigError, quote
from ociworks.image import partial
from ociworks.image.memory import MemoryBlobs
from ociworks.image.mutate._build import family, fitting, rebuilt
from ociworks.image.mutate._history import complete
from ociworks.image.types import Image, Layer
from ociworks.spec import Platform, to_json
from ociworks.spec.image import History, ImageConfiguration, Manifest, RootFS, mediatypes

__all__ = ["append", "scratch"]

_APPENDED: Final = History(created_by="ociworks append")


def scratch(platform: Platform | str | None = None) -> Image:
    """The image without layers, for ``platform`` (None: this host's): where images from nothing begin.

    Raises :class:`~ociworks.errors.InvalidPlatform`.
    """
    wanted = partial.wanted(platform)
    blobs = MemoryBlobs()
    config = ImageConfiguration(
        architecture=wanted.architecture,
        os=wanted.os,
        os_version=wanted.os_version,
        os_features=wanted.os_features,
        variant=wanted.variant,
        rootfs=RootFS(diff_ids=()),
    )
    raw_config = to_json(config)
    described = blobs.add(raw_config, mediatypes.OCI_CONFIG)
    manifest = Manifest(media_type=mediatypes.OCI_MANIFEST, config=described, layers=())
    return partial.image(to_json(manifest), raw_config, blobs)


def append(img: Image, *layers: Layer, history: History | None = None) -> Image:
    """The image with ``layers`` on top, in this order; no layer is read.

    Each gets a step in the history: ``history``, or one that names this function and no time. In a Docker manifest the
    layers get Docker's media types, in an OCI one those of OCI; the bytes stay. Raises
    :class:`~ociworks.errors.NotSupported` when ``img`` is an artifact or a layer is of a type that the manifest's
    family does not have, and :class:`~ociworks.errors.ImageConfigError` for a layer that is none, or a step that
    says that it made none.
    """
    if not layers:
        return img
    step = history or _APPENDED
    if step.empty_layer:
        raise ImageConfigError("history: expected a step that makes a layer, got one with empty_layer")
    for layer in layers:
        if not mediatypes.is_layer(layer.media_type):
            raise ImageConfigError(f"expected a filesystem layer, got {quote(layer.media_type)}")
    config = evolve(img.config, history=(*complete(img.config), *(step for _ in layers)))
    wanted = family(img.descriptor.media_type)
    return rebuilt(img, config=config, layers=(*img.layers, *(fitting(layer, wanted) for layer in layers)))
