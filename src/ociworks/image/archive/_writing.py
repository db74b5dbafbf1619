"""Writing archives: streaming, each blob verified on its way, the file whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Self

from ociworks.errors import ArchiveError
from ociworks.image import _files
from ociworks.image.archive._formats import DockerFormat, OciFormat, Sink
from ociworks.image.progress import ProgressCallback, Reporter
from ociworks.image.stream import VerifiedStream
from ociworks.image.tar.entry import NO_XATTRS, TarEntry
from ociworks.image.tar.writer import TarWriter
from ociworks.spec.digest import CHUNK

if TYPE_CHECKING:
    from types import TracebackType

    from ociworks.image.archive._reading import Format
    from ociworks.image.types import ByteStream, Image, ImageIndex
    from ociworks.spec.image import Descriptor

__all__ = ["Writer", "create", "write"]

_BUFFER: Final = 1 << 20


def write(
    path: str | os.PathLike[str],
    image: Image | ImageIndex,
    tag: str | None = None,
    *,
    format: Format = "oci",
    progress: ProgressCallback | None = None,
) -> None:
    """Write one image, or an index with all its images, to a new file, which replaces what is there when it is whole.

    Raises what :meth:`Writer.put` raises.
    """
    with create(path, format=format) as images:
        images.put(image, tag, progress=progress)


def create(path: str | os.PathLike[str], *, format: Format = "oci") -> Writer:
    """A writer of an archive; the file appears, in place of what is there, when its block ends without an exception."""
    return Writer(path, DockerFormat() if format == "docker" else OciFormat())


class Writer:
    """Writes images to an archive, one after the other. What images share is written once.

    The same images in the same order give the same bytes: no times, no owners.
    """

    def __init__(self, path: str | os.PathLike[str], sink: Sink) -> None:
        """Use :func:`create`."""
        folder, self._name = os.path.split(os.path.abspath(path))
        self._sink = sink
        self._written: set[str] = set()
        self._folder = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
        try:
            fd, self._temporary = _files.create_locked(self._folder, f".{self._name[:40]}.new-")
        except BaseException:
            os.close(self._folder)
            raise
        self._file = os.fdopen(fd, "wb", buffering=_BUFFER)
        self._tar = TarWriter(self._file)

    def put(
        self, image: Image | ImageIndex, tag: str | None = None, *, progress: ProgressCallback | None = None
    ) -> None:
        """Write an image, or an index with all its images, under a tag; a tag that is given again moves.

        The tags of a docker-archive are image references, and it holds no indexes: ``NotSupported``. Raises what
        reading the source raises, ``ContentError`` for bytes that are not what was promised, and ``OSError``; the
        archive is then not written.
        """
        self._sink.check(image, tag)
        reporter = Reporter(progress, "pull")
        self._sink.put(image, tag, lambda name, blob, source: self._add(name, blob, source, reporter))

    def close(self) -> None:
        """Write what lists the images, and give the file its name."""
        if self._file.closed:
            raise ArchiveError("the archive was closed")
        try:
            self._sink.finish(self._add_file)
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        finally:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._release()

    def _release(self) -> None:
        """Close everything; the temporary file is gone, or has got its name."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary, dir_fd=self._folder)
        try:
            with contextlib.suppress(
                OSError
            ):  # what is still buffered is of no use, and the disk may be full
                self._file.close()
        finally:
            os.close(self._folder)

    def _add(
        self, name: str, descriptor: Descriptor, source: Callable[[], ByteStream], reporter: Reporter
    ) -> None:
        if name in self._written:
            reporter.report("skip", descriptor.digest, descriptor.size, descriptor.size)
            return
        self._written.add(name)
        reporter.report("start", descriptor.digest, 0, descriptor.size)
        with _proving(source(), descriptor) as stream:
            self._tar.add(_entry(name, descriptor.size), _counted(stream, descriptor, reporter))
        reporter.report("done", descriptor.digest, descriptor.size, descriptor.size)

    def _add_file(self, name: str, content: bytes) -> None:
        self._tar.add(_entry(name, len(content)), (content,))


def _proving(stream: ByteStream, descriptor: Descriptor) -> VerifiedStream:
    if isinstance(stream, VerifiedStream) and stream.proves(descriptor):
        return stream
    return VerifiedStream(stream, descriptor)


def _counted(stream: ByteStream, descriptor: Descriptor, reporter: Reporter) -> Iterator[bytes]:
    done = 0
    while data := stream.read(CHUNK):
        yield data
        done += len(data)
        reporter.report("transfer", descriptor.digest, done, descriptor.size)


def _entry(name: str, size: int) -> TarEntry:
    parts = tuple(name.encode("ascii").split(b"/"))
    return TarEntry(parts, "file", 0o644, 0, 0, size, 0, b"", (0, 0), NO_XATTRS)
