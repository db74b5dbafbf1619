"""Storing an image, or an index with all its images: what is missing is brought, several blobs at a time.

Documents are taken in batches of bounded size, so that the layers of small images of several platforms travel together
and a list of a thousand manifests is not held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ociworks.image import _parallel, partial
from ociworks.image.layout._leases import Lease, blobs_of
from ociworks.image.types import ByteStream, Image, ImageIndex
from ociworks.spec.image import Descriptor

if TYPE_CHECKING:
    from ociworks.image._cas import BlobDirectory
    from ociworks.image.progress import Reporter
    from ociworks.spec import Digest

__all__ = ["raw_of", "store"]

_BATCH: Final = 16 * 1024 * 1024
"""Bytes of documents that are taken together; the last one may exceed it by its own size."""


@frozen
class _Blob:
    descriptor: Descriptor
    open: Callable[[], ByteStream]


def store(
    image: Image | ImageIndex, blobs: BlobDirectory, lease: Lease, reporter: Reporter, workers: int
) -> None:
    """Bring every blob that ``image`` needs, and everything into the lease before it is looked for.

    When this returns, all of it is durable. The first error stops the rest, and leaves only whole blobs.
    """
    for batch in _batches(image):
        lease.hold(*(blob for document in batch for blob in blobs_of(document)))
        wanted = {blob.descriptor.digest: blob for document in batch for blob in _blobs(document)}
        _bring(wanted, blobs, reporter, workers)
    blobs.sync()


def raw_of(document: Image | ImageIndex) -> bytes:
    """The exact bytes of a manifest or index."""
    return document.raw_index if isinstance(document, ImageIndex) else document.raw_manifest


def _batches(image: Image | ImageIndex) -> Iterator[list[Image | ImageIndex]]:
    batch: list[Image | ImageIndex] = []
    size = 0
    for document in partial.walk(image):
        batch.append(document)
        size += len(raw_of(document)) + (0 if isinstance(document, ImageIndex) else len(document.raw_config))
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _blobs(document: Image | ImageIndex) -> Iterator[_Blob]:
    if not isinstance(document, ImageIndex):
        yield from (_Blob(layer.descriptor, layer.open) for layer in document.layers)
        yield _in_memory(document.manifest.config, document.raw_config)
    yield _in_memory(document.descriptor, raw_of(document))


def _in_memory(descriptor: Descriptor, content: bytes) -> _Blob:
    return _Blob(descriptor, lambda: partial.stream_of(content, descriptor))


def _bring(wanted: dict[Digest, _Blob], blobs: BlobDirectory, reporter: Reporter, workers: int) -> None:
    def bring(blob: _Blob, checkpoint: Callable[[], None]) -> None:
        digest, size = blob.descriptor.digest, blob.descriptor.size

        def opened() -> ByteStream:
            reporter.report("start", digest, 0, size)
            return blob.open()

        def advance(done: int) -> None:
            checkpoint()
            reporter.report("transfer", digest, done, size)

        checkpoint()
        brought = blobs.ingest(blob.descriptor, opened, advance, checkpoint)
        reporter.report("done" if brought else "skip", digest, size, size)

    largest_first = sorted(wanted.values(), key=lambda blob: -blob.descriptor.size)
    _parallel.each(largest_first, bring, workers)
