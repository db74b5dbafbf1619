"""The archive of a layer, read once: bounded, and proved by its diff ID before it ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ociworks.errors import DigestMismatch, LimitExceeded, NotSupported
from ociworks.image.tar.compression import compression_of, decompress
from ociworks.image.tar.limits import DEFAULT_LIMITS
from ociworks.image.tar.reader import TarReader
from ociworks.spec.digest import Hasher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociworks.image.tar.entry import TarEntry
    from ociworks.image.tar.limits import Limits
    from ociworks.image.types import Layer
    from ociworks.spec import Digest
    from ociworks.spec.digest import Readable

__all__ = ["Archive", "open_archive"]


class Archive:
    """Iterate for the entries; between two of them :meth:`content` yields the bytes of the last one."""

    def __init__(self, stream: Readable, limits: Limits) -> None:
        self._reader = TarReader(stream, limits)
        self._limits = limits
        self.content = self._reader.content

    def __iter__(self) -> Iterator[TarEntry]:
        limits, holes = self._limits, 0
        for count, entry in enumerate(self._reader, 1):
            if count > limits.entries_per_layer:
                raise LimitExceeded("entries of a layer", "entries_per_layer", limits.entries_per_layer)
            if entry.extents is not None:  # a few bytes of archive may be a file of any size
                holes += entry.size
                if holes > limits.unpacked_bytes_per_layer:
                    limit = limits.unpacked_bytes_per_layer
                    raise LimitExceeded("bytes of sparse files", "unpacked_bytes_per_layer", limit)
            yield entry


@contextlib.contextmanager
def open_archive(layer: Layer, limits: Limits | None = None, *, diff_id: bool = True) -> Iterator[Archive]:
    """The archive of ``layer``. Leaving the block in peace reads what is left, and compares digest, size and diff ID.

    ``diff_id`` may be false where the bytes of the blob are all that matters; hashing is most of what reading costs.

    Raises :class:`ociworks.errors.LayerError`, :class:`ociworks.errors.ContentError` and
    :class:`ociworks.errors.LimitExceeded`; what was read before an exception is not proved.
    """
    limits = limits or DEFAULT_LIMITS
    with layer.open() as blob, decompress(blob, compression_of(layer.media_type), limits) as stream:
        proved = _Proved(stream, _diff_id(layer) if diff_id else None, limits)
        yield Archive(proved, limits)
        proved.finish(f"uncompressed layer {layer.digest}")


def _diff_id(layer: Layer) -> Digest | None:
    """None for the layers of an artifact, which have none to compare with."""
    try:
        return layer.diff_id
    except NotSupported:
        return None


class _Proved:
    """Uncompressed bytes on their way to the reader, counted and hashed."""

    def __init__(self, stream: Readable, diff_id: Digest | None, limits: Limits) -> None:
        self._stream = stream
        self._diff_id = diff_id
        self._hasher = Hasher(diff_id.algorithm) if diff_id else None
        self._size = 0
        self._maximum = limits.unpacked_bytes_per_layer

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        if self._hasher is not None:
            self._hasher.update(data)
        self._size += len(data)
        if self._size > self._maximum:
            raise LimitExceeded("bytes of a layer", "unpacked_bytes_per_layer", self._maximum)
        return data

    def finish(self, what: str) -> None:
        while self.read(1 << 20):
            pass
        if self._hasher is not None and self._hasher.digest() != self._diff_id:
            raise DigestMismatch(what, str(self._diff_id), str(self._hasher.digest()), self._size)
