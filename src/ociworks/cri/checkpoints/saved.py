"""Reads what a checkpoint holds: into a private directory, bounded, and nothing in it is believed (CR-13).

It comes as an archive, or as an image whose layers are one. Of either, known regular files are written below their
known names; anything that is no regular file or directory is an error, wherever it lies. What the files say of rights,
mounts, names and images is compared with a request, never taken for one; criu's images are held to the configuration
when they are restored (``runtime._criu.within``).
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from typing import IO, Final

from attrs import evolve, frozen

from ociworks.errors import ImageError, InvalidRequest, LimitExceeded, SpecError, quote
from ociworks.image.tar import DEFAULT_LIMITS, TarEntry, TarReader, decompress
from ociworks.image.tar.compression import sniff
from ociworks.image.types import Image
from ociworks.spec import parse
from ociworks.spec.digest import Readable
from ociworks.spec.runtime import Spec

__all__ = ["CHECKPOINT_NAMES", "Saved", "is_checkpoint", "unpack_archive", "unpack_image"]

CHECKPOINT_NAMES: Final = (
    "io.kubernetes.cri-o.annotations.checkpoint.name",
    "org.criu.checkpoint.container.name",
)
"""Annotations of an image that is a checkpoint."""
_IMAGES: Final = "checkpoint"
_CONFIG: Final = "config.dump"
_SPEC: Final = "spec.dump"
_CHANGES: Final = "rootfs-diff.tar"
_DELETED: Final = "deleted.files"
_LOG: Final = "container.log"
_DESCRIPTORS: Final = "descriptors.json"
_KNOWN: Final = (_CONFIG, _SPEC, _CHANGES, _DELETED, _LOG)
_MAX_DOCUMENT: Final = 16 << 20
_MAX_FILES: Final = 100_000
_MAX_BYTES: Final = DEFAULT_LIMITS.unpacked_bytes_per_image
_LIMITS: Final = evolve(DEFAULT_LIMITS, unpacked_bytes_per_layer=_MAX_BYTES)
"""What a process had in memory is one file."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REGULAR: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_MAGIC: Final = 10
_IDENTITY: Final = re.compile(r"(?:[^@]*@)?(?:sha256:)?[0-9a-f]{64}", re.ASCII)


@frozen(kw_only=True)
class Saved:
    """A checkpoint in a directory of its own."""

    directory: str

    @property
    def images(self) -> str:
        """The directory of criu's images."""
        return f"{self.directory}/{_IMAGES}"

    @property
    def image(self) -> str:
        """The image of the root filesystem, by its digest or ID. InvalidRequest when it is not said like that."""
        found = self._json(_CONFIG)
        for name in ("rootfsImageRef", "rootfsImage"):
            text = found.get(name) if isinstance(found, dict) else None
            if isinstance(text, str) and _IDENTITY.fullmatch(text):
                return text
        raise InvalidRequest(f"checkpoint: {_CONFIG} names no image of the root filesystem by its digest")

    @property
    def spec(self) -> Spec:
        """The configuration at the checkpoint."""
        try:
            return parse(Spec, self._read(_SPEC))
        except SpecError as error:
            raise InvalidRequest(f"checkpoint: {_SPEC}: {error}") from error

    @property
    def has_input(self) -> bool:
        """Whether its standard input was a pipe."""
        found = self._json(f"{_IMAGES}/{_DESCRIPTORS}")
        return isinstance(found, list) and str(found[:1]).startswith("['pipe:")

    @property
    def deleted(self) -> tuple[str, ...]:
        """What had been deleted from the root filesystem, where that is not told by the changes themselves."""
        if not os.path.lexists(f"{self.directory}/{_DELETED}"):
            return ()
        found = self._json(_DELETED)
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise InvalidRequest(f"checkpoint: {_DELETED}: expected a list of names")
        return tuple(found)

    def changes(self) -> IO[bytes] | None:
        """What had been changed in the root filesystem, a layer to be closed; None without changes."""
        return self._open(_CHANGES)

    def log(self) -> IO[bytes] | None:
        """The container's log, to be closed; None without one."""
        return self._open(_LOG)

    def _open(self, name: str) -> IO[bytes] | None:
        try:
            return open(f"{self.directory}/{name}", "rb")
        except FileNotFoundError:
            return None

    def _json(self, name: str) -> object:
        try:
            return json.loads(self._read(name))
        except ValueError as error:
            raise InvalidRequest(f"checkpoint: {name}: {error}") from error

    def _read(self, name: str) -> bytes:
        try:
            with open(f"{self.directory}/{name}", "rb") as stream:
                raw = stream.read(_MAX_DOCUMENT + 1)
        except OSError as error:
            raise InvalidRequest(f"checkpoint: {name}: {error.strerror}") from error
        if len(raw) > _MAX_DOCUMENT:
            raise InvalidRequest(f"checkpoint: {name}: larger than {_MAX_DOCUMENT} bytes")
        return raw


