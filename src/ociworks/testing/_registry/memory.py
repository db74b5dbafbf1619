"""A store in memory: for tests, and for images that fit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from attrs import Factory, define

from ociworks.spec import Digest
from ociworks.spec.digest import BytesLike
from ociworks.spec.image import TypedManifest
from ociworks.testing._registry.hashing import RunningDigest
from ociworks.testing._registry.messages import Bytes
from ociworks.testing._registry.refused import Refused
from ociworks.testing._registry.sessions import identifier_for, on_hold
from ociworks.testing._registry.store import StoredManifest

__all__ = ["MemoryStore", "Repository"]


@define
class Repository:
    """One repository."""

    blobs: dict[Digest, BytesLike] = Factory(dict)
    manifests: dict[Digest, TypedManifest] = Factory(dict)
    tags: dict[str, Digest] = Factory(dict)


class MemoryStore:
    """All repositories. Hold :attr:`lock` around what belongs together."""

    def __init__(self, upload_age: float = float("inf")) -> None:
        self.lock = threading.RLock()
        self._repositories: dict[str, Repository] = {}
        self._uploads: dict[str, MemoryUpload] = {}
        self._upload_age = upload_age

    def repository(self, name: str, *, create: bool = False) -> Repository:
        """The repository of this name; one that does not exist is empty."""
        with self.lock:
            if create:
                return self._repositories.setdefault(name, Repository())
            return self._repositories.get(name, Repository())

    def repositories(self) -> list[str]:
        """Their names, sorted."""
        with self.lock:
            return sorted(self._repositories)

    def exists(self, name: str) -> bool:
        """Whether the repository does."""
        with self.lock:
            return name in self._repositories

    def blob(self, name: str, digest: Digest) -> Bytes | None:
        """A blob of this repository."""
        with self.lock:
            content = self.repository(name).blobs.get(digest)
        return None if content is None else Bytes(content)

    def has_blob(self, name: str, digest: Digest) -> bool:
        """Whether it is there."""
        with self.lock:
            return digest in self.repository(name).blobs

    def mount(self, name: str, digest: Digest, source: str | None) -> bool:
        """Make a blob of another repository a blob of this one."""
        with self.lock:
            sources = [source] if source is not None else list(self._repositories)
            for each in sources:
                content = self.repository(each).blobs.get(digest)
                if content is not None:
                    self.repository(name, create=True).blobs[digest] = content
                    return True
            return False

    def delete_blob(self, name: str, digest: Digest) -> bool:
        """Remove a blob from this repository."""
        with self.lock:
            return self.repository(name).blobs.pop(digest, None) is not None

    def start(self, name: str) -> str:
        """Begin an upload."""
        upload = MemoryUpload(self, name, identifier_for(name))
        with self.lock:
            self._uploads[upload.identifier] = upload
        return upload.identifier

    def uploads(self) -> int:
        """How many are under way."""
        oldest = time.monotonic() - self._upload_age
        with self.lock:
            for upload in list(self._uploads.values()):
                if upload.touched < oldest and not upload.hold.locked():
                    self.forget(upload.identifier)
            return len(self._uploads)

    @contextmanager
    def upload(self, name: str, identifier: str) -> Iterator[MemoryUpload]:
        """Hold an upload."""
        with self.lock:
            upload = self._uploads.get(identifier)
        if upload is None or upload.name != name:
            raise Refused("BLOB_UPLOAD_UNKNOWN")
        with on_hold(upload.hold):
            if identifier not in self._uploads:
                raise Refused("BLOB_UPLOAD_UNKNOWN")
            upload.touched = time.monotonic()
            yield upload

    def forget(self, identifier: str) -> None:
        """End an upload."""
        with self.lock:
            self._uploads.pop(identifier, None)

    def manifest(self, name: str, digest: Digest) -> StoredManifest | None:
        """A manifest of this repository."""
        with self.lock:
            found = self.repository(name).manifests.get(digest)
        return None if found is None else StoredManifest(digest, found.media_type, found.raw)

    def put_manifest(self, name: str, digest: Digest, manifest: TypedManifest, tags: Sequence[str]) -> None:
        """Store a manifest and let these tags point to it."""
        with self.lock:
            repository = self.repository(name, create=True)
            repository.manifests[digest] = manifest
            repository.tags.update(dict.fromkeys(tags, digest))

    def delete_manifest(self, name: str, digest: Digest) -> bool:
        """Remove a manifest and its tags."""
        with self.lock:
            repository = self.repository(name)
            repository.tags = {tag: found for tag, found in repository.tags.items() if found != digest}
            return repository.manifests.pop(digest, None) is not None

    def tags(self, name: str) -> list[str]:
        """The tags of a repository."""
        with self.lock:
            return list(self.repository(name).tags)

    def tagged(self, name: str, tag: str) -> Digest | None:
        """What a tag points to."""
        with self.lock:
            return self.repository(name).tags.get(tag)

    def untag(self, name: str, tag: str) -> bool:
        """Remove a tag."""
        with self.lock:
            return self.repository(name).tags.pop(tag, None) is not None

    def referrers(self, name: str, subject: Digest) -> Iterable[StoredManifest]:
        """The manifests with this subject."""
        with self.lock:
            return [
                StoredManifest(digest, found.media_type, found.raw)
                for digest, found in self.repository(name).manifests.items()
                if found.value.subject is not None and found.value.subject.digest == subject
            ]

    def close(self) -> None:
        """Nothing to release."""


class MemoryUpload:
    """An upload, growing in memory; at its end the same bytes are the blob."""

    def __init__(self, store: MemoryStore, name: str, identifier: str) -> None:
        self._store = store
        self.name = name
        self.identifier = identifier
        self.hold = threading.Lock()
        self.touched = time.monotonic()
        self._content = bytearray()
        self._digest = RunningDigest()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self._content)

    def expect(self, algorithm: str) -> None:
        """Hash with this algorithm."""
        self._digest.expect(algorithm)

    def write(self, data: memoryview) -> None:
        """Add bytes."""
        self._content += data
        self._digest.update(data)

    def finish(self, digest: Digest) -> bool:
        """Make it a blob."""
        self._store.forget(self.identifier)
        if not self._digest.agrees(digest, self.size, lambda: [self._content]):
            return False
        with self._store.lock:
            self._store.repository(self.name, create=True).blobs.setdefault(digest, self._content)
        return True

    def cancel(self) -> None:
        """Forget it."""
        self._store.forget(self.identifier)
