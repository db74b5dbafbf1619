"""What a store must do. Names and digests passed their grammars; nothing is checked here but what is there.

A repository exists once something was put into it. A blob or manifest is visible only after its bytes were
compared with its digest. Every method may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from ociworks.spec import Digest
from ociworks.spec.image import TypedManifest
from ociworks.testing._registry.messages import Content

__all__ = ["Store", "StoredManifest", "Upload"]


class StoredManifest(NamedTuple):
    """A manifest as it was pushed."""

    digest: Digest
    media_type: str
    raw: bytes


class Upload(Protocol):
    """An upload under way, held by one request."""

    @property
    def identifier(self) -> str:
        """Its name in URLs; it cannot be guessed."""

    @property
    def size(self) -> int:
        """Bytes so far."""

    def expect(self, algorithm: str) -> None:
        """Hash with this algorithm from the first byte on; later than that it changes nothing."""

    def write(self, data: memoryview) -> None:
        """Add bytes."""

    def finish(self, digest: Digest) -> bool:
        """Make it a blob of its repository; False when it has another digest. The upload is gone either way."""

    def cancel(self) -> None:
        """Forget it."""


class Store(Protocol):
    """All repositories."""

    def repositories(self) -> list[str]:
        """Their names, sorted."""

    def exists(self, name: str) -> bool:
        """Whether the repository does."""

    def blob(self, name: str, digest: Digest) -> Content | None:
        """A blob of this repository, to be closed."""

    def has_blob(self, name: str, digest: Digest) -> bool:
        """Whether it is there."""

    def mount(self, name: str, digest: Digest, source: str | None) -> bool:
        """Make a blob of ``source``, or of whatever repository has it, a blob of this one; False if none has."""

    def delete_blob(self, name: str, digest: Digest) -> bool:
        """Remove a blob from this repository; False when it is not there."""

    def start(self, name: str) -> str:
        """Begin an upload; gives its identifier."""

    def uploads(self) -> int:
        """How many are under way, after those that nobody touched for long were forgotten."""

    def upload(self, name: str, identifier: str) -> AbstractContextManager[Upload]:
        """Hold an upload of this repository; raises `Refused` when there is none, or another request holds it."""

    def manifest(self, name: str, digest: Digest) -> StoredManifest | None:
        """A manifest of this repository."""

    def put_manifest(self, name: str, digest: Digest, manifest: TypedManifest, tags: Sequence[str]) -> None:
        """Store a manifest and let these tags point to it."""

    def delete_manifest(self, name: str, digest: Digest) -> bool:
        """Remove a manifest and all tags that point to it; False when it is not there."""

    def tags(self, name: str) -> list[str]:
        """The tags of a repository, unsorted."""

    def tagged(self, name: str, tag: str) -> Digest | None:
        """What a tag points to."""

    def untag(self, name: str, tag: str) -> bool:
        """Remove a tag; False when it is not there."""

    def referrers(self, name: str, subject: Digest) -> Iterable[StoredManifest]:
        """The manifests of this repository with this subject, unsorted."""

    def close(self) -> None:
        """Release what it holds."""
