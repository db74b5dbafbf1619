"""What layouts and archives have in common: named documents over a source of blobs, and the questions to ask of them.

A kind of catalog brings three methods: its entries, a verified stream of a blob, and a blob's size. Names are looked up
only where the catalog's own list says them: an annotation inside an image is never a name.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ociworks.errors import BlobNotFound, ContentError, ImageNotFound, LimitExceeded, SpecError, quote
from ociworks.image import partial
from ociworks.image.types import ByteStream, Image, ImageIndex
from ociworks.spec import Digest, FrozenDict
from ociworks.spec.image import Descriptor, Index, Manifest, mediatypes, read_manifest
from ociworks.spec.image.annotations import REF_NAME

if TYPE_CHECKING:
    from ociworks.spec import Platform

__all__ = ["Catalog", "is_digest"]

_ATTACHED = re.compile(r"sha(?:256|384|512)-[0-9a-f]{64,128}(?:\.(?:sig|att|sbom))?", re.ASCII)
"""The tags of lists of referrers (distribution-spec, Referrers Tag Schema), and of what cosign attaches."""


class Catalog(ABC):
    """Images by tag and digest. It is a :class:`~ociworks.image.types.BlobSource`."""

    path: str
    """Where it is, for messages."""

    @abstractmethod
    def images(self) -> tuple[Descriptor, ...]:
        """The entries: manifests and indexes, tagged or not."""

    @abstractmethod
    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        """A verified stream of a blob; raises :class:`~ociworks.errors.BlobNotFound`."""

    @abstractmethod
    def blob_size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None when it is not there; its bytes are verified when they are read."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there with the right size; its bytes are verified when they are read."""
        return self.blob_size(descriptor.digest) == descriptor.size

    def tags(self) -> Mapping[str, Descriptor]:
        """What each tag points to, in the order of the entries."""
        return FrozenDict(
            {name: entry for entry in self.images() if (name := entry.annotations.get(REF_NAME)) is not None}
        )

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
        """The image or index with this tag or digest (None: the only one there is).

        Raises :class:`~ociworks.errors.ImageNotFound`, also for one whose manifest or configuration is missing.
        """
        return self._document(self._find(name))

    def referrers(
        self, subject: Descriptor | Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """What is attached to this manifest: the entries whose ``subject`` it is (image-spec manifest.md, subject).

        As the referrers API does, descriptors carry the artifact type and the annotations of the manifest. Entries
        that cannot be read are passed by.
        """
        digest = subject.digest if isinstance(subject, Descriptor) else subject
        found = self.all_referrers().get(digest, ())
        return tuple(each for each in found if artifact_type in (None, each.artifact_type))

    def all_referrers(self) -> Mapping[Digest, tuple[Descriptor, ...]]:
        """What :meth:`referrers` says, for every subject; each entry is read once."""
        found: dict[Digest, tuple[Descriptor, ...]] = {}
        for entry in self._documents_listed():
            subject, described = self._referring(entry)
            if subject is not None:
                found[subject] = (*found.get(subject, ()), described)
        return FrozenDict(found)

    def _document(self, descriptor: Descriptor) -> Image | ImageIndex:
        try:
            return partial.document(partial.read_blob(self, descriptor), self, descriptor=descriptor)
        except BlobNotFound as error:
            raise ImageNotFound(
                f"image {descriptor.digest} is incomplete in {quote(self.path)}: {error}"
            ) from None

    def _documents_listed(self) -> Iterator[Descriptor]:
        """The entries, and those of the lists that stand in for a referrers API: some programs keep them here too."""
        entries: dict[Digest, Descriptor] = {}
        for entry in self.images():
            entries[entry.digest] = entry
            if mediatypes.is_index(entry.media_type) and _ATTACHED.fullmatch(_tag(entry)):
                entries |= {each.digest: each for each in self._listed_by(entry)}
        yield from entries.values()

    def _listed_by(self, entry: Descriptor) -> tuple[Descriptor, ...]:
        try:
            value = read_manifest(partial.read_blob(self, entry), descriptor=entry).value
        except (BlobNotFound, ContentError, LimitExceeded, SpecError):
            return ()
        return value.manifests if isinstance(value, Index) else ()

    def _referring(self, entry: Descriptor) -> tuple[Digest | None, Descriptor]:
        try:
            value = read_manifest(partial.read_blob(self, entry), descriptor=entry).value
        except (BlobNotFound, ContentError, LimitExceeded, SpecError):
            return None, entry
        described = Descriptor(
            media_type=entry.media_type,
            digest=entry.digest,
            size=entry.size,
            artifact_type=_artifact_type(value),
            annotations=value.annotations,
        )
        return (None if value.subject is None else value.subject.digest), described

    def _find(self, name: str | Digest | None) -> Descriptor:
        entries = self.images()
        if name is None:
            return self._only(self._unattached(entries), "image")
        if isinstance(name, str) and not is_digest(name):
            return self._only([entry for entry in entries if entry.annotations.get(REF_NAME) == name], name)
        digest = Digest.parse(name) if isinstance(name, str) else name
        return next((entry for entry in entries if entry.digest == digest), None) or self._nested(digest)

    def _unattached(self, entries: Sequence[Descriptor]) -> Sequence[Descriptor]:
        """Those that are there for themselves: a signature beside an image does not make them two images."""
        if len({entry.digest for entry in entries}) < 2:
            return entries
        attached = {each.digest for found in self.all_referrers().values() for each in found}
        return [
            entry
            for entry in entries
            if entry.digest not in attached and not _ATTACHED.fullmatch(_tag(entry))
        ]

    def _only(self, entries: Sequence[Descriptor], name: str) -> Descriptor:
        digests = {entry.digest for entry in entries}
        if len(digests) != 1:
            raise ImageNotFound(f"{quote(self.path)}: expected one {quote(name)}, found {len(digests)}")
        return entries[0]

    def _nested(self, digest: Digest) -> Descriptor:
        """A manifest that only an index names: its own ``mediaType`` must say what it is."""
        size = self.blob_size(digest)
        if size is None or size > partial.MAX_DOCUMENT:
            raise ImageNotFound(f"no image {digest} in {quote(self.path)}")
        blob = Descriptor(media_type="application/octet-stream", digest=digest, size=size)
        return read_manifest(partial.read_blob(self, blob)).descriptor


def _tag(entry: Descriptor) -> str:
    return entry.annotations.get(REF_NAME, "")


def _artifact_type(value: Manifest | Index) -> str | None:
    """As the distribution specification says it (Listing Referrers): the configuration's type stands in."""
    if value.artifact_type is not None or isinstance(value, Index):
        return value.artifact_type
    return value.config.media_type


def is_digest(text: str) -> bool:
    """Whether the text has the form of a digest, right or wrong, so that it can never be a tag."""
    return re.fullmatch(r"sha(?:256|384|512):[0-9a-f]{64,128}", text, re.ASCII) is not None
