"""The OCI image layout as a content-addressable store (image-spec image-layout.md).

::

    with layout.open("store", create=True) as store:
        img = store.put(img, tag="app:1.4")      # what is missing travels, in parallel, verified
        store.tags()                             # {"app:1.4": Descriptor(…)}
        img = store.image("app:1.4")

What skopeo and umoci write is read, and the reverse. Several processes and threads may use one layout: blobs appear
whole under their digest, and ``index.json`` changes under a lock (of the directory) by rename. Names come only from
the caller: an annotation inside an image never becomes a tag.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Self, overload

from attrs import evolve

from ociworks.errors import (
    BlobNotFound,
    ContentError,
    ImageNotFound,
    LayoutError,
    NotSupported,
    Problem,
    SpecError,
    quote,
)
from ociworks.image import _files, _parallel, partial
from ociworks.image._cas import BlobDirectory
from ociworks.image.progress import ProgressCallback, Reporter
from ociworks.image.types import ByteStream, Image, ImageIndex
from ociworks.spec import Digest, FrozenDict, Platform, parse, to_json
from ociworks.spec.image import Descriptor, Index, mediatypes, read_manifest
from ociworks.spec.image import Layout as LayoutFile
from ociworks.spec.image.annotations import REF_NAME

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Layout", "open"]

_MARKER: Final = "oci-layout"
_INDEX: Final = "index.json"
_VERSION: Final = "1.0.0"
_MAX_MARKER: Final = 64 * 1024
_ALNUM = "[A-Za-z0-9]+"
_TAG = re.compile(rf"{_ALNUM}(?:(?:[-._:@/+]|--){_ALNUM})*", re.ASCII)


def open(path: str | os.PathLike[str], create: bool = False) -> Layout:  # noqa: A001, FBT001, FBT002
    """Open the layout in a directory; with ``create``, make it (mode 0700) where there is nothing yet.

    Raises :class:`~ociworks.errors.LayoutError` when the directory is something else than a layout, and ``OSError``.
    What killed writers have left in it is removed.
    """
    if create:
        os.makedirs(path, mode=0o700, exist_ok=True)
    try:
        root = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise LayoutError(f"{quote(os.fspath(path))}: expected the directory of an OCI layout") from None
    try:
        return Layout(os.fspath(path), root, create=create)
    except BaseException:
        os.close(root)
        raise


class Layout:
    """An open layout. It is a :class:`~ociworks.image.types.BlobSource`; images from it work while it is open."""

    def __init__(self, path: str, root: int, *, create: bool = False) -> None:
        """Use :func:`open`. ``root`` is a directory descriptor, which belongs to the layout from now on."""
        self.path = path
        self._fd = root
        self._blobs = BlobDirectory(lambda: self._root)
        if create:
            self._initialise()
        self._check_marker()
        self._blobs.clean()

    def close(self) -> None:
        """Release the directory; closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def _root(self) -> int:
        """The directory; a number that was closed may by now be some other file's."""
        if self._fd < 0:
            raise LayoutError(f"{quote(self.path)}: the layout is closed")
        return self._fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    # Reading

    def tags(self) -> Mapping[str, Descriptor]:
        """What each tag points to, in the order of ``index.json``."""
        return FrozenDict(
            {name: entry for entry in self.images() if (name := entry.annotations.get(REF_NAME)) is not None}
        )

    def images(self) -> tuple[Descriptor, ...]:
        """The entries of ``index.json``: manifests and indexes, tagged or not."""
        return self._read_index().manifests

    def image(self, name: str | Digest | None = None, platform: Platform | str | None = None) -> Image:
        """The image with this tag or digest (None: the only one there is).

        Where that is an index, its image for ``platform`` (None: this host's). Where it is an image and a platform
        is asked for, it must be for that platform. Raises :class:`~ociworks.errors.ImageNotFound`.
        """
        found = self.get(name)
        if isinstance(found, ImageIndex):
            return found.image(platform)
        return partial.require(found, platform)

    def index(self, name: str | Digest | None = None) -> ImageIndex:
        """The index with this tag or digest; :class:`~ociworks.errors.ImageNotFound` when that is an image."""
        found = self.get(name)
        if not isinstance(found, ImageIndex):
            raise ImageNotFound(f"{found.digest} is an image, not an index; use image()")
        return found

    def get(self, name: str | Digest | None = None) -> Image | ImageIndex:
        """The image or index with this tag or digest."""
        descriptor = self._find(name)
        try:
            return partial.document(partial.read_blob(self, descriptor), self, descriptor=descriptor)
        except BlobNotFound as error:
            raise ImageNotFound(
                f"image {descriptor.digest} is incomplete in {quote(self.path)}: {error}"
            ) from None

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there with the right size; its bytes are verified when they are read."""
        return self._blobs.has(descriptor)

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        """A verified stream of a blob; raises :class:`~ociworks.errors.BlobNotFound`."""
        return self._blobs.open(descriptor)

    def verify(self) -> list[Problem]:
        """Read everything that ``index.json`` reaches; gives what is missing, damaged or not readable."""
        problems: list[Problem] = []
        for entry in self.images():
            self._verify(entry, problems, set(), depth=0)
        return problems

    # Writing

    @overload
    def put(
        self,
        image: Image,
        tag: str | None = None,
        *,
        progress: ProgressCallback | None = None,
        workers: int = 4,
    ) -> Image: ...

    @overload
    def put(
        self,
        image: ImageIndex,
        tag: str | None = None,
        *,
        progress: ProgressCallback | None = None,
        workers: int = 4,
    ) -> ImageIndex: ...

    def put(
        self,
        image: Image | ImageIndex,
        tag: str | None = None,
        *,
        progress: ProgressCallback | None = None,
        workers: int = 4,
    ) -> Image | ImageIndex:
        """Store an image, or an index with all its images, and give it back as it is here.

        Only blobs that are missing or damaged are read from it, up to ``workers`` at a time. The tag moves when
        everything is stored. The first error stops the rest, and leaves only whole blobs without a name. Raises what
        reading the source raises, ``ContentError`` for bytes that are not what was promised, and ``OSError``.
        """
        if tag is not None:
            _check_tag(tag)
        reporter = Reporter(progress, "pull")
        for each in partial.walk(image):
            if not isinstance(each, ImageIndex):
                self._put_blobs(each, reporter, workers)
            self._put_raw(each.descriptor, _raw(each))
        self._list(image.descriptor, tag)
        return partial.document(_raw(image), self, descriptor=image.descriptor)

    def write_blob(
        self, descriptor: Descriptor, stream: ByteStream, advance: Callable[[int], None] | None = None
    ) -> None:
        """Store one blob; returning means that it is stored, verified and durable. The stream is closed."""
        self._blobs.write(descriptor, stream, advance)

    def untag(self, tag: str) -> None:
        """Remove a tag; the image stays, without a name. Raises :class:`~ociworks.errors.ImageNotFound`."""
        with _files.locked(self._root):
            index = self._read_index()
            tagged = [entry for entry in index.manifests if entry.annotations.get(REF_NAME) == tag]
            if not tagged:
                raise ImageNotFound(f"no tag {quote(tag)} in {quote(self.path)}")
            kept = [entry for entry in index.manifests if entry not in tagged]
            listed = {entry.digest for entry in kept}
            bare = [_without_tag(entry) for entry in tagged if entry.digest not in listed]
            self._write_index(evolve(index, manifests=(*kept, *bare)))

    def delete(self, digest: Digest) -> None:
        """Remove an image or index from ``index.json``, with its tags; its blobs stay.

        Raises :class:`~ociworks.errors.ImageNotFound`.
        """
        with _files.locked(self._root):
            index = self._read_index()
            kept = tuple(entry for entry in index.manifests if entry.digest != digest)
            if len(kept) == len(index.manifests):
                raise ImageNotFound(f"no image {digest} in {quote(self.path)}")
            self._write_index(evolve(index, manifests=kept))

    # The directory

    def _initialise(self) -> None:
        with _files.locked(self._root):
            if _files.read_file(self._root, _MARKER, _MAX_MARKER) is not None:
                return
            strangers = [
                name for name in os.listdir(self._root) if name not in {".ociworks", "blobs", _INDEX}
            ]
            if strangers:
                raise LayoutError(
                    f"{quote(self.path)}: expected an OCI layout or an empty directory, found {quote(strangers[0])}"
                )
            with _files.directory(self._root, "blobs", "sha256", create=True):
                pass
            self._write_index(Index(media_type=mediatypes.OCI_INDEX, manifests=()))
            self._blobs.replace(_MARKER, to_json(LayoutFile(image_layout_version=_VERSION)))

    def _check_marker(self) -> None:
        raw = _files.read_file(self._root, _MARKER, _MAX_MARKER)
        if raw is None:
            raise LayoutError(f"{quote(self.path)}: expected the file {_MARKER} of an OCI layout")
        try:
            version = parse(LayoutFile, raw, max_size=_MAX_MARKER).image_layout_version
        except SpecError as error:
            raise LayoutError(f"{quote(self.path)}: {_MARKER}: {error}") from None
        if version != _VERSION:
            raise NotSupported(
                f"{quote(self.path)}: expected layout version {_VERSION}, got {quote(version)}"
            )

    def _read_index(self) -> Index:
        raw = _files.read_file(self._root, _INDEX, partial.MAX_DOCUMENT)
        if raw is None:
            raise LayoutError(f"{quote(self.path)}: expected the file {_INDEX}")
        try:
            return parse(Index, raw, max_size=partial.MAX_DOCUMENT)
        except SpecError as error:
            raise LayoutError(f"{quote(self.path)}: {_INDEX}: {error}") from None

    def _write_index(self, index: Index) -> None:
        self._blobs.replace(_INDEX, to_json(index))

    def _list(self, descriptor: Descriptor, tag: str | None) -> None:
        """Enter an image; its tag moves to it, and an entry without tag gives way to one that has it."""
        entry = _entry(descriptor, tag)
        with _files.locked(self._root):
            index = self._read_index()
            if tag is None and any(known.digest == entry.digest for known in index.manifests):
                return
            kept = [known for known in index.manifests if not _replaces(entry, known)]
            self._write_index(evolve(index, manifests=(*kept, entry)))

    # Finding

    def _find(self, name: str | Digest | None) -> Descriptor:
        entries = self.images()
        if name is None:
            return self._only(entries, "image")
        if isinstance(name, str) and not _is_digest(name):
            return self._only([entry for entry in entries if entry.annotations.get(REF_NAME) == name], name)
        digest = Digest.parse(name) if isinstance(name, str) else name
        return next((entry for entry in entries if entry.digest == digest), None) or self._nested(digest)

    def _only(self, entries: Sequence[Descriptor], name: str) -> Descriptor:
        digests = {entry.digest for entry in entries}
        if len(digests) != 1:
            raise ImageNotFound(f"{quote(self.path)}: expected one {quote(name)}, found {len(digests)}")
        return entries[0]

    def _nested(self, digest: Digest) -> Descriptor:
        """A manifest that only an index names: its own ``mediaType`` must say what it is."""
        size = self._blobs.size(digest)
        if size is None or size > partial.MAX_DOCUMENT:
            raise ImageNotFound(f"no image {digest} in {quote(self.path)}")
        blob = Descriptor(media_type="application/octet-stream", digest=digest, size=size)
        return read_manifest(partial.read_blob(self, blob)).descriptor

    # Storing

    def _put_blobs(self, image: Image, reporter: Reporter, workers: int) -> None:
        self._put_raw(image.manifest.config, image.raw_config)
        layers = {layer.digest: layer for layer in image.layers}.values()

        def store(layer: partial.Opens, checkpoint: Callable[[], None]) -> None:
            size = layer.descriptor.size

            def advance(done: int) -> None:
                checkpoint()
                reporter.report("transfer", layer.descriptor.digest, done, size)

            if self._blobs.intact(layer.descriptor):
                reporter.report("skip", layer.descriptor.digest, size, size)
                return
            reporter.report("start", layer.descriptor.digest, 0, size)
            self._blobs.write(layer.descriptor, layer.open(), advance)
            reporter.report("done", layer.descriptor.digest, size, size)

        _parallel.each(layers, store, workers)

    def _put_raw(self, descriptor: Descriptor, raw: bytes) -> None:
        if not self._blobs.intact(descriptor):
            self._blobs.write(descriptor, partial.stream_of(raw, descriptor))

    # Verifying

    def _verify(self, entry: Descriptor, problems: list[Problem], seen: set[Digest], depth: int) -> None:
        if entry.digest in seen:
            return
        seen.add(entry.digest)
        path = f"blobs/{entry.digest.algorithm}/{entry.digest.encoded}"
        try:
            if not (mediatypes.is_index(entry.media_type) or mediatypes.is_manifest(entry.media_type)):
                with self.open_blob(entry):
                    return
            value = read_manifest(partial.read_blob(self, entry), descriptor=entry).value
        except (BlobNotFound, ContentError, SpecError) as error:
            problems.append(Problem(path, str(error), "image-layout.md, Blobs"))
            return
        if depth >= partial.MAX_DEPTH:
            problems.append(Problem(path, f"indexes are nested deeper than {partial.MAX_DEPTH}"))
            return
        for child in value.manifests if isinstance(value, Index) else (value.config, *value.layers):
            self._verify(child, problems, seen, depth + 1)


def _check_tag(tag: str) -> None:
    if len(tag) > 255 or _TAG.fullmatch(tag) is None or _is_digest(tag):
        raise LayoutError(
            f"expected a tag of letters and digits joined by one of -._:@/+, got {quote(tag)} "
            "(image-spec annotations.md, org.opencontainers.image.ref.name)"
        )


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"sha(?:256|384|512):[0-9a-f]{64,128}", text, re.ASCII) is not None


def _replaces(entry: Descriptor, known: Descriptor) -> bool:
    tag = entry.annotations.get(REF_NAME)
    known_tag = known.annotations.get(REF_NAME)
    return known_tag == tag if known_tag is not None else known.digest == entry.digest


def _entry(descriptor: Descriptor, tag: str | None) -> Descriptor:
    """What ``index.json`` says of an image. Annotations of its origin stay behind: some programs read names there."""
    return Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        platform=descriptor.platform,
        artifact_type=descriptor.artifact_type,
        annotations=FrozenDict({REF_NAME: tag} if tag is not None else {}),
    )


def _without_tag(entry: Descriptor) -> Descriptor:
    kept = {key: value for key, value in entry.annotations.items() if key != REF_NAME}
    return evolve(entry, annotations=FrozenDict(kept))


def _raw(image: Image | ImageIndex) -> bytes:
    return image.raw_index if isinstance(image, ImageIndex) else image.raw_manifest