def is_checkpoint(image: Image) -> bool:
    """Whether an image says that it is a checkpoint."""
    return any(name in image.manifest.annotations for name in CHECKPOINT_NAMES)


def unpack_archive(path: str, directory: str) -> Saved:
    """Read the archive at ``path`` (a regular file, no link) into a new private directory. InvalidRequest."""
    try:
        descriptor = os.open(path, _REGULAR)
    except OSError as error:
        raise InvalidRequest(f"checkpoint: {quote(path)}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidRequest(f"checkpoint: {quote(path)}: expected a regular file")
    with open(descriptor, "rb") as stream:
        return _unpack(_plain(stream), directory)


def unpack_image(image: Image, directory: str) -> Saved:
    """The same of the layers of an image."""

    def streams() -> Iterator[Readable]:
        for layer in image.layers:
            with layer.uncompressed() as stream:
                yield stream

    return _unpack(streams(), directory)


def _plain(stream: IO[bytes]) -> Iterator[Readable]:
    compression = sniff(stream.read(_MAGIC))
    stream.seek(0)
    with decompress(stream, compression) as plain:
        yield plain


def _unpack(streams: Iterator[Readable], directory: str) -> Saved:
    os.mkdir(directory, 0o700)
    place = os.open(directory, _DIRECTORY)
    try:
        os.mkdir(_IMAGES, 0o700, dir_fd=place)
        unpacking = _Unpacking(place)
        for stream in streams:
            unpacking.read(stream)
    except (ImageError, LimitExceeded, FileExistsError) as error:
        raise InvalidRequest(f"checkpoint: {error}") from error
    finally:
        os.close(place)
    return Saved(directory=directory)


class _Unpacking:
    """A directory that is filled, and what may still come."""

    def __init__(self, place: int) -> None:
        self._place = place
        self._files = 0
        self._bytes = 0

    def read(self, stream: Readable) -> None:
        """Take what is known of one archive."""
        reader = TarReader(stream, _LIMITS)
        for entry in reader:
            self._count(entry)
            name = b"/".join(entry.parts).decode("utf-8", "surrogateescape")
            if entry.type == "file" and _is_wanted(name):
                self._write(name, entry, reader)

    def _count(self, entry: TarEntry) -> None:
        if entry.type not in ("file", "directory"):
            raise InvalidRequest(f"checkpoint: {quote(entry.path)} is a {entry.type}: expected files only")
        self._files += 1
        self._bytes += entry.size
        if self._files > _MAX_FILES or self._bytes > _MAX_BYTES:
            raise InvalidRequest(f"checkpoint: more than {_MAX_FILES} files, or than {_MAX_BYTES} bytes")

    def _write(self, name: str, entry: TarEntry, reader: TarReader) -> None:
        if name in (_CONFIG, _SPEC, _DELETED) and entry.size > _MAX_DOCUMENT:
            raise InvalidRequest(f"checkpoint: {name}: larger than {_MAX_DOCUMENT} bytes")
        with os.fdopen(os.open(name, _NEW, 0o600, dir_fd=self._place), "wb") as sink:
            for piece in reader.content():
                sink.write(piece)


def _is_wanted(name: str) -> bool:
    """Documents, the two archives, and the files (there are no directories) of criu."""
    above, _, below = name.rpartition("/")
    return name in _KNOWN or (above == _IMAGES and bool(below))
