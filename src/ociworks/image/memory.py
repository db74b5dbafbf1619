"""Blobs in memory: the smallest source and sink there is."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

from ociworks.errors import BlobNotFound
from ociworks.image.stream import VerifiedStream
from ociworks.spec.image import Descriptor

if TYPE_CHECKING:
    from ociworks.image.types import ByteStream
    from ociworks.spec import Digest

__all__ = ["MemoryBlobs"]


class MemoryBlobs:
    """A :class:`~ociworks.image.types.BlobSource` that holds its blobs by digest; safe for several threads."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._lock = threading.Lock()

    def add(self, content: bytes, media_type: str) -> Descriptor:
        """Hold ``content``; gives its descriptor."""
        descriptor = Descriptor.of(content, media_type)
        with self._lock:
            self._blobs[descriptor.digest] = content
        return descriptor

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        """The blob, verified; raises :class:`~ociworks.errors.BlobNotFound`."""
        with self._lock:
            content = self._blobs.get(descriptor.digest)
        if content is None:
            raise BlobNotFound(f"no blob {descriptor.digest} in memory")
        return VerifiedStream(io.BytesIO(content), descriptor)
