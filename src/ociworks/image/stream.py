"""Verified streams: blobs on their way in, and what is decompressed from them.

Bytes are handed out before they are proved. Leaving the ``with`` block without an exception drains the rest,
compares size and digest, and only then is what was read known to be the blob.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, final

from ociworks.image._beside import WORTHWHILE, BesideHasher
from ociworks.spec.digest import CHUNK, VerifyingReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ociworks.image.types import ByteStream
    from ociworks.spec.image import Descriptor

__all__ = ["Closable", "UncompressedStream", "VerifiedStream", "copy"]


class Closable(Protocol):
    """What a stream reads from: a file, a response body, bytes in memory."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; empty only at the end."""

    def close(self) -> None:
        """Release it."""


@final
class VerifiedStream:
    """The blob that ``descriptor`` names, read from ``source``, which belongs to the stream from now on."""

    __slots__ = ("_beside", "_descriptor", "_reader", "_source", "_what")

    def __init__(self, source: Closable, descriptor: Descriptor, what: str = "") -> None:
        self._source = source
        self._descriptor = descriptor
        self._what = what or f"blob {descriptor.digest}"
        self._beside: BesideHasher | None = None
        try:
            self._reader = descriptor.reader(source, self._what)
        except BaseException:
            source.close()
            raise

    def hash_beside(self) -> Self:
        """Hash a large blob in a thread of its own, from its first byte on; the same stream.

        For those who spend their time on sockets and files. The thread ends with the stream.
        """
        mine = self._descriptor
        if mine.size >= WORTHWHILE and not self._reader.consumed and self._beside is None:
            self._beside = BesideHasher(mine.digest.algorithm)
            self._reader = VerifyingReader(
                self._source, digest=mine.digest, size=mine.size, what=self._what, hasher=self._beside
            )
        return self

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; empty only at the end, which is then verified."""
        return self._reader.read(size)

    def proves(self, descriptor: Descriptor) -> bool:
        """Whether a stream of which nothing was read yet will prove this descriptor's digest and size."""
        mine = self._descriptor
        return mine.digest == descriptor.digest and mine.size == descriptor.size and not self._reader.consumed

    def close(self) -> None:
        """Close the source without looking at the rest."""
        self._release()

    def _release(self) -> None:
        try:
            self._source.close()
        finally:
            if self._beside is not None:
                self._beside.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            if kind is None:
                self._reader.verify()
        finally:
            self._release()


@final
class UncompressedStream:
    """What ``decompress`` makes of ``below``; leaving the block proves both, the uncompressed end first."""

    __slots__ = ("_below", "_stream")

    def __init__(self, below: ByteStream, decompress: Callable[[ByteStream], ByteStream]) -> None:
        self._below = below
        try:
            self._stream = decompress(below)
        except BaseException:
            below.close()
            raise

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` uncompressed bytes; empty only at the end."""
        return self._stream.read(size)

    def close(self) -> None:
        """Close without looking at the rest."""
        self._stream.close()
        self._below.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            self._stream.__exit__(kind, error, trace)
        except BaseException:
            self._below.close()
            raise
        self._below.__exit__(kind, error, trace)


def copy(stream: ByteStream, write: Callable[[bytes], object]) -> None:
    """Pass everything that is left of ``stream`` to ``write``, in pieces."""
    while data := stream.read(CHUNK):
        write(data)
