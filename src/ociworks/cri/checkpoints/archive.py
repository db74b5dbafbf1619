"""Writes archives: beside their place, whole or not at all, and in a given time."""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from ociworks.errors import DeadlinePassed, InvalidRequest, PodError, quote
from ociworks.image.tar import TarEntry, TarWriter
from ociworks.image.tar.entry import NO_XATTRS
from ociworks.spec.digest import Readable

__all__ = ["Archive", "Deadline", "written"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_REGULAR: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_PIECE: Final = 1 << 20


class Deadline:
    """When it must be done, ``seconds`` from now; 0: whenever. It is looked at between two steps and two pieces."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds if seconds else None

    def check(self) -> None:
        """Raise DeadlinePassed when it has passed."""
        if self._until is not None and time.monotonic() > self._until:
            raise DeadlinePassed(f"timeout: it was not done in {self._seconds} seconds; nothing was written")

    def left(self) -> float | None:
        """The seconds until then, None: as many as it takes. Raises as :meth:`check`."""
        self.check()
        return None if self._until is None else max(0.0, self._until - time.monotonic())


class Archive:
    """An archive that is being written."""

    def __init__(self, sink: BinaryIO, deadline: Deadline) -> None:
        self._writer = TarWriter(sink)
        self._deadline = deadline
        self._now = time.time_ns()

    def add(self, name: str, content: bytes) -> None:
        """A file with this content."""
        self._writer.add(self._entry(name, len(content)), (content,))

    def add_file(self, name: str, path: str | int, at: int | None = None) -> None:
        """A copy of a regular file, as long as it is now; links are not followed. OSError for what is not one."""
        descriptor = path if isinstance(path, int) else os.open(path, _REGULAR, dir_fd=at)
        with open(descriptor, "rb", closefd=not isinstance(path, int)) as stream:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(f"{quote(str(path))}: expected a regular file")
            self._writer.add(self._entry(name, info.st_size), self._pieces(stream, info.st_size))

    def add_tree(self, name: str, directory: str) -> None:
        """A directory with the regular files in it; nothing else is in one that criu wrote."""
        self._writer.add(self._entry(name, 0, kind="directory"))
        descriptor = os.open(directory, _DIRECTORY | os.O_NOFOLLOW)
        try:
            for file in sorted(os.listdir(descriptor)):
                if stat.S_ISREG(os.stat(file, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    self.add_file(f"{name}/{file}", file, at=descriptor)
        finally:
            os.close(descriptor)

    def add_stream(self, name: str, source: Readable, scratch: BinaryIO) -> None:
        """All that ``source`` has; ``scratch`` is an empty file for it, because an archive needs its size first."""
        while piece := source.read(_PIECE):
            self._deadline.check()
            scratch.write(piece)
        scratch.flush()
        scratch.seek(0)
        self.add_file(name, scratch.fileno())

    def close(self) -> None:
        """Write the end."""
        self._writer.close()

    def _entry(self, name: str, size: int, kind: str = "file") -> TarEntry:
        return TarEntry(
            parts=tuple(os.fsencode(part) for part in name.split("/")),
            type="directory" if kind == "directory" else "file",
            mode=0o700 if kind == "directory" else 0o600,
            uid=0,
            gid=0,
            size=size,
            mtime_ns=self._now,
            target=b"",
            device=(0, 0),
            xattrs=NO_XATTRS,
        )

    def _pieces(self, stream: BinaryIO, size: int) -> Iterator[bytes]:
        """Exactly ``size`` bytes: a log may grow meanwhile."""
        while size > 0 and (piece := stream.read(min(size, _PIECE))):
            self._deadline.check()
            size -= len(piece)
            yield piece


@contextmanager
def written(location: str, deadline: Deadline) -> Iterator[Archive]:
    """An archive at ``location``, 0600, once the block has ended; what was there is replaced, a link as well.

    Raises InvalidRequest for what cannot be a place, PodError when the host refuses.
    """
    above, name = os.path.split(location)
    if not location.startswith("/") or not name or "\0" in location or name in (".", ".."):
        raise InvalidRequest(f"location: expected the absolute path of a file, got {quote(location)}")
    try:
        directory = os.open(above, _DIRECTORY)
    except OSError as error:
        raise InvalidRequest(f"location: {quote(above)}: {error.strerror}") from error
    temporary = f".{secrets.token_hex(8)}.tmp"
    try:
        with os.fdopen(os.open(temporary, _NEW, 0o600, dir_fd=directory), "wb") as sink:
            archive = Archive(sink, deadline)
            yield archive
            archive.close()
            sink.flush()
            os.fsync(sink.fileno())
        deadline.check()
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise PodError(f"checkpoint {quote(location)}: {error}") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        os.close(directory)
