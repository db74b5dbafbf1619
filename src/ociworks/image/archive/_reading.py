"""Opening archives: which of the two kinds a file is, and what they have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from ociworks.errors import ArchiveError, BlobNotFound, Problem, quote
from ociworks.image._catalog import Catalog
from ociworks.image.archive import _docker, _oci
from ociworks.image.archive._members import Members
from ociworks.image.layout._checking import problems_of
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from types import TracebackType

    from ociworks.image.archive._contents import Contents
    from ociworks.image.types import ByteStream
    from ociworks.spec import Digest
    from ociworks.spec.image import Descriptor

__all__ = ["Archive", "Format", "open"]

Format: TypeAlias = Literal["oci", "docker"]
"""oci-archive or docker-archive."""

_MARKERS: Final[tuple[tuple[str, Format], ...]] = (
    ("index.json", "oci"),
    ("manifest.json", "docker"),
    ("repositories", "docker"),
)


def open(  # noqa: A001
    path: str | os.PathLike[str], *, format: Format | None = None, limits: Limits = DEFAULT_LIMITS
) -> Archive:
    """Open a file of images, plain or compressed; with ``format`` it must be of that kind.

    What is both (newer ``docker save``) is read as oci-archive. A compressed archive is decompressed to a temporary
    file without a name. Raises :class:`~ociworks.errors.ArchiveError`, :class:`~ociworks.errors.CompressionError`,
    :class:`~ociworks.errors.LayoutError`, :class:`~ociworks.errors.LimitExceeded` and ``OSError``.
    """
    members = Members(path, limits)
    try:
        kind = format or _kind(members)
        contents = _oci.read(members) if kind == "oci" else _docker.read(members)
    except BaseException:
        members.close()
        raise
    return Archive(members, contents, kind)


class Archive(Catalog):
    """An open archive. It is a :class:`~ociworks.image.types.BlobSource`; images from it work while it is open."""

    def __init__(self, members: Members, contents: Contents, format: Format) -> None:
        """Use :func:`open`."""
        self.path = members.path
        self.format: Format = format
        """Which kind it is."""
        self._members = members
        self._contents = contents

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._members.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def images(self) -> tuple[Descriptor, ...]:
        """The entries: manifests and indexes, tagged or not."""
        return self._contents.entries

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        """A verified stream of a blob; raises :class:`~ociworks.errors.BlobNotFound`."""
        if self.blob_size(descriptor.digest) != descriptor.size:
            raise BlobNotFound(
                f"no blob {descriptor.digest} of {descriptor.size} bytes in {quote(self.path)}"
            )
        return self._contents.open(descriptor)

    def blob_size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None when it is not there; its bytes are verified when they are read."""
        return self._contents.size(digest)

    def verify(self) -> list[Problem]:
        """Read everything that the archive lists; gives what is missing, damaged or not readable."""
        return problems_of(self)

    def _find(self, name: str | Digest | None) -> Descriptor:
        if isinstance(name, str) and name not in self.tags():
            name = self._contents.alias(name) or name
        return super()._find(name)


def _kind(members: Members) -> Format:
    for name, kind in _MARKERS:
        if members.find(name) is not None:
            return kind
    raise ArchiveError(
        f"{quote(members.path)}: expected index.json (oci-archive) or manifest.json (docker-archive) in it"
    )
