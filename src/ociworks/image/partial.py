"""Complete images from a small core: the exact bytes of the documents, and a source of blobs.

A registry, a layout, an archive or memory needs to bring only an :class:`~ociworks.image.types.BlobSource` and the
bytes of manifest and configuration; :func:`image` verifies them, parses them once and gives the rest.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from attrs import evolve, field, frozen

from ociworks.errors import (
    ImageConfigError,
    ImageError,
    ImageNotFound,
    LimitExceeded,
    NotSupported,
    SpecError,
    quote,
)
from ociworks.image.stream import UncompressedStream, VerifiedStream
from ociworks.image.types import BlobSource, ByteStream, Image, ImageIndex, Layer
from ociworks.spec import Digest, Platform, parse
from ociworks.spec.image import (
    Descriptor,
    ImageConfiguration,
    Index,
    Manifest,
    mediatypes,
    read_manifest,
)

if TYPE_CHECKING:
    from ociworks.image.tar import Limits, TarEntry

__all__ = [
    "MAX_DEPTH",
    "MAX_DOCUMENT",
    "MAX_VISITED",
    "Opens",
    "choose",
    "document",
    "entries",
    "from_layers",
    "image",
    "index",
    "layer",
    "read_blob",
    "require",
    "source_of",
    "stream_of",
    "uncompressed",
    "walk",
    "wanted",
]

MAX_DOCUMENT: Final = 8 * 1024 * 1024
"""Bytes of a manifest, index or image configuration at most."""
MAX_DEPTH: Final = 4
MAX_VISITED: Final = 1000


def read_blob(blobs: BlobSource, descriptor: Descriptor, maximum: int = MAX_DOCUMENT) -> bytes:
    """A small blob as a whole; :class:`~ociworks.errors.LimitExceeded` before anything is read if it is not small."""
    if descriptor.size > maximum:
        raise LimitExceeded(f"blob {descriptor.digest} of {descriptor.size} bytes", "max_document", maximum)
    if descriptor.data is not None:  # embedded content is proved like any other
        descriptor.verify(descriptor.data, f"embedded data of {descriptor.digest}")
        return descriptor.data
    with blobs.open_blob(descriptor) as stream:
        return stream.read()


def document(
    raw: bytes,
    blobs: BlobSource,
    *,
    descriptor: Descriptor | None = None,
    content_type: str | None = None,
    algorithm: str = "sha256",
) -> Image | ImageIndex:
    """The image or index that ``raw`` is; ``blobs`` provides the configuration now, and all else later.

    Without a descriptor the document gets one, with a digest by ``algorithm``.

    Raises what :func:`image` and :func:`ociworks.spec.image.read_manifest` raise.
    """
    found = read_manifest(raw, descriptor=descriptor, content_type=content_type)
    described = descriptor or Descriptor.of(raw, found.media_type, algorithm=algorithm)
    value = found.value
    if isinstance(value, Index):
        return _Index(described, value, raw, blobs)
    return _image(described, value, raw, read_blob(blobs, value.config), blobs)


def image(raw_manifest: bytes, raw_config: bytes, blobs: BlobSource) -> Image:
    """The image of a manifest, its configuration and its blobs.

    Raises :class:`~ociworks.errors.SpecError` or :class:`~ociworks.errors.NotSupported` for a document that is no
    manifest, :class:`~ociworks.errors.ContentError` when the configuration is not the manifest's, and
    :class:`~ociworks.errors.ImageConfigError` when it does not have one diff ID for each layer.
    """
    found = read_manifest(raw_manifest)
    value = found.value
    if isinstance(value, Index):
        raise SpecError("expected an image manifest, got an index")
    return _image(found.descriptor, value, raw_manifest, raw_config, blobs)


def from_layers(
    raw_manifest: bytes,
    raw_config: bytes,
    layers: Sequence[Layer],
    *,
    media_type: str | None = None,
    platform: Platform | None = None,
) -> Image:
    """The image of a manifest, its configuration, and layers that are there already, which stay the same objects.

    ``media_type`` is that of a manifest that does not state one, ``platform`` goes into the image's descriptor. Raises
    what :func:`image` raises, and :class:`~ociworks.errors.SpecError` when these are not the manifest's layers.
    """
    found = read_manifest(raw_manifest, content_type=media_type)
    value = found.value
    if isinstance(value, Index):
        raise SpecError("expected an image manifest, got an index")
    if value.layers != tuple(each.descriptor for each in layers):
        raise SpecError("expected the layers that the manifest lists")
    descriptor = evolve(found.descriptor, platform=platform)
    config = _configuration(descriptor, value, raw_config)
    if config is not None and config.rootfs.diff_ids != tuple(each.diff_id for each in layers):
        raise ImageConfigError(
            f"image {descriptor.digest}: the configuration has the diff IDs of other layers"
        )
    return _Image(descriptor, value, raw_manifest, raw_config, config, tuple(layers))


def layer(descriptor: Descriptor, diff_id: Digest, blobs: BlobSource) -> Layer:
    """One layer, whose bytes as they travel are a blob of ``blobs``."""
    return _Layer(descriptor, diff_id, blobs)


def index(raw_index: bytes, blobs: BlobSource) -> ImageIndex:
    """The index of a document and its blobs; raises :class:`~ociworks.errors.SpecError`."""
    found = read_manifest(raw_index)
    value = found.value
    if isinstance(value, Manifest):
        raise SpecError("expected an image index, got a manifest")
    return _Index(found.descriptor, value, raw_index, blobs)


def choose(start: ImageIndex, platform: Platform) -> Image:
    """The image for ``platform``: the best entry of the index, else of the indexes nested in it, breadth first.

    Raises :class:`~ociworks.errors.ImageNotFound`, and :class:`~ociworks.errors.LimitExceeded` when indexes are
    nested deeper than 4 or list more than 1000 entries together. Entries of unknown types are passed over.
    """
    waiting = deque([(start, 1)])
    seen = {start.digest}
    visited = 0
    while waiting:
        here, depth = waiting.popleft()
        entries = here.index.manifests
        visited += len(entries)
        if visited > MAX_VISITED:
            raise LimitExceeded(f"index {start.digest}", "max_visited", MAX_VISITED)
        if (best := _best(here.index, platform)) is not None:
            return _as_image(here.child(best))
        for entry in entries:
            if mediatypes.is_index(entry.media_type) and entry.digest not in seen:
                if depth == MAX_DEPTH:
                    raise LimitExceeded(f"index {start.digest}", "max_depth", MAX_DEPTH)
                seen.add(entry.digest)
                waiting.append((_as_index(here.child(entry)), depth + 1))
    raise ImageNotFound(_not_found(start, platform))


def walk(start: Image | ImageIndex) -> Iterator[Image | ImageIndex]:
    """Everything that ``start`` lists, each document once, children before their index, ``start`` itself last.

    Entries that are neither image nor index are passed over. Raises
    :class:`~ociworks.errors.LimitExceeded` for more than 1000 documents, or indexes nested deeper than 4.
    """
    if not isinstance(start, ImageIndex):
        yield start
        return
    path = [(start, iter(_documents(start.index)))]
    seen = {start.digest}
    while path:
        here, entries = path[-1]
        entry = next((entry for entry in entries if entry.digest not in seen), None)
        if entry is None:
            yield here
            path.pop()
            continue
        seen.add(entry.digest)
        if len(seen) > MAX_VISITED:
            raise LimitExceeded(f"index {start.digest}", "max_visited", MAX_VISITED)
        found = here.child(entry)
        if not isinstance(found, ImageIndex):
            yield found
        elif len(path) == MAX_DEPTH:
            raise LimitExceeded(f"index {start.digest}", "max_depth", MAX_DEPTH)
        else:
            path.append((found, iter(_documents(found.index))))


def _documents(value: Index) -> list[Descriptor]:
    return [
        entry
        for entry in value.manifests
        if mediatypes.is_index(entry.media_type) or mediatypes.is_manifest(entry.media_type)
    ]


def require(found: Image, platform: Platform | str | None) -> Image:
    """The same image; :class:`~ociworks.errors.ImageNotFound` when a platform is asked for and it is for another."""
    if platform is not None and not wanted(platform).matches(found.config.platform):
        raise ImageNotFound(
            f"image {found.digest} is for {found.config.platform}, not for {wanted(platform)}"
        )
    return found


def stream_of(content: bytes, descriptor: Descriptor) -> ByteStream:
    """Bytes in memory as a verified stream."""
    return VerifiedStream(io.BytesIO(content), descriptor)


def source_of(layer: Opens) -> BlobSource | None:
    """Where the layer of an image from here is read from; None for layers of other making."""
    return layer._blobs if isinstance(layer, _Layer) else None  # noqa: SLF001 - this module's own


class Opens(Protocol):
    """What can be stored: a descriptor, and a stream of what it describes."""

    @property
    def descriptor(self) -> Descriptor:
        """What the stream is."""

    def open(self) -> ByteStream:
        """The stream."""


def uncompressed(layer: Layer) -> ByteStream:
    """What :meth:`Layer.uncompressed` is when a layer brings no better way."""
    from ociworks.image.tar.compression import compression_of, decompress

    compression = compression_of(layer.media_type)
    return UncompressedStream(layer.open(), lambda below: decompress(below, compression))


def entries(layer: Layer, limits: Limits | None = None) -> Iterator[TarEntry]:
    """What :meth:`Layer.entries` gives."""
    from ociworks.image._archives import open_archive

    with open_archive(layer, limits) as archive:
        yield from archive


def _best(value: Index, platform: Platform) -> Descriptor | None:
    """Only image manifests take part: a signature or attestation is never run for want of something better."""
    images = tuple(entry for entry in value.manifests if mediatypes.is_manifest(entry.media_type))
    return Index(manifests=images).select(platform)


def _not_found(start: ImageIndex, platform: Platform) -> str:
    offered = sorted({str(entry.platform) for entry in start.index.manifests if entry.platform})
    return f"index {start.digest}: no image for {platform}; it has {quote(', '.join(offered) or 'none')}"


def _as_image(found: Image | ImageIndex) -> Image:
    if isinstance(found, ImageIndex):
        raise ImageError(f"expected an image manifest, {found.digest} is an index")
    return found


def _as_index(found: Image | ImageIndex) -> ImageIndex:
    if isinstance(found, ImageIndex):
        return found
    raise ImageError(f"expected an image index, {found.digest} is a manifest")


@frozen
class _Layer(Layer):
    """One layer; ``diff_id`` is what the configuration says, not yet compared."""

    descriptor: Descriptor
    _diff_id: Digest | None
    _blobs: BlobSource = field(repr=False, eq=False)

    @property
    def diff_id(self) -> Digest:
        if self._diff_id is None:
            raise NotSupported(f"layer {self.digest} belongs to an artifact, which has no diff IDs")
        return self._diff_id

    def open(self) -> ByteStream:
        return self._blobs.open_blob(self.descriptor)


@frozen
class _Image(Image):
    descriptor: Descriptor
    manifest: Manifest = field(repr=False, eq=False)
    raw_manifest: bytes = field(repr=False, eq=False)
    raw_config: bytes = field(repr=False, eq=False)
    _config: ImageConfiguration | None = field(repr=False, eq=False)
    layers: tuple[Layer, ...] = field(repr=False, eq=False)

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest

    @property
    def config(self) -> ImageConfiguration:
        if self._config is None:
            found = quote(self.manifest.config.media_type)
            raise NotSupported(f"{self.digest} is an artifact: its configuration is {found}; read raw_config")
        return self._config

    def _repr_html_(self) -> str:
        from ociworks.image.notebook import image

        return image(self)


@frozen
class _Index:
    descriptor: Descriptor
    index: Index = field(repr=False, eq=False)
    raw_index: bytes = field(repr=False, eq=False)
    _blobs: BlobSource = field(repr=False, eq=False)

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest

    def image(self, platform: Platform | str | None = None) -> Image:
        return choose(self, wanted(platform))

    def child(self, descriptor: Descriptor) -> Image | ImageIndex:
        return document(read_blob(self._blobs, descriptor), self._blobs, descriptor=descriptor)

    def _repr_html_(self) -> str:
        from ociworks.image.notebook import index

        return index(self)


def wanted(platform: Platform | str | None) -> Platform:
    """The platform asked for: a value, its text, or (None) this host's."""
    if platform is None:
        return Platform.host()
    return Platform.parse(platform) if isinstance(platform, str) else platform


def _image(
    descriptor: Descriptor, manifest: Manifest, raw_manifest: bytes, raw_config: bytes, blobs: BlobSource
) -> Image:
    config = _configuration(descriptor, manifest, raw_config)
    diff_ids: tuple[Digest | None, ...] = (None,) * len(manifest.layers)
    if config is not None:
        diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise ImageConfigError(
            f"image {descriptor.digest}: expected one diff ID for each of {len(manifest.layers)} layers, "
            f"the configuration has {len(diff_ids)}"
        )
    layers = [_Layer(layer, diff_id, blobs) for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)]
    return _Image(descriptor, manifest, raw_manifest, raw_config, config, tuple(layers))


def _configuration(
    descriptor: Descriptor, manifest: Manifest, raw_config: bytes
) -> ImageConfiguration | None:
    """The configuration, which is the manifest's; None for artifacts, whose configuration is of another type."""
    manifest.config.verify(raw_config, f"configuration of {descriptor.digest}")
    return parse(ImageConfiguration, raw_config) if mediatypes.is_config(manifest.config.media_type) else None
