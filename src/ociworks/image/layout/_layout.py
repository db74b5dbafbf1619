"""An open layout."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Self, overload

from ociworks.errors import ImageNotFound, LayoutError, Problem, quote
from ociworks.image import _files, partial
from ociworks.image._cas import BLOBS, STATE, BlobDirectory
from ociworks.image._catalog import Catalog
from ociworks.image.layout import _chains, _checking, _entries, _garbage, _storing
from ociworks.image.layout._garbage import GarbageReport
from ociworks.image.layout._leases import Lease
from ociworks.image.progress import ProgressCallback, Reporter
from ociworks.image.types import ByteStream, Image, ImageIndex
from ociworks.spec import Digest, to_json
from ociworks.spec.image import Descriptor, Index, mediatypes
from ociworks.spec.image import Layout as LayoutFile

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Layout", "open"]


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


class Layout(Catalog):
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

    def images(self) -> tuple[Descriptor, ...]:
        """The entries of ``index.json``: manifests and indexes, tagged or not."""
        return self._read_index().manifests

    def revision(self) -> tuple[int, int, int]:
        """Another value after every change of ``index.json``, whoever makes it; cheap to ask for."""
        try:
            info = os.stat(_entries.INDEX, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            raise LayoutError(f"{quote(self.path)}: expected the file {_entries.INDEX}") from None
        return info.st_ino, info.st_mtime_ns, info.st_size

    def blob_size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None when it is not there; its bytes are verified when they are read."""
        return self._blobs.size(digest)

    def blobs(self) -> Iterator[Digest]:
        """Every blob that is here, needed or not."""
        return self._blobs.digests()

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        """A verified stream of a blob; raises :class:`~ociworks.errors.BlobNotFound`."""
        return self._blobs.open(descriptor)

    def verify(self) -> list[Problem]:
        """Read everything that ``index.json`` reaches; gives what is missing, damaged or not readable."""
        return _checking.problems_of(self)

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

    @overload
    def put(
        self,
        image: Image | ImageIndex,
        tag: str | None = None,
        *,
        progress: ProgressCallback | None = None,
        workers: int = 4,
    ) -> Image | ImageIndex: ...

    def put(
        self,
        image: Image | ImageIndex,
        tag: str | None = None,
        *,
        progress: ProgressCallback | None = None,
        workers: int = 4,
    ) -> Image | ImageIndex:
        """Store an image, or an index with all its images, and give it back as it is here.

        Only blobs that are missing or damaged are read from it, up to ``workers`` at a time; one that another thread
        or process is bringing is waited for. The tag moves when everything is stored and durable. The first error
        stops the rest, and leaves only whole blobs without a name. Raises what reading the source raises,
        ``ContentError`` for bytes that are not what was promised, and ``OSError``.
        """
        if tag is not None:
            _entries.check_tag(tag)
        with self.lease() as lease:
            stored = self.bring(image, lease, progress=progress, workers=workers)
            self._enter(image.descriptor, (tag,))
        return stored

    def bring(
        self,
        image: Image | ImageIndex,
        lease: Lease,
        *,
        progress: ProgressCallback | None = None,
        workers: int = 4,
    ) -> Image | ImageIndex:
        """Store an image like :meth:`put`, but name it nowhere: it stays for as long as ``lease`` holds it.

        For what has to happen between the transfer and the names, which :meth:`enter` gives it.
        """
        _storing.store(image, self._blobs, lease, Reporter(progress, "pull"), workers)
        return partial.document(_storing.raw_of(image), self, descriptor=image.descriptor)

    def enter(self, image: Image | ImageIndex, tags: Collection[str]) -> None:
        """Give an image or index that was brought tags, all in one step; they move.

        Raises :class:`~ociworks.errors.LayoutError` for what is no tag, and :class:`~ociworks.errors.ImageNotFound`
        when the image is not here.
        """
        for tag in tags:
            _entries.check_tag(tag)
        if not self.has(image.descriptor):
            raise ImageNotFound(f"no image {image.digest} in {quote(self.path)}")
        self._enter(image.descriptor, tags)

    def write_blob(
        self, descriptor: Descriptor, stream: ByteStream, advance: Callable[[int], None] | None = None
    ) -> None:
        """Store one blob; returning means that it is stored, verified and durable. The stream is closed.

        Nothing names it yet: hold it in a :meth:`lease` until something does, or a collection may take it.
        """
        self._blobs.write(descriptor, stream, advance)

    def tag(self, name: str | Digest, tag: str) -> None:
        """Give an image or index that is here a tag; the tag moves. Raises :class:`~ociworks.errors.ImageNotFound`."""
        _entries.check_tag(tag)
        with self.lease() as lease:
            found = self.get(name)
            lease.hold(found)
            entry = _entries.entry_of(self.get(found.digest).descriptor, tag)
            self._change(lambda index: _entries.entered(index, entry), "")

    def untag(self, tag: str) -> None:
        """Remove a tag; the image stays, without a name. Raises :class:`~ociworks.errors.ImageNotFound`."""
        self._change(lambda index: _entries.untagged(index, tag), f"tag {quote(tag)}")

    def delete(self, digest: Digest) -> None:
        """Remove an image or index from ``index.json``, with its tags; its blobs stay until :meth:`gc`.

        Raises :class:`~ociworks.errors.ImageNotFound`.
        """
        self._change(lambda index: _entries.removed(index, digest), f"image {digest}")

    def lease(self) -> Lease:
        """A lease, which keeps from :meth:`gc` what it is told to hold; a context manager."""
        return Lease(lambda: self._root)

    def gc(self, *, dry_run: bool = False) -> GarbageReport:
        """Remove the blobs that neither ``index.json`` reaches nor a living lease holds; ``dry_run`` only lists them.

        Images that are being stored by ociworks, in whatever process, are safe; other programs take no leases, so do
        not collect while one of them writes. Raises :class:`~ociworks.errors.LayoutError`, before anything is removed,
        when a listed document is damaged.
        """
        return _garbage.collect(self._root, self, self._blobs, dry_run=dry_run)

    def chain_ids(self, *, without: Collection[Digest] = ()) -> frozenset[Digest]:
        """The chain IDs of every image whose configuration is here, listed or not; blobs of ``without`` do not count.

        What :meth:`Snapshots.prune <ociworks.image.store.Snapshots.prune>` keeps after :meth:`gc`, which leaves what a
        lease holds.
        """
        return _chains.chain_ids(self, self._blobs, frozenset(without))

    # The directory

    def _initialise(self) -> None:
        with _files.locked(self._root):
            if _files.read_file(self._root, _entries.MARKER, _entries.MAX_MARKER) is not None:
                return
            strangers = [
                name for name in os.listdir(self._root) if name not in {STATE, BLOBS, _entries.INDEX}
            ]
            if strangers:
                raise LayoutError(
                    f"{quote(self.path)}: expected an OCI layout or an empty directory, found {quote(strangers[0])}"
                )
            with _files.directory(self._root, BLOBS, "sha256", create=True):
                pass
            self._blobs.replace(_entries.INDEX, to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=())))
            self._blobs.replace(_entries.MARKER, to_json(LayoutFile(image_layout_version=_entries.VERSION)))

    def _check_marker(self) -> None:
        raw = _files.read_file(self._root, _entries.MARKER, _entries.MAX_MARKER)
        if raw is None:
            raise LayoutError(f"{quote(self.path)}: expected the file {_entries.MARKER} of an OCI layout")
        _entries.check_version(raw, self.path)

    def _read_index(self) -> Index:
        raw = _files.read_file(self._root, _entries.INDEX, partial.MAX_DOCUMENT)
        if raw is None:
            raise LayoutError(f"{quote(self.path)}: expected the file {_entries.INDEX}")
        return _entries.parse_index(raw, self.path)

    def _enter(self, descriptor: Descriptor, tags: Collection[str | None]) -> None:
        entries = [_entries.entry_of(descriptor, tag) for tag in tags]
        self._change(lambda index: functools.reduce(_entries.entered, entries, index), "")

    def _change(self, change: Callable[[Index], Index | None], what: str) -> None:
        """Change ``index.json`` under its lock; a change to nothing says that ``what`` is not there."""
        with _files.locked(self._root):
            index = self._read_index()
            changed = change(index)
            if changed is None:
                raise ImageNotFound(f"no {what} in {quote(self.path)}")
            if changed is not index:
                self._blobs.replace(_entries.INDEX, to_json(changed))
