"""A store in a directory: content once, by digest, and links to it from each repository.

::

    <root>/ociworks-registry                              says what the directory is, and is locked by its server
    <root>/blobs/<algorithm>/<encoded>                    all content
    <root>/uploads/<identifier>                           an upload under way
    <root>/repositories/<name>/_blobs/<algorithm>/<encoded>       hard link: a blob of this repository
    <root>/repositories/<name>/_manifests/<algorithm>/<encoded>   hard link: a manifest
    <root>/repositories/<name>/_types/<digest>                    the manifest's media type
    <root>/repositories/<name>/_tags/<tag>                        the digest that the tag points to
    <root>/repositories/<name>/_referrers/<subject>/<digest>      empty: this manifest has that subject

No part of a repository's name begins with an underscore, so no name meets another's files. A link appears after what
it needs and goes before it. How many repositories hold some content is the number of its links, kept by the kernel:
content without any is removed at once, and there is nothing to collect later.

An upload goes on after a restart of the server. Nothing here holds a blob in memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ociworks.errors import LayoutError, LimitExceeded, SpecError
from ociworks.image import _files
from ociworks.spec import Digest
from ociworks.spec.image.dispatch import MAX_MANIFEST_SIZE, read_manifest
from ociworks.testing._registry import links
from ociworks.testing._registry.claim import NEW, UPLOADS, claimed, clean
from ociworks.testing._registry.hashing import RunningDigest
from ociworks.testing._registry.links import FileContent
from ociworks.testing._registry.refused import Refused
from ociworks.testing._registry.resumable import DirectoryUpload, Session
from ociworks.testing._registry.sessions import identifier_for, is_identifier_of, on_hold
from ociworks.testing._registry.store import StoredManifest

if TYPE_CHECKING:
    from ociworks.spec.image import TypedManifest

__all__ = ["DirectoryStore"]

_MAX_DEPTH: Final = 128
_SWEEP: Final = 60.0
_DIRECTORY: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0)
_FRESH: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class DirectoryStore:
    """All repositories below one directory, which is made when it is missing.

    Raises :class:`~ociworks.errors.LayoutError` when the directory is something else, or when another server has it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        upload_age: float = float("inf"),
        max_manifest: int = MAX_MANIFEST_SIZE,
    ) -> None:
        self._guard = threading.RLock()
        self._root = self._lock = -1
        self._held: dict[str, Session] = {}
        self._upload_age = upload_age
        self._swept = float("-inf")
        self._max_manifest = max_manifest
        os.makedirs(path, mode=0o700, exist_ok=True)
        self._root = os.open(path, _DIRECTORY)
        try:
            self._lock = claimed(self._root, os.fspath(path))
            clean(self._root)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the directory; twice is harmless."""
        for name in ("_lock", "_root"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)

    # Repositories

    def repositories(self) -> list[str]:
        """Their names, sorted."""
        with contextlib.suppress(FileNotFoundError), _files.directory(self._root, "repositories") as top:
            return sorted(_repositories(top, (), _MAX_DEPTH))
        return []

    def exists(self, name: str) -> bool:
        """Whether the repository does."""
        return any(links.exists(self._root, *_home(name), kind) for kind in ("_blobs", "_manifests"))

    # Blobs

    def blob(self, name: str, digest: Digest) -> FileContent | None:
        """A blob of this repository."""
        fd = links.open_file(self._root, *_home(name), "_blobs", digest.algorithm, digest.encoded)
        return None if fd is None else FileContent(fd)

    def has_blob(self, name: str, digest: Digest) -> bool:
        """Whether it is there."""
        return links.exists(self._root, *_home(name), "_blobs", digest.algorithm, digest.encoded)

    def mount(self, name: str, digest: Digest, source: str | None) -> bool:
        """Link a blob into this repository."""
        with self._guard:
            known = self.has_blob(source, digest) if source is not None else self._anywhere(digest)
            return known and self._link(name, "_blobs", digest)

    def delete_blob(self, name: str, digest: Digest) -> bool:
        """Remove a blob from this repository."""
        return self._unlink(name, "_blobs", digest)

    # Uploads

    def start(self, name: str) -> str:
        """Begin an upload."""
        identifier = identifier_for(name)
        with self._guard:
            self._held[identifier] = Session(RunningDigest())
        with _files.directory(self._root, UPLOADS, create=True) as folder:
            os.close(os.open(identifier, _FRESH, 0o644, dir_fd=folder))
        return identifier

    def uploads(self) -> int:
        """How many are under way."""
        names = links.listed(self._root, UPLOADS)
        now = time.monotonic()
        with self._guard:
            due = now >= self._swept + min(_SWEEP, self._upload_age)
            if due:
                self._swept = now
        return len(names) - (sum(map(self._forgotten, names)) if due else 0)

    @contextmanager
    def upload(self, name: str, identifier: str) -> Iterator[DirectoryUpload]:
        """Hold an upload; one that a stopped server has left is taken up again."""
        if not is_identifier_of(name, identifier) or not links.exists(self._root, UPLOADS, identifier):
            raise Refused("BLOB_UPLOAD_UNKNOWN")
        with self._guard:
            session = self._held.setdefault(identifier, Session(RunningDigest(complete=False)))
        with on_hold(session.hold), _files.directory(self._root, UPLOADS) as folder:
            try:
                fd = os.open(identifier, _APPEND, dir_fd=folder)
            except FileNotFoundError:
                self._held.pop(identifier, None)
                raise Refused("BLOB_UPLOAD_UNKNOWN") from None
            try:
                yield DirectoryUpload(self, name, identifier, fd, session)
            finally:
                os.close(fd)

    def publish(self, name: str, identifier: str, digest: Digest, size: int) -> None:
        """Make a finished upload content, and a blob of this repository."""
        with (
            self._guard,
            _files.directory(self._root, UPLOADS) as source,
            _files.directory(self._root, "blobs", digest.algorithm, create=True) as target,
        ):
            if self._content_size(digest) == size:
                os.unlink(identifier, dir_fd=source)
            else:
                os.rename(identifier, digest.encoded, src_dir_fd=source, dst_dir_fd=target)
                os.fsync(target)
            self._link(name, "_blobs", digest)

    def forget(self, identifier: str) -> None:
        """End an upload."""
        links.removed(self._root, UPLOADS, identifier)
        with self._guard:
            self._held.pop(identifier, None)

    # Manifests

    def manifest(self, name: str, digest: Digest) -> StoredManifest | None:
        """A manifest of this repository."""
        fd = links.open_file(self._root, *_home(name), "_manifests", digest.algorithm, digest.encoded)
        if fd is None:
            return None
        with open(fd, "rb") as file:
            raw = file.read(self._max_manifest + 1)
        if len(raw) > self._max_manifest:
            raise LimitExceeded(f"manifest {digest}", "manifest", self._max_manifest)
        media_type = links.read_text(self._root, *_home(name), "_types", str(digest))
        return None if media_type is None else StoredManifest(digest, media_type, raw)

    def put_manifest(self, name: str, digest: Digest, manifest: TypedManifest, tags: Sequence[str]) -> None:
        """Store a manifest and let these tags point to it."""
        with self._guard:
            self._write(digest, manifest.raw)
            links.put_text(self._root, manifest.media_type, *_home(name), "_types", str(digest))
            if manifest.value.subject is not None:
                subject = str(manifest.value.subject.digest)
                links.put_text(self._root, "", *_home(name), "_referrers", subject, str(digest))
            self._link(name, "_manifests", digest)
            for tag in tags:
                links.put_text(self._root, str(digest), *_home(name), "_tags", tag)

    def delete_manifest(self, name: str, digest: Digest) -> bool:
        """Remove a manifest and its tags."""
        with self._guard:
            for tag in self.tags(name):
                if self.tagged(name, tag) == digest:
                    self.untag(name, tag)
            found = self.manifest(name, digest)
            if found is None or not self._unlink(name, "_manifests", digest):
                return False
            links.removed(self._root, *_home(name), "_types", str(digest))
            subject = _subject(found)
            if subject is not None:
                links.removed(self._root, *_home(name), "_referrers", str(subject), str(digest))
            return True

    def tags(self, name: str) -> list[str]:
        """The tags of a repository."""
        return [tag for tag in links.listed(self._root, *_home(name), "_tags") if not tag.startswith(".")]

    def tagged(self, name: str, tag: str) -> Digest | None:
        """What a tag points to."""
        text = links.read_text(self._root, *_home(name), "_tags", tag)
        return None if text is None else Digest.parse(text)

    def untag(self, name: str, tag: str) -> bool:
        """Remove a tag."""
        return links.removed(self._root, *_home(name), "_tags", tag)

    def referrers(self, name: str, subject: Digest) -> Iterable[StoredManifest]:
        """The manifests with this subject."""
        for text in links.listed(self._root, *_home(name), "_referrers", str(subject)):
            with contextlib.suppress(SpecError):
                found = self.manifest(name, Digest.parse(text))
                if found is not None:
                    yield found

    # Content and its links

    def _write(self, digest: Digest, raw: bytes) -> None:
        """Store small content that has this digest."""
        if self._content_size(digest) == len(raw):
            return
        with (
            _files.directory(self._root, UPLOADS, create=True) as staging,
            _files.directory(self._root, "blobs", digest.algorithm, create=True) as target,
        ):
            fd, name = _files.create_locked(staging, NEW)
            try:
                _files.write_all(fd, raw)
                os.fsync(fd)
                os.rename(name, digest.encoded, src_dir_fd=staging, dst_dir_fd=target)
                os.fsync(target)
            except BaseException:
                links.removed(staging, name)
                raise
            finally:
                os.close(fd)

    def _link(self, name: str, kind: str, digest: Digest) -> bool:
        with (
            self._guard,
            _files.directory(self._root, "blobs", digest.algorithm, create=True) as source,
            _files.directory(self._root, *_home(name), kind, digest.algorithm, create=True) as target,
        ):
            return links.link(source, digest.encoded, target, digest.encoded)

    def _unlink(self, name: str, kind: str, digest: Digest) -> bool:
        """Remove a link, and the content that no other repository links to."""
        with self._guard:
            if not links.removed(self._root, *_home(name), kind, digest.algorithm, digest.encoded):
                return False
            with (
                contextlib.suppress(FileNotFoundError),
                _files.directory(self._root, "blobs", digest.algorithm) as blobs,
            ):
                if os.stat(digest.encoded, dir_fd=blobs, follow_symlinks=False).st_nlink == 1:
                    os.unlink(digest.encoded, dir_fd=blobs)
            return True

    def _anywhere(self, digest: Digest) -> bool:
        """Whether some repository has it as a blob, not only as a manifest."""
        return self._content_size(digest) is not None and any(
            self.has_blob(name, digest) for name in self.repositories()
        )

    def _content_size(self, digest: Digest) -> int | None:
        fd = links.open_file(self._root, "blobs", digest.algorithm, digest.encoded)
        if fd is None:
            return None
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def _forgotten(self, identifier: str) -> bool:
        """Whether an upload was too old, and is gone now."""
        with self._guard:
            session = self._held.get(identifier)
        if session is not None and session.hold.locked():
            return False
        try:
            with _files.directory(self._root, UPLOADS) as folder:
                touched = os.stat(identifier, dir_fd=folder, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return True
        if touched > time.time() - self._upload_age:
            return False
        self.forget(identifier)
        return True


def _subject(found: StoredManifest) -> Digest | None:
    value = read_manifest(found.raw, content_type=found.media_type, max_size=len(found.raw)).value
    return None if value.subject is None else value.subject.digest


def _home(name: str) -> tuple[str, ...]:
    return ("repositories", *name.split("/"))


def _repositories(folder: int, above: tuple[str, ...], depth: int) -> Iterator[str]:
    for entry in os.listdir(folder):
        if entry.startswith("_") or not depth:
            continue
        with contextlib.suppress(LayoutError), _files.directory(folder, entry) as inside:
            if {"_blobs", "_manifests"} & set(os.listdir(inside)):
                yield "/".join((*above, entry))
            yield from _repositories(inside, (*above, entry), depth - 1)
