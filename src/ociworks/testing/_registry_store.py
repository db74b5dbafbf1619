"""What the in-memory registry holds: blobs, manifests and tags of each repository, and uploads under way."""

from __future__ import annotations

import secrets
import threading
from typing import Final

from attrs import Factory, define, evolve

from ociworks.errors import OciworksError, SpecError
from ociworks.spec import Digest, to_json
from ociworks.spec.image import Descriptor, Index, Manifest, TypedManifest, mediatypes, read_manifest

__all__ = ["Refused", "RegistryStore", "Repository"]

REASONS: Final = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_UNKNOWN": 404,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNSUPPORTED": 405,
}


class Refused(OciworksError):
    """An answer with one of the specification's error codes."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.status = REASONS[code]
        super().__init__(code)


@define
class Repository:
    """One repository."""

    blobs: dict[Digest, bytes] = Factory(dict)
    manifests: dict[Digest, TypedManifest] = Factory(dict)
    tags: dict[str, Digest] = Factory(dict)


class RegistryStore:
    """All repositories. Callers hold :attr:`lock` around what belongs together."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.repositories: dict[str, Repository] = {}
        self._uploads: dict[str, bytearray] = {}

    def repository(self, name: str, *, create: bool = False) -> Repository:
        """The repository of this name."""
        with self.lock:
            if create:
                return self.repositories.setdefault(name, Repository())
            if name not in self.repositories:
                raise Refused("NAME_UNKNOWN")
            return self.repositories[name]

    def blob(self, name: str, digest: Digest) -> bytes:
        """A blob's content."""
        with self.lock:
            content = self.repository(name).blobs.get(digest)
        if content is None:
            raise Refused("BLOB_UNKNOWN")
        return content

    def mount(self, name: str, digest: Digest, source: str) -> bool:
        """Make a blob of another repository a blob of this one; False when it is not there."""
        with self.lock:
            content = self.repositories.get(source, Repository()).blobs.get(digest)
            if content is None:
                return False
            self.repository(name, create=True).blobs[digest] = content
            return True

    def start_upload(self) -> str:
        """Begin an upload; gives its identifier."""
        identifier = secrets.token_hex(16)
        with self.lock:
            self._uploads[identifier] = bytearray()
        return identifier

    def upload(self, identifier: str) -> bytearray:
        """The bytes of an upload so far."""
        with self.lock:
            if identifier not in self._uploads:
                raise Refused("BLOB_UPLOAD_UNKNOWN")
            return self._uploads[identifier]

    def drop_upload(self, identifier: str) -> None:
        """Forget an upload."""
        with self.lock:
            self._uploads.pop(identifier, None)

    def add_blob(self, name: str, digest: Digest, content: bytes) -> None:
        """Store a blob that must have this digest."""
        if Digest.of(content, digest.algorithm) != digest:
            raise Refused("DIGEST_INVALID")
        with self.lock:
            self.repository(name, create=True).blobs[digest] = content

    def manifest(self, name: str, target: str) -> tuple[Digest, TypedManifest]:
        """A manifest by tag or digest."""
        with self.lock:
            repository = self.repository(name)
            digest = repository.tags.get(target) or digest_or_none(target)
            found = repository.manifests.get(digest) if digest else None
        if digest is None or found is None:
            raise Refused("MANIFEST_UNKNOWN")
        return digest, found

    def add_manifest(
        self, name: str, target: str, raw: bytes, content_type: str
    ) -> tuple[Digest, TypedManifest]:
        """Store a manifest under a tag or its digest; everything that it names must be there."""
        try:
            found = read_manifest(raw, content_type=content_type)
        except OciworksError:
            raise Refused("MANIFEST_INVALID") from None
        wanted = digest_or_none(target)
        digest = Digest.of(raw, wanted.algorithm if wanted else "sha256")
        if wanted is not None and wanted != digest:
            raise Refused("DIGEST_INVALID")
        with self.lock:
            repository = self.repository(name, create=True)
            _check_complete(repository, found)
            repository.manifests[digest] = found
            if wanted is None:
                repository.tags[target] = digest
        return digest, found

    def delete_manifest(self, name: str, target: str) -> None:
        """Delete a manifest by digest, with its tags, or a tag."""
        with self.lock:
            digest, _ = self.manifest(name, target)
            repository = self.repository(name)
            if target in repository.tags:
                del repository.tags[target]
                return
            del repository.manifests[digest]
            repository.tags = {tag: found for tag, found in repository.tags.items() if found != digest}

    def referrers(self, name: str, subject: Digest, artifact_type: str | None) -> bytes:
        """The index of manifests whose subject this is."""
        with self.lock:
            manifests = list(self.repositories.get(name, Repository()).manifests.items())
        entries = [
            _referrer(digest, found)
            for digest, found in manifests
            if found.value.subject is not None and found.value.subject.digest == subject
        ]
        kept = [entry for entry in entries if artifact_type in {None, entry.artifact_type}]
        return to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=tuple(kept)))


def digest_or_none(text: str) -> Digest | None:
    """The digest that ``text`` is; None for a tag."""
    try:
        return Digest.parse(text)
    except SpecError:
        return None


def _check_complete(repository: Repository, found: TypedManifest) -> None:
    value = found.value
    if isinstance(value, Manifest):
        named = [value.config, *(layer for layer in value.layers if not layer.urls)]
        missing = [entry for entry in named if entry.digest not in repository.blobs]
    else:
        missing = [entry for entry in value.manifests if entry.digest not in repository.manifests]
    if missing:
        raise Refused("MANIFEST_BLOB_UNKNOWN")


def _referrer(digest: Digest, found: TypedManifest) -> Descriptor:
    value = found.value
    fallback = value.config.media_type if isinstance(value, Manifest) else None
    return evolve(
        Descriptor.of(found.raw, found.media_type, algorithm=digest.algorithm),
        artifact_type=value.artifact_type or fallback,
        annotations=value.annotations,
    )
