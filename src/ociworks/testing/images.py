"""Images for tests and demonstrations, in memory and reproducible: equal arguments give equal bytes."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from attrs import frozen

from ociworks.errors import NotSupported
from ociworks.image import partial
from ociworks.image.memory import MemoryBlobs
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

Compression = Literal["none", "gzip", "zstd"]

_MEDIA_TYPES: Final[dict[Compression, str]] = {
    "none": mediatypes.OCI_LAYER,
    "gzip": mediatypes.OCI_LAYER_GZIP,
    "zstd": mediatypes.OCI_LAYER_ZSTD,
}


@frozen
class File:
    """A file in a layer: its content, or where it links to, with its permissions and owner."""

    content: bytes = b""
    mode: int = 0o644
    link: str | None = None
    """The target of a symbolic link; the content must then be empty."""
    uid: int = 0
    gid: int = 0


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
    descriptors = [blobs.add(_compress(tar, compression), _MEDIA_TYPES[compression]) for tar in tars]
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
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(_with_parents(files)):
            info, content = _entry(path, files.get(path, b""))
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _with_parents(files: Files) -> set[str]:
    paths = set(files)
    for path in files:
        parts = path.rstrip("/").split("/")[:-1]
        paths.update("/".join(parts[: end + 1]) + "/" for end in range(len(parts)))
    return paths


def _entry(path: str, given: bytes | File) -> tuple[tarfile.TarInfo, bytes]:
    is_directory = path.endswith("/")
    file = File(given, 0o755 if is_directory else 0o644) if isinstance(given, bytes) else given
    info = tarfile.TarInfo(path.rstrip("/"))
    info.mode, info.uid, info.gid, info.size = file.mode, file.uid, file.gid, len(file.content)
    if is_directory:
        info.type = tarfile.DIRTYPE
    elif file.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, file.link
    return info, file.content


def _compress(tar: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.compress(tar, compresslevel=1, mtime=0)
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=1).compress(tar)
    if compression == "none":
        return tar
    raise NotSupported(f"compression {compression!r}: expected none, gzip or zstd")
