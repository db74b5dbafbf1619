"""Blobs in a directory, named by their digest: written whole or not at all, checked on both ways.

::

    <root>/blobs/<algorithm>/<encoded>     a blob; only verified content ever gets such a name
    <root>/.ociworks/ingest-<random>       a file being written, locked by its writer

A writer that is killed leaves only its temporary file: whoever opens the store next removes it. Only a
:class:`~ociworks.spec.Digest` becomes a name. Whatever is not a regular file of the right size counts as missing.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ociworks.errors import BlobNotFound, ContentError, LayoutError
from ociworks.image import _files
from ociworks.image.stream import VerifiedStream
from ociworks.spec.digest import CHUNK

if TYPE_CHECKING:
    from ociworks.image.types import ByteStream
    from ociworks.spec import Digest
    from ociworks.spec.image import Descriptor

__all__ = ["BlobDirectory"]

_BLOBS: Final = "blobs"
_STAGING: Final = ".ociworks"
_PREFIX: Final = "ingest-"


class BlobDirectory:
    """The blobs below one directory; ``root`` gives its descriptor, or raises once that is closed."""

    def __init__(self, root: Callable[[], int]) -> None:
        self._open_root = root

    @property
    def _root(self) -> int:
        return self._open_root()

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a regular file of the right size is there; its bytes are not read."""
        return self.size(descriptor.digest) == descriptor.size

    def intact(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there and its bytes have the right digest; all of them are read."""
        try:
            with self.open(descriptor):
                return True
        except (BlobNotFound, ContentError):
            return False

    def open(self, descriptor: Descriptor) -> ByteStream:
        """The blob, verified while it is read; raises :class:`~ociworks.errors.BlobNotFound`."""
        fd = self._open_file(descriptor.digest)
        if fd is not None and os.fstat(fd).st_size != descriptor.size:
            os.close(fd)
            fd = None
        if fd is None:
            raise BlobNotFound(f"no blob {descriptor.digest} of {descriptor.size} bytes in the layout")
        return VerifiedStream(open(fd, "rb", buffering=0), descriptor)

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None when it is missing."""
        fd = self._open_file(digest)
        if fd is None:
            return None
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def write(
        self, descriptor: Descriptor, stream: ByteStream, advance: Callable[[int], None] | None = None
    ) -> None:
        """Store the blob from ``stream``, which is closed; ``advance`` hears how many bytes were written so far.

        Returning means that the content is stored, verified and durable. Raises
        :class:`~ociworks.errors.ContentError` when it is not what the descriptor says; then nothing was stored.
        """
        source = _proving(stream, descriptor)
        try:
            with self._staged() as (fd, name):
                with source:  # its end drains and compares: nothing unverified gets a name
                    _copy(source, fd, advance)
                os.fsync(fd)
                self._publish(name, descriptor.digest)
        finally:
            source.close()

    def replace(self, name: str, content: bytes) -> None:
        """Replace a file beside the blobs: readers see the old content or the new one, whole."""
        with self._staged() as (fd, temporary), _files.directory(self._root, _STAGING) as staging:
            _files.write_all(fd, content)
            os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=staging, dst_dir_fd=self._root)
        os.fsync(self._root)

    def clean(self) -> None:
        """Remove what killed writers have left: temporary files whose lock is free."""
        # A store that was never written to has none; one that is not ours to write we leave alone.
        with (
            contextlib.suppress(FileNotFoundError, PermissionError),
            _files.directory(self._root, _STAGING) as staging,
        ):
            for name in os.listdir(staging):
                if name.startswith(_PREFIX):
                    _files.remove_if_abandoned(staging, name)

    def _open_file(self, digest: Digest) -> int | None:
        try:
            with _files.directory(self._root, _BLOBS, digest.algorithm) as parent:
                return _files.open_regular(parent, digest.encoded)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _staged(self) -> Iterator[tuple[int, str]]:
        """A locked temporary file; it is gone afterwards unless it was published under another name."""
        with _files.directory(self._root, _STAGING, create=True) as staging:
            fd, name = _files.create_locked(staging, _PREFIX)
            try:
                yield fd, name
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=staging)
                os.close(fd)

    def _publish(self, name: str, digest: Digest) -> None:
        with (
            _files.directory(self._root, _STAGING) as staging,
            _files.directory(self._root, _BLOBS, digest.algorithm, create=True) as target,
        ):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(digest.encoded, dir_fd=target, follow_symlinks=False).st_mode):
                    raise LayoutError(f"blob {digest}: there is a directory in its place; remove it")
            os.rename(name, digest.encoded, src_dir_fd=staging, dst_dir_fd=target)
            os.fsync(target)


def _proving(stream: ByteStream, descriptor: Descriptor) -> VerifiedStream:
    """A stream that proves the descriptor; one that does so already is not hashed twice."""
    if isinstance(stream, VerifiedStream) and stream.proves(descriptor):
        return stream
    return VerifiedStream(stream, descriptor)


def _copy(source: ByteStream, fd: int, advance: Callable[[int], None] | None) -> None:
    written = 0
    while data := source.read(CHUNK):
        _files.write_all(fd, data)
        written += len(data)
        if advance is not None:
            advance(written)
