"""The places between which images move, as sources and sinks of :func:`ociworks.image.copy.transfer`.

=================  ======  ====  ==========================================================
place              source  sink  where referrers are
=================  ======  ====  ==========================================================
``RegistryPlace``    x      x    the referrers list or its fallback tag, and cosign's tags
``CatalogSource``    x           entries with a ``subject``, and cosign's tags
``LayoutSink``              x    entries of their own
``ArchiveSink``             x    the same, in an oci-archive
``ImageSource``      x           it knows of none
=================  ======  ====  ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ociworks.errors import NotFound, NotSupported
from ociworks.image import partial
from ociworks.image.copy import Attached
from ociworks.image.progress import ProgressCallback

if TYPE_CHECKING:
    from ociworks.image._catalog import Catalog
    from ociworks.image.archive import Writer
    from ociworks.image.layout import Layout
    from ociworks.image.reference import Reference
    from ociworks.image.remote import Client
    from ociworks.image.sign import Decision, Policy
    from ociworks.image.types import Image, ImageIndex
    from ociworks.spec import Digest
    from ociworks.spec.image import Descriptor

__all__ = [
    "ArchiveSink",
    "CatalogSource",
    "ImageSource",
    "LayoutSink",
    "Moving",
    "RegistryPlace",
]

_COSIGN: Final = ("sig", "att", "sbom")
"""What cosign keeps under tags of its own, one tag for all signatures of one manifest."""


@frozen(kw_only=True)
class Moving:
    """How blobs travel."""

    progress: ProgressCallback | None = None
    workers: int = 4


def _cosign_tags(subject: Digest) -> tuple[str, ...]:
    return tuple(f"{subject.algorithm}-{subject.encoded}.{kind}" for kind in _COSIGN)


class RegistryPlace:
    """A repository, with the tag or digest that is meant."""

    def __init__(self, client: Client, reference: Reference, moving: Moving) -> None:
        self._client = client
        self._reference = reference
        self._moving = moving

    def get(self) -> Image | ImageIndex:
        """What the registry says it is now."""
        return self._client.get(self._reference)

    def attached(self, subject: Digest) -> Iterator[Attached]:
        """What the registry lists, and what has one of cosign's tags."""
        where = evolve(self._reference, tag=None, digest=subject)
        for listed in self._client.referrers(where):
            yield Attached(self._client.referrer(where, listed), None)
        for tag in _cosign_tags(subject):
            try:
                yield Attached(self._client.get(evolve(self._reference, tag=tag, digest=None)), tag)
            except NotFound:
                continue

    def judge(self, policy: Policy, image: Image | ImageIndex, within: ImageIndex | None) -> Decision:
        """By the reference, with the signatures in its repository."""
        return policy.check(self._client, self._reference, image, within=within)

    def put(self, image: Image | ImageIndex) -> None:
        """Push under the reference; layers that the registry has elsewhere are mounted."""
        self._push(image, self._reference)

    def attach(self, attached: Attached) -> None:
        """Push by digest, or under cosign's tag."""
        if attached.tag is not None:
            self._push(attached.document, evolve(self._reference, tag=attached.tag, digest=None))
        else:
            digest = attached.document.digest
            self._push(attached.document, evolve(self._reference, tag=None, digest=digest))

    def _push(self, image: Image | ImageIndex, where: Reference) -> None:
        self._client.push(image, where, progress=self._moving.progress, workers=self._moving.workers)


class CatalogSource:
    """An image in a layout or an archive."""

    def __init__(self, catalog: Catalog, name: str | Digest | None) -> None:
        self._catalog = catalog
        self._name = name
        self._referrers: Mapping[Digest, tuple[Descriptor, ...]] | None = None

    def get(self) -> Image | ImageIndex:
        """What the name says; the only image there is without one."""
        return self._catalog.get(self._name)

    def attached(self, subject: Digest) -> Iterator[Attached]:
        """The entries with this subject, and those with one of cosign's tags."""
        if self._referrers is None:
            self._referrers = self._catalog.all_referrers()
        for listed in self._referrers.get(subject, ()):
            document = partial.document(
                partial.read_blob(self._catalog, listed), self._catalog, descriptor=listed
            )
            yield Attached(document, None)
        tags = self._catalog.tags()
        yield from (Attached(self._catalog.get(tag), tag) for tag in _cosign_tags(subject) if tag in tags)

    def judge(self, policy: Policy, image: Image | ImageIndex, within: ImageIndex | None) -> Decision:
        """By the path, with the signatures beside the image."""
        return policy.check(self._catalog, image.digest, image, within=within)


class LayoutSink:
    """A layout, with the tag that the image shall have."""

    def __init__(self, layout: Layout, tag: str | None, moving: Moving) -> None:
        self._layout = layout
        self._tag = tag
        self._moving = moving

    def put(self, image: Image | ImageIndex) -> None:
        """Store it under the tag."""
        self._store(image, self._tag)

    def attach(self, attached: Attached) -> None:
        """Store it as an entry of its own."""
        self._store(attached.document, attached.tag)

    def _store(self, image: Image | ImageIndex, tag: str | None) -> None:
        self._layout.put(image, tag, progress=self._moving.progress, workers=self._moving.workers)


class ArchiveSink:
    """A new archive, with the tag that the image shall have."""

    def __init__(self, writer: Writer, tag: str | None, moving: Moving, *, attaches: bool) -> None:
        self._writer = writer
        self._tag = tag
        self._moving = moving
        self._attaches = attaches

    def put(self, image: Image | ImageIndex) -> None:
        """Write it under the tag."""
        self._writer.put(image, self._tag, progress=self._moving.progress)

    def attach(self, attached: Attached) -> None:
        """Write it as an entry of its own; a docker-archive has no place for it."""
        if not self._attaches:
            raise NotSupported("a docker-archive cannot hold what refers to an image; use oci-archive")
        self._writer.put(attached.document, attached.tag, progress=self._moving.progress)


class ImageSource:
    """An image or index at hand."""

    def __init__(self, image: Image | ImageIndex) -> None:
        self._image = image

    def get(self) -> Image | ImageIndex:
        """Itself."""
        return self._image

    def attached(self, subject: Digest) -> Iterator[Attached]:  # noqa: ARG002 - a protocol
        """Nothing: an image does not know what refers to it."""
        return iter(())

    def judge(
        self,
        policy: Policy,  # noqa: ARG002 - a protocol
        image: Image | ImageIndex,
        within: ImageIndex | None,  # noqa: ARG002 - a protocol
    ) -> Decision:
        """Refused: policies go by where an image is from."""
        raise NotSupported(
            f"image {image.digest} is at hand: a policy can only decide about images by name or place"
        )
