"""Entries in, one layer out: tar, diff ID, compression, digest and size in a single pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from attrs import field, frozen

from ociworks.image._pack.spool import Spool, SpoolReader
from ociworks.image.stream import VerifiedStream
from ociworks.image.tar.compress import compress_to
from ociworks.image.tar.writer import TarWriter
from ociworks.image.types import Layer
from ociworks.spec.digest import Digest, Hasher
from ociworks.spec.image import Descriptor, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from ociworks.image.tar.entry import TarEntry
    from ociworks.image.tar.writer import Writable
    from ociworks.image.types import ByteStream
    from ociworks.spec.digest import BytesLike
    from ociworks.spec.image.mediatypes import Compression

__all__ = ["MEDIA_TYPES", "HashingSink", "LayerBuilder", "SpooledLayer"]

MEDIA_TYPES: Final[dict[Compression, str]] = {
    "none": mediatypes.OCI_LAYER,
    "gzip": mediatypes.OCI_LAYER_GZIP,
    "zstd": mediatypes.OCI_LAYER_ZSTD,
}
_BUFFER: Final = 256 * 1024


class HashingSink:
    """Hands on what it is given, and knows its digest and size."""

    def __init__(self, sink: Writable) -> None:
        self._hasher = Hasher()
        self._write = sink.write

    def write(self, data: BytesLike, /) -> None:
        """Take ``data``."""
        self._hasher.update(data)
        self._write(data)

    @property
    def digest(self) -> Digest:
        """The digest of everything so far."""
        return self._hasher.digest()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._hasher.size


@frozen
class SpooledLayer(Layer):
    """A layer whose bytes were made here. They cannot change, and go with the last reference to the layer."""

    descriptor: Descriptor
    diff_id: Digest
    _spool: Spool = field(repr=False, eq=False)

    def open(self) -> ByteStream:
        """The bytes, verified like those of every other layer."""
        return VerifiedStream(SpoolReader(self._spool), self.descriptor)


class LayerBuilder:
    """Makes a layer of the entries that are added, in their order.

    ::

        with LayerBuilder(compression="zstd") as builder:
            builder.add(entry, (content,))
            layer = builder.finish()

    The same entries give the same diff ID everywhere, and the same digest wherever
    :func:`ociworks.image.tar.is_canonical` holds. Leaving the block without :meth:`finish` throws everything away.
    """

    def __init__(self, *, compression: Compression = "gzip", level: int | None = None) -> None:
        self._spool = Spool()
        self._compressed = HashingSink(self._spool)
        self._compressor = compress_to(self._compressed, compression, level)
        self._uncompressed = HashingSink(self._compressor)
        self._buffer = _Buffered(self._uncompressed)
        self._writer = TarWriter(self._buffer)
        self._media_type = MEDIA_TYPES[compression]

    @property
    def entries(self) -> int:
        """Entries added so far."""
        return self._writer.entries

    def add(self, entry: TarEntry, content: Iterable[BytesLike] = ()) -> None:
        """Add an entry with its content in pieces; raises like :meth:`ociworks.image.tar.TarWriter.add`."""
        self._writer.add(entry, content)

    def finish(self) -> Layer:
        """The layer; nothing can be added after this. LayerError when an entry failed before."""
        self._writer.close()
        self._buffer.flush()
        self._compressor.close()
        descriptor = Descriptor(
            media_type=self._media_type, digest=self._compressed.digest, size=self._compressed.size
        )
        return SpooledLayer(descriptor, self._uncompressed.digest, self._spool)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._compressor.abort()


class _Buffered:
    """Collects headers and small files, so that what is behind it works on large pieces."""

    def __init__(self, sink: Writable) -> None:
        self._write = sink.write
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: BytesLike, /) -> None:
        self._pieces.append(bytes(data))  # whoever gave a view may write to what is below it
        self._size += len(data)
        if self._size >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces:
            self._write(b"".join(pieces))
