"""Content descriptors (image-spec descriptor.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from ociworks._values import frozen
from ociworks.errors import SizeMismatch
from ociworks.spec._model import Base64, Model, Range
from ociworks.spec.digest import Digest, VerifyingReader
from ociworks.spec.frozen import FrozenDict
from ociworks.spec.image.mediatypes import OCI_EMPTY
from ociworks.spec.platform import Platform

if TYPE_CHECKING:
    from ociworks.spec.digest import Readable

__all__ = ["EMPTY", "Descriptor"]

if TYPE_CHECKING:
    Size: TypeAlias = int
    SchemaVersion: TypeAlias = int
else:
    Size = Range(0, 2**63 - 1, "a size of 0 or more")
    SchemaVersion = Range(2, 2, "schema version 2")
"""Of manifests and indexes (manifest.md and image-index.md, schemaVersion)."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Descriptor(Model, strict_case=True, nulls=True):
    """What some content is: its type, its digest, its size. Holders verify content against it before use.

    ``data`` is the content itself when it is embedded, in JSON as base 64; `validate` compares it with digest
    and size, and so must everyone who uses it (`verify`).
    """

    media_type: str
    digest: Digest
    size: Size
    """Bytes of the raw content; a negative size is not read."""
    urls: tuple[str, ...] = ()
    """Where else the content may be had. Nothing makes these trustworthy."""
    data: Base64 | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = FrozenDict()
    platform: Platform | None = None
    """In an index: what the manifest needs to run (image-index.md, platform)."""

    @classmethod
    def of(cls, content: bytes, media_type: str, *, algorithm: str = "sha256") -> Self:
        """Describe ``content``, without embedding it."""
        return cls(media_type=media_type, digest=Digest.of(content, algorithm), size=len(content))

    def verify(self, content: bytes, what: str = "content") -> None:
        """Raise `SizeMismatch`, `DigestMismatch` or `UnsupportedDigest` unless this is what is described.

        The size is compared first (descriptor.md, Verification).
        """
        if len(content) != self.size:
            raise SizeMismatch(what, self.size, len(content))
        self.digest.verify(content, what)

    def reader(self, source: Readable, what: str = "content") -> VerifyingReader:
        """Read ``source`` as the content that is described; see `VerifyingReader`."""
        return VerifyingReader(source, digest=self.digest, size=self.size, what=what)


EMPTY: Final = Descriptor(
    media_type=OCI_EMPTY,
    digest=Digest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
    size=2,
    data=b"{}",
)
"""For where a descriptor is required and there is no content (manifest.md, Guidance for an Empty Descriptor)."""
