"""Pushing what an image consists of: blobs in parallel, each sent, mounted or found there; manifests after them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

from attrs import frozen

from ociworks.image import _parallel, partial
from ociworks.image.remote._blobs import RepositoryBlobs
from ociworks.image.remote._referrers import Referrers, describe
from ociworks.image.remote._upload import Uploader
from ociworks.image.types import ByteStream, Image, ImageIndex
from ociworks.spec.image import Descriptor, mediatypes

if TYPE_CHECKING:
    from ociworks.image.progress import Reporter
    from ociworks.spec import Digest

__all__ = ["Pusher"]


@frozen
class _Blob:
    descriptor: Descriptor
    open: Callable[[], ByteStream]
    mount_from: tuple[str, ...] = ()


@final
class Pusher:
    """Pushes images and indexes into one repository; a blob that several of them share is dealt with once."""

    def __init__(
        self,
        uploader: Uploader,
        referrers: Referrers,
        reporter: Reporter,
        workers: int,
        mount_from: Sequence[str] = (),
    ) -> None:
        self._uploader = uploader
        self._referrers = referrers
        self._reporter = reporter
        self._workers = workers
        self._mount_from = tuple(mount_from)
        self._there: set[Digest] = set()

    def push(self, start: Image | ImageIndex, target: Digest | str) -> None:
        """Everything below ``start`` first, ``start`` itself under ``target`` last."""
        for each in partial.walk(start):
            if not isinstance(each, ImageIndex):
                self._blobs(each)
            self._manifest(each, target if each.digest == start.digest else each.digest)

    def _manifest(self, each: Image | ImageIndex, target: Digest | str) -> None:
        value = each.index if isinstance(each, ImageIndex) else each.manifest
        raw = each.raw_index if isinstance(each, ImageIndex) else each.raw_manifest
        noted = self._uploader.manifest(each.descriptor, raw, target)
        if value.subject is not None and noted != value.subject.digest:
            self._referrers.add(describe(value, each.descriptor), value.subject.digest)

    def _blobs(self, image: Image) -> None:
        config = image.manifest.config
        blobs = {layer.digest: self._layer(layer) for layer in image.layers if _may_be_sent(layer.descriptor)}
        blobs[config.digest] = _Blob(config, lambda: partial.stream_of(image.raw_config, config))
        missing = [blob for digest, blob in blobs.items() if digest not in self._there]
        _parallel.each(missing, self._blob, self._workers)
        self._there.update(blobs)

    def _layer(self, layer: partial.Opens) -> _Blob:
        return _Blob(layer.descriptor, layer.open, (*self._mount_from, *self._own(layer)))

    def _own(self, layer: partial.Opens) -> tuple[str, ...]:
        """The repository that the layer comes from, if it is on the registry that it goes to."""
        source = partial.source_of(layer)
        here = self._uploader.repository
        if not isinstance(source, RepositoryBlobs) or source.repository.origin != here.origin:
            return ()
        name = source.repository.name
        return () if name == here.name or name in self._mount_from else (name,)

    def _blob(self, blob: _Blob, checkpoint: Callable[[], None]) -> None:
        descriptor = blob.descriptor

        def advance(done: int) -> None:
            checkpoint()
            self._reporter.report("transfer", descriptor.digest, done, descriptor.size)

        if self._uploader.has(descriptor):
            self._reporter.report("skip", descriptor.digest, descriptor.size, descriptor.size)
            return
        self._reporter.report("start", descriptor.digest, 0, descriptor.size)
        self._uploader.blob(descriptor, blob.open, advance, blob.mount_from)
        self._reporter.report("done", descriptor.digest, descriptor.size, descriptor.size)


def _may_be_sent(descriptor: Descriptor) -> bool:
    """Non-distributable layers that can be had elsewhere are not pushed (image-spec layer.md)."""
    return mediatypes.is_distributable(descriptor.media_type) or not descriptor.urls
