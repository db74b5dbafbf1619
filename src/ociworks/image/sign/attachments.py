"""Where signatures are kept: beside the image in a registry, in a layout, or in memory.

:class:`Attachments` is all that verification and signing ask for; :func:`attachments_of` makes it of a registry client
and a reference, or of a layout or archive. Nothing here decides about trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ociworks.errors import ImageNotFound, NotFound, NotSupported
from ociworks.image import partial
from ociworks.image.memory import MemoryBlobs
from ociworks.image.reference import Reference
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, read_manifest

if TYPE_CHECKING:
    from ociworks.image._catalog import Catalog
    from ociworks.image.remote import Client

__all__ = [
    "Attachments",
    "CatalogAttachments",
    "MemoryAttachments",
    "RegistryAttachments",
    "Source",
    "attachments_of",
]


class Attachments(Protocol):
    """What is attached to images: manifests under tags, manifests that refer to an image, and their blobs."""

    def tagged(self, tag: str, /) -> bytes | None:
        """The manifest or index under a tag; None when there is none, an error when that is not known."""

    def referrers(self, subject: Digest, /) -> Sequence[Descriptor]:
        """What refers to ``subject``, with artifact types as far as they are known."""

    def manifest(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of one of the referrers."""

    def blob(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of a blob."""

    def attach(self, manifest: bytes, blobs: Mapping[Descriptor, bytes], tag: str | None, /) -> None:
        """Store a manifest with its blobs; under a tag, or as a referrer of its subject."""


Source: TypeAlias = "Client | Catalog | Attachments"
"""Where the signatures of images may be: a registry, a layout or archive, or anything that holds attachments."""


def attachments_of(source: Source, reference: Reference | None = None) -> Attachments:
    """What is attached to images there. A registry needs the reference, for its repository."""
    from ociworks.image._catalog import Catalog
    from ociworks.image.remote import Client

    if isinstance(source, Catalog):
        return CatalogAttachments(source)
    if not isinstance(source, Client):
        return source
    if reference is None:
        raise NotSupported("signatures in a registry are found by a reference: give one, not only the image")
    return RegistryAttachments(source, reference)


class MemoryAttachments:
    """Attachments in memory: for tests, and for material that comes from elsewhere."""

    def __init__(self) -> None:
        self._tags: dict[str, bytes] = {}
        self._manifests: dict[Digest, bytes] = {}
        self._blobs: dict[Digest, bytes] = {}

    def tagged(self, tag: str, /) -> bytes | None:
        """The manifest under a tag, or None."""
        return self._tags.get(tag)

    def referrers(self, subject: Digest, /) -> Sequence[Descriptor]:
        """Every manifest whose subject this is."""
        described = [_referrer(raw, subject) for raw in self._manifests.values()]
        return [entry for entry in described if entry is not None]

    def manifest(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of a manifest; raises :class:`~ociworks.errors.ImageNotFound`."""
        return _held(self._manifests, descriptor.digest)

    def blob(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of a blob; raises :class:`~ociworks.errors.ImageNotFound`."""
        return _held(self._blobs, descriptor.digest)

    def attach(self, manifest: bytes, blobs: Mapping[Descriptor, bytes], tag: str | None, /) -> None:
        """Hold a manifest and its blobs."""
        self._blobs.update({descriptor.digest: content for descriptor, content in blobs.items()})
        if tag is None:
            self._manifests[Digest.of(manifest)] = manifest
        else:
            self._tags[tag] = manifest


class CatalogAttachments:
    """Attachments in a layout or an archive: cosign's tags are its tags, referrers are entries of ``index.json``."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def tagged(self, tag: str, /) -> bytes | None:
        """The manifest under a tag, or None."""
        return _raw(self._catalog.get(tag)) if tag in self._catalog.tags() else None

    def referrers(self, subject: Digest, /) -> Sequence[Descriptor]:
        """The entries whose subject this is."""
        return self._catalog.referrers(subject)

    def manifest(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of a manifest."""
        return partial.read_blob(self._catalog, descriptor)

    def blob(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of a blob."""
        return partial.read_blob(self._catalog, descriptor)

    def attach(self, manifest: bytes, blobs: Mapping[Descriptor, bytes], tag: str | None, /) -> None:
        """Store a manifest and its blobs in a layout; archives are not changed."""
        from ociworks.image.layout import Layout

        if not isinstance(self._catalog, Layout):
            raise NotSupported(
                "archives are not changed: sign the image in a registry or layout, then copy it"
            )
        self._catalog.put(_artifact(manifest, blobs), tag)


class RegistryAttachments:
    """Attachments in the repository of a reference."""

    def __init__(self, client: Client, reference: Reference) -> None:
        self._client = client
        self._place = Reference(registry=reference.registry, repository=reference.repository)

    def tagged(self, tag: str, /) -> bytes | None:
        """The manifest under a tag; None only when the registry says that there is none."""
        try:
            return _raw(self._client.get(self._named(tag)))
        except NotFound:
            return None

    def referrers(self, subject: Digest, /) -> Sequence[Descriptor]:
        """What the registry lists as referrers of ``subject``; also by the tag schema."""
        return self._client.referrers(self._place.at(subject))

    def manifest(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of a manifest."""
        return _raw(self._client.get(self._place.at(descriptor.digest)))

    def blob(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of a blob."""
        with self._client.open_blob(self._place, descriptor) as stream:
            return stream.read()

    def attach(self, manifest: bytes, blobs: Mapping[Descriptor, bytes], tag: str | None, /) -> None:
        """Push a manifest and its blobs."""
        where = self._place.at(Digest.of(manifest)) if tag is None else self._named(tag)
        self._client.push(_artifact(manifest, blobs), where)

    def _named(self, tag: str) -> Reference:
        return Reference(registry=self._place.registry, repository=self._place.repository, tag=tag)


def _artifact(manifest: bytes, blobs: Mapping[Descriptor, bytes]) -> Image | ImageIndex:
    held = MemoryBlobs()
    for descriptor, content in blobs.items():
        held.add(content, descriptor.media_type)
    return partial.document(manifest, held)


def _raw(found: Image | ImageIndex) -> bytes:
    return found.raw_index if isinstance(found, ImageIndex) else found.raw_manifest


def _held(store: Mapping[Digest, bytes], digest: Digest) -> bytes:
    if digest not in store:
        raise ImageNotFound(f"nothing with digest {digest} is attached")
    return store[digest]


def _referrer(raw: bytes, subject: Digest) -> Descriptor | None:
    """The descriptor of a manifest if it refers to ``subject``."""
    found = read_manifest(raw)
    value = found.value
    if value.subject is None or value.subject.digest != subject:
        return None
    config = getattr(value, "config", None)
    kind = value.artifact_type or (None if config is None else config.media_type)
    return Descriptor(
        media_type=found.media_type,
        digest=Digest.of(raw),
        size=len(raw),
        artifact_type=kind,
        annotations=value.annotations,
    )
