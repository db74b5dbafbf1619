"""What both kinds of archive give: entries, and blobs by digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ociworks.image.types import ByteStream
    from ociworks.spec import Digest
    from ociworks.spec.image import Descriptor

__all__ = ["Contents"]


class Contents(Protocol):
    """The images of an open archive."""

    @property
    def entries(self) -> tuple[Descriptor, ...]:
        """Manifests and indexes, tagged or not."""

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None when it is not there."""

    def open(self, descriptor: Descriptor) -> ByteStream:
        """A blob that is there with this size, as a verified stream."""

    def alias(self, name: str) -> str | Digest | None:
        """The tag or digest that a name means which is not a tag as it stands."""
