"""The files of an archive: found in one bounded pass, then read from where they lie.

A plain archive is read in place, and the pass moves over content without reading it. A compressed one is decompressed
once, into a file without a name, because there is no other way to read its end before its beginning.

What lies under a name must be one thing: a name that occurs twice is refused, because programs disagree about which
one counts. Links (old ``docker save`` makes them for layers that images share) are followed inside the archive only,
and a few steps at most.
"""

from __future__ import annotations

import os
import stat
import tempfile
from typing import IO, TYPE_CHECKING, Final

from attrs import evolve, frozen

from ociworks.errors import ArchiveError, LimitExceeded, TarError, quote
from ociworks.image._files import write_all
from ociworks.image.tar.compression import Compression, decompress
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits
from ociworks.image.tar.reader import TarReader
from ociworks.spec.digest import CHUNK

if TYPE_CHECKING:
    from ociworks.image.tar.entry import TarEntry

__all__ = ["Member", "Members", "Section", "compression_at"]

_HOPS: Final = 8
"""Links behind each other."""
_ENTRIES: Final = 100_000
"""Entries of one archive."""
_HEAD: Final = 4
_MAGIC: Final[tuple[tuple[bytes, Compression], ...]] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))


@frozen
class Member:
    """Where the content of a file lies."""

    offset: int
    size: int


@frozen
class _Link:
    target: bytes
    """A name in the archive; for symbolic links relative to the archive's root."""


class Members:
    """The files of one archive; safe for several threads."""

    def __init__(self, path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> None:
        """Raises :class:`~ociworks.errors.ArchiveError`, :class:`~ociworks.errors.LimitExceeded` and ``OSError``."""
        self.path = os.fspath(path)
        self._file = _opened(self.path, limits)
        try:
            self._found = _scan(self._file, self.path, limits)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; closing twice is harmless. Sections that are open stay readable."""
        self._file.close()

    def find(self, name: str | bytes) -> Member | None:
        """The file of this name, through links; None when there is nothing.

        Raises :class:`~ociworks.errors.ArchiveError` for links that go in circles or out of the archive, and for what
        is no file.
        """
        key = os.fsencode(name)
        for _ in range(_HOPS):
            found = self._found.get(key)
            if not isinstance(found, _Link):
                return found
            key = found.target
        raise ArchiveError(f"{quote(self.path)}: {quote(name)}: more than {_HOPS} links behind each other")

    def need(self, name: str | bytes) -> Member:
        """The file of this name; :class:`~ociworks.errors.ArchiveError` when there is nothing."""
        member = self.find(name)
        if member is None:
            raise ArchiveError(f"{quote(self.path)}: expected a file {quote(name)} in the archive")
        return member

    def read(self, member: Member, maximum: int) -> bytes:
        """A small file as a whole; :class:`~ociworks.errors.LimitExceeded` before anything is read otherwise."""
        if member.size > maximum:
            raise LimitExceeded(f"{quote(self.path)}: a file of {member.size} bytes", "max_document", maximum)
        section = self.open(member)
        try:
            return b"".join(iter(lambda: section.read(CHUNK), b""))
        finally:
            section.close()

    def open(self, member: Member) -> Section:
        """The content of a file, as a stream of its own."""
        if self._file.closed:
            raise ArchiveError(f"{quote(self.path)}: the archive is closed")
        return Section(os.dup(self._file.fileno()), member)


class Section:
    """A part of a file; what the file does not have any more is missing at the end."""

    __slots__ = ("_fd", "_left", "_position")

    def __init__(self, fd: int, member: Member) -> None:
        self._fd = fd
        self._position, self._left = member.offset, member.size

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; empty only at the end."""
        data = os.pread(self._fd, min(size, self._left), self._position) if self._left else b""
        self._position += len(data)
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close it; closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def compression_at(section: Section) -> Compression:
    """How what the section begins with is compressed, by its first bytes."""
    return _sniff(section.read(_HEAD))


def _sniff(head: bytes) -> Compression:
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "none")


def _opened(path: str, limits: Limits) -> IO[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    file = open(fd, "rb", buffering=0)  # noqa: SIM115 - it is given away
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ArchiveError(f"{quote(path)}: expected a regular file; write what a pipe gives to one")
        compression = _sniff(os.pread(fd, _HEAD, 0))
        if compression == "none":
            return file
    except BaseException:
        file.close()
        raise
    with file:
        return _decompressed(file, compression, limits, path)


def _decompressed(file: IO[bytes], compression: Compression, limits: Limits, path: str) -> IO[bytes]:
    plain = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it is given away
    try:
        size = 0
        with decompress(file, compression, limits) as stream:
            while data := stream.read(CHUNK):
                size += len(data)
                if size > limits.unpacked_bytes_per_image:
                    raise LimitExceeded(
                        quote(path), "unpacked_bytes_per_image", limits.unpacked_bytes_per_image
                    )
                write_all(plain.fileno(), data)
        plain.seek(0)
    except BaseException:
        plain.close()
        raise
    return plain


def _scan(file: IO[bytes], path: str, limits: Limits) -> dict[bytes, Member | _Link | None]:
    """Every name; directories are nothing, and other things than files are names without a file."""
    found: dict[bytes, Member | _Link | None] = {}
    bounds = evolve(limits, unpacked_bytes_per_layer=limits.unpacked_bytes_per_image)
    reader = TarReader(file, bounds, lambda size: file.seek(size, os.SEEK_CUR))
    try:
        for count, entry in enumerate(reader):
            if count == _ENTRIES:
                raise LimitExceeded(f"entries of {quote(path)}", "entries", _ENTRIES)
            if entry.type == "directory":
                continue
            if entry.path in found:
                raise ArchiveError(f"{quote(path)}: {quote(entry.path)} occurs more than once")
            found[entry.path] = _meaning(entry, reader.offset)
    except TarError as error:
        raise ArchiveError(f"{quote(path)}: not a readable tar archive: {error}") from error
    return found


def _meaning(entry: TarEntry, offset: int) -> Member | _Link | None:
    if entry.type == "file":
        # What is stored of a sparse file is not what it holds; no program writes blobs like that.
        return Member(offset, entry.size) if entry.extents is None else None
    if entry.type == "hardlink":
        return _Link(entry.target)
    return _Link(_inside(entry)) if entry.type == "symlink" else None


def _inside(entry: TarEntry) -> bytes:
    """The target of a symbolic link as a name from the archive's root; there is nothing outside."""
    parts = list(entry.parts[:-1])
    if entry.target.startswith(b"/"):
        raise ArchiveError(f"link {quote(entry.path)} leads out of the archive to {quote(entry.target)}")
    for part in entry.target.split(b"/"):
        if part == b"..":
            if not parts:
                raise ArchiveError(
                    f"link {quote(entry.path)} leads out of the archive to {quote(entry.target)}"
                )
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)
