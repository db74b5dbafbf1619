"""Images for tests of transforms: odd ones, made by changing the documents of good ones by hand."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from ociworks.errors import BlobNotFound
from ociworks.image import partial
from ociworks.image.types import ByteStream, Image
from ociworks.spec import to_json
from ociworks.spec.image import Descriptor, ImageConfiguration, Manifest, mediatypes

__all__ = ["LayerBlobs", "NoBlobs", "docker", "with_config", "with_manifest"]


class NoBlobs:
    """A source without blobs."""

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        raise BlobNotFound(f"no blob {descriptor.digest}")


class LayerBlobs:
    """The layers of an image as a source of blobs."""

    def __init__(self, img: Image) -> None:
        self._layers = {layer.digest: layer for layer in img.layers}

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        return self._layers[descriptor.digest].open()


def with_config(img: Image, change: Callable[[ImageConfiguration], ImageConfiguration]) -> Image:
    raw = to_json(change(img.config))
    described = Descriptor.of(raw, img.manifest.config.media_type)
    return partial.image(to_json(evolve(img.manifest, config=described)), raw, LayerBlobs(img))


def with_manifest(img: Image, change: Callable[[Manifest], Manifest]) -> Image:
    raw = to_json(change(img.manifest))
    found = partial.document(raw, _All(img), content_type=img.descriptor.media_type)
    assert isinstance(found, type(img))
    return found


def docker(img: Image) -> Image:
    """The same image as Docker would have pushed it."""
    value = img.manifest
    layers = tuple(evolve(layer, media_type=mediatypes.DOCKER_LAYER_GZIP) for layer in value.layers)
    config = evolve(value.config, media_type=mediatypes.DOCKER_CONFIG)
    changed = evolve(value, media_type=mediatypes.DOCKER_MANIFEST, config=config, layers=layers)
    return partial.image(to_json(changed), img.raw_config, LayerBlobs(img))


class _All(LayerBlobs):
    def __init__(self, img: Image) -> None:
        super().__init__(img)
        self._raw_config = img.raw_config

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        if descriptor.digest in self._layers:
            return super().open_blob(descriptor)
        return partial.stream_of(self._raw_config, descriptor)
