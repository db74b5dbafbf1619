"""Blobs in a directory, named by their digest: written whole or not at all, checked on both ways.

::

    <root>/blobs/<algorithm>/<encoded>               a blob; only verified, durable content ever gets such a name
    <root>/.ociworks/ingest/<algorithm>-<encoded>    a blob being written, locked by its writer
    <root>/.ociworks/ingest/new-<random>             another file being written, locked by its writer
    <root>/.ociworks/seen/                           which files were verified and not touched since (``_seen``)

One writer per blob::

    lock the ingest file ──another has it──> wait ──published──> nothing to do
            │                                  └──died, its lock is free──> take over
            v
    write, verify, fsync, rename

A writer that is killed leaves only its ingest file: whoever wants the same blob, or opens the store next, removes it.
Only a :class:`~ociworks.spec.Digest` becomes a name. Whatever is not a regular file of the right size counts as
missing.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ociworks.errors import BlobNotFound, ContentError, LayoutError
from ociworks.image import _files, _seen
from ociworks.image.stream import VerifiedStream
from ociworks.spec.digest import ALGORITHMS

if TYPE_CHECKING:
    from ociworks.image.types import ByteStream
    from ociworks.spec import Digest
    from ociworks.spec.image import Descriptor

__all__ = ["BLOBS", "STATE", "BlobDirectory"]

BLOBS: Final = "blobs"
STATE: Final = ".ociworks"
"""What ociworks keeps beside the blobs; other programs neither need nor read it."""
_INGEST: Final = "ingest"
_PREFIX: Final = "new-"
_BEGIN: Final = 8 * 1024 * 1024
"""Bytes after which the disk is told to begin."""
_PIECE: Final = 1 << 20
"""Bytes that are moved at a time; a quarter of that costs a tenth more processor time for a whole pull."""


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
        """Whether the blob is there with the right bytes. They are read, unless that is known of this very file."""
        fd = self._open_file(descriptor.digest)
        if fd is None:
            return False
        with open(fd, "rb", buffering=0), self._state() as state:
            if os.fstat(fd).st_size != descriptor.size:
                return False
            if _seen.is_recorded(state, descriptor.digest, fd):
                return True
            before = _seen.identity(fd)
            try:
                with VerifiedStream(open(os.dup(fd), "rb", buffering=0), descriptor):
                    pass
            except ContentError:
                return False
            _seen.record(state, descriptor.digest, before)
            return True

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

    def ingest(
        self,
        descriptor: Descriptor,
        source: Callable[[], ByteStream],
        advance: Callable[[int], None],
        checkpoint: Callable[[], object],
    ) -> bool:
        """Have the blob here, verified and its bytes durable; its name is durable after :meth:`sync`.

        ``source`` is called, once, only when the blob is not here and nobody else brings it; False says that it was
        not needed. ``advance`` hears how many bytes were written so far; ``checkpoint`` is called while waiting for
        another writer. Raises :class:`~ociworks.errors.ContentError` when the bytes are not what the descriptor says;
        then nothing was stored.
        """
        if self.intact(descriptor):
            return False
        with self._ingesting(descriptor.digest, checkpoint) as fd:
            if self.intact(descriptor):
                return False
            os.ftruncate(fd, 0)
            with _proving(source(), descriptor) as stream:  # its end drains and compares
                _copy(stream, fd, advance)
            os.fsync(fd)
            self._publish(descriptor.digest, fd)
        return True

    def write(
        self, descriptor: Descriptor, stream: ByteStream, advance: Callable[[int], None] | None = None
    ) -> None:
        """Store the blob from ``stream``, which is closed; returning means that it is here, verified and durable."""
        try:
            self.ingest(descriptor, lambda: stream, advance or _ignore, _no_stop)
        finally:
            stream.close()
        self.sync()

    def sync(self) -> None:
        """Make the names of all blobs durable: once for many blobs, before anything names them."""
        for algorithm in ALGORITHMS:
            with (
                contextlib.suppress(FileNotFoundError),
                _files.directory(self._root, BLOBS, algorithm) as target,
            ):
                os.fsync(target)

    def digests(self) -> Iterator[Digest]:
        """Every blob that is named by a digest; other names are passed by."""
        from ociworks.errors import SpecError
        from ociworks.spec import Digest

        for algorithm in ALGORITHMS:
            names: list[str] = []
            with (
                contextlib.suppress(FileNotFoundError),
                _files.directory(self._root, BLOBS, algorithm) as found,
            ):
                names = os.listdir(found)
            for name in names:
                with contextlib.suppress(SpecError):
                    yield Digest.parse(f"{algorithm}:{name}")

    def remove(self, digests: Iterable[Digest]) -> None:
        """Remove these blobs; those that are not there are passed by. Records of blobs that are gone go too."""
        for digest in digests:
            with (
                contextlib.suppress(FileNotFoundError, IsADirectoryError),
                _files.directory(self._root, BLOBS, digest.algorithm) as parent,
            ):
                os.unlink(digest.encoded, dir_fd=parent)
        with self._state() as state:
            _seen.keep_only(state, self.digests())

    def replace(self, name: str, content: bytes) -> None:
        """Replace a file beside the blobs: readers see the old content or the new one, whole."""
        with _files.directory(self._root, STATE, _INGEST, create=True) as staging:
            fd, temporary = _files.create_locked(staging, _PREFIX)
            try:
                _files.write_all(fd, content)
                os.fsync(fd)
                os.rename(temporary, name, src_dir_fd=staging, dst_dir_fd=self._root)
            except BaseException:
                os.unlink(temporary, dir_fd=staging)
                raise
            finally:
                os.close(fd)
        os.fsync(self._root)

    def clean(self) -> None:
        """Remove what killed writers have left: temporary files whose lock is free."""
        # A store that was never written to has none; one that cannot be written (not ours, read-only) is left alone.
        with (
            contextlib.suppress(OSError),
            _files.directory(self._root, STATE, _INGEST) as staging,
        ):
            for name in os.listdir(staging):
                _files.remove_if_abandoned(staging, name)

    def _open_file(self, digest: Digest) -> int | None:
        try:
            with _files.directory(self._root, BLOBS, digest.algorithm) as parent:
                return _files.open_regular(parent, digest.encoded)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _state(self) -> Iterator[int]:
        """The directory of our own notes; where it cannot be made, the root, in which none are found."""
        try:
            with _files.directory(self._root, STATE, create=True) as state:
                yield state
        except PermissionError:
            yield self._root

    @contextlib.contextmanager
    def _ingesting(self, digest: Digest, checkpoint: Callable[[], object]) -> Iterator[int]:
        """The ingest file of a blob, locked; it is gone afterwards, removed or renamed."""
        name = _ingest_name(digest)
        with _files.directory(self._root, STATE, _INGEST, create=True) as staging:
            fd = _files.claim(staging, name, checkpoint)
            try:
                yield fd
            finally:
                # After a publication the name may already be the next writer's.
                if _files.same_file(staging, name, fd):
                    os.unlink(name, dir_fd=staging)
                os.close(fd)

    def _publish(self, digest: Digest, fd: int) -> None:
        with (
            _files.directory(self._root, STATE, _INGEST) as staging,
            _files.directory(self._root, BLOBS, digest.algorithm, create=True) as target,
            self._state() as state,
        ):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(digest.encoded, dir_fd=target, follow_symlinks=False).st_mode):
                    raise LayoutError(f"blob {digest}: there is a directory in its place; remove it")
            os.rename(_ingest_name(digest), digest.encoded, src_dir_fd=staging, dst_dir_fd=target)
            _seen.record(state, digest, _seen.identity(fd))


def _ingest_name(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}"


def _proving(stream: ByteStream, descriptor: Descriptor) -> VerifiedStream:
    """A stream that proves the descriptor; one that does so already is not hashed twice."""
    if isinstance(stream, VerifiedStream) and stream.proves(descriptor):
        return stream
    return VerifiedStream(stream, descriptor)


def _copy(source: ByteStream, fd: int, advance: Callable[[int], None]) -> None:
    """Copy, and have the disk begin while more comes in: the fsync at the end then has little left to wait for."""
    written = begun = 0
    while data := source.read(_PIECE):
        _files.write_all(fd, data)
        written += len(data)
        if written - begun >= _BEGIN:
            begun = written
            _files.start_writing(fd)
        advance(written)


def _ignore(_: int) -> None:
    """Nobody listens."""


def _no_stop() -> None:
    """Nobody stops it."""
