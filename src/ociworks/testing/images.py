"""Images for tests and demonstrations, in memory and reproducible: equal arguments give equal bytes."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping, Sequence

from ociworks.image import partial
from ociworks.image._pack.builder import MEDIA_TYPES
from ociworks.image._pack.sources import File, file_entries
from ociworks.image.memory import MemoryBlobs
from ociworks.image.tar import Compression, TarWriter, compress_to
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest, Platform, to_json
from ociworks.spec.image import (
    Config,
    Descriptor,
    History,
    ImageConfiguration,
    Index,
    Manifest,
    RootFS,
    mediatypes,
)

__all__ = [
    "Compression",
    "File",
    "Files",
    "image_from_files",
    "image_from_layers",
    "random_image",
    "random_index",
]

Files = Mapping[str, bytes | File]
"""Path → content. A path that ends in a slash is a directory; parents are made where they are missing."""


def image_from_files(
    files: Files,
    *,
    config: Config | None = None,
    platform: Platform | str | None = None,
    compression: Compression = "gzip",
) -> Image:
    """An image of one layer with these files, for ``platform`` (None: this host's)."""
    return image_from_layers([files], config=config, platform=platform, compression=compression)


def image_from_layers(
    layers: Sequence[Files | bytes],
    *,
    config: Config | None = None,
    platform: Platform | str | None = None,
    compression: Compression = "gzip",
) -> Image:
    """An image of these layers, base first; a layer given as bytes is a finished tar archive."""
    blobs = MemoryBlobs()
    tars = [layer if isinstance(layer, bytes) else _tar(layer) for layer in layers]
    descriptors = [blobs.add(_compress(tar, compression), MEDIA_TYPES[compression]) for tar in tars]
    raw_config = to_json(_configuration(tars, config, partial.wanted(platform)))
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        config=blobs.add(raw_config, mediatypes.OCI_CONFIG),
        layers=tuple(descriptors),
    )
    return partial.image(to_json(manifest), raw_config, blobs)


def random_image(
    layers: int = 3,
    *,
    size: int = 64 * 1024,
    seed: int = 0,
    platform: Platform | str | None = None,
    compression: Compression = "gzip",
) -> Image:
    """An image of ``layers`` layers with one file of ``size`` random bytes each; ``seed`` chooses the bytes."""
    chance = random.Random(seed)  # noqa: S311  # content, not secrets
    files = [{f"layer{number}/data": chance.randbytes(size)} for number in range(layers)]
    return image_from_layers(files, platform=platform, compression=compression)


def random_index(platforms: Sequence[str] = ("linux/amd64", "linux/arm64"), *, seed: int = 0) -> ImageIndex:
    """An index of one random image for each platform."""
    blobs = MemoryBlobs()
    entries = [
        _adopt(blobs, random_image(1, seed=seed + number, platform=platform), Platform.parse(platform))
        for number, platform in enumerate(platforms)
    ]
    raw = to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=tuple(entries)))
    return partial.index(raw, blobs)


def _adopt(blobs: MemoryBlobs, image: Image, platform: Platform) -> Descriptor:
    blobs.add(image.raw_config, image.manifest.config.media_type)
    for layer in image.layers:
        with layer.open() as stream:
            blobs.add(stream.read(), layer.media_type)
    added = blobs.add(image.raw_manifest, mediatypes.OCI_MANIFEST)
    return Descriptor(media_type=added.media_type, digest=added.digest, size=added.size, platform=platform)


def _configuration(tars: Sequence[bytes], config: Config | None, platform: Platform) -> ImageConfiguration:
    return ImageConfiguration(
        created="1970-01-01T00:00:00Z",
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        config=config or Config(),
        rootfs=RootFS(diff_ids=tuple(Digest.of(tar) for tar in tars)),
        history=tuple(History(created_by="ociworks.testing") for _ in tars),
    )


def _tar(files: Files) -> bytes:
    """A tar archive in which nothing depends on the time, the machine or the order of the mapping."""
    buffer = io.BytesIO()
    with TarWriter(buffer) as writer:
        for entry, content in file_entries(files):
            writer.add(entry, content)
    return buffer.getvalue()


def _compress(tar: bytes, compression: Compression) -> bytes:
    buffer = io.BytesIO()
    encoder = compress_to(buffer, compression)
    encoder.write(tar)
    encoder.close()
    return buffer.getvalue()
