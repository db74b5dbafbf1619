"""oci-archive: an OCI layout in a tar archive (image-spec image-layout.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ociworks.image import partial
from ociworks.image.archive._docker import normal
from ociworks.image.layout import _entries
from ociworks.image.stream import VerifiedStream

if TYPE_CHECKING:
    from ociworks.image.archive._members import Members
    from ociworks.image.types import ByteStream
    from ociworks.spec import Digest
    from ociworks.spec.image import Descriptor

__all__ = ["read"]

_FULL_NAME: Final = "io.containerd.image.name"


def read(members: Members) -> _OciContents:
    """The images of an oci-archive; raises what its documents deserve."""
    marker = members.read(members.need(_entries.MARKER), _entries.MAX_MARKER)
    _entries.check_version(marker, members.path)
    raw = members.read(members.need(_entries.INDEX), partial.MAX_DOCUMENT)
    return _OciContents(members, _entries.parse_index(raw, members.path).manifests)


@final
class _OciContents:
    def __init__(self, members: Members, entries: tuple[Descriptor, ...]) -> None:
        self._members = members
        self.entries = entries

    def size(self, digest: Digest) -> int | None:
        member = self._members.find(_name(digest))
        return None if member is None else member.size

    def open(self, descriptor: Descriptor) -> ByteStream:
        member = self._members.need(_name(descriptor.digest))
        return VerifiedStream(self._members.open(member), descriptor)

    def alias(self, name: str) -> str | Digest | None:
        """Docker and containerd write only the tag as ``ref.name``, and the whole name in another annotation."""
        wanted = normal(name)
        named = ((entry, entry.annotations.get(_FULL_NAME)) for entry in self.entries)
        return next((entry.digest for entry, full in named if full and normal(full) == wanted), None)


def _name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"
