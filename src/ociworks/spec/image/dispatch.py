"""What a manifest's bytes are: the one decision, made from everything that says something about them.

=====================  =======================================================================
source                 says
=====================  =======================================================================
``Content-Type``       a media type; parameters are ignored; ``application/json`` and
                       ``application/octet-stream`` say nothing
descriptor             the media type that its holder expects
``mediaType`` member   the media type that the author wrote; may be missing
=====================  =======================================================================

At least one must say something, all that do must say the same, and the members must have the shape of that type:
a document that is a manifest for one reader and an index for another has one digest and two meanings.
(image-spec media-types.md, Media Type Conflicts, allows more; CVE-2021-41190 is why we do not.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ociworks.errors import MediaTypeMismatch, NotSupported, quote
from ociworks.spec import _convert, _json
from ociworks.spec.image import mediatypes
from ociworks.spec.image.descriptor import Descriptor
from ociworks.spec.image.index import Index
from ociworks.spec.image.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_MANIFEST_SIZE", "TypedManifest", "media_type_of", "read_manifest"]

MAX_MANIFEST_SIZE: Final = 8 * 1024 * 1024
"""Bytes of a manifest or index that are read unless the caller says otherwise."""

_SAYS_NOTHING: Final = frozenset({"application/json", "application/octet-stream"})


class TypedManifest(NamedTuple):
    """A manifest or index: its media type, its value, and the bytes whose digest is its identity."""

    media_type: str
    value: Manifest | Index
    raw: bytes

    @property
    def descriptor(self) -> Descriptor:
        """A descriptor of the bytes."""
        return Descriptor.of(self.raw, self.media_type)


def read_manifest(
    raw: bytes,
    *,
    content_type: str | None = None,
    descriptor: Descriptor | None = None,
    max_size: int = MAX_MANIFEST_SIZE,
) -> TypedManifest:
    """Verify ``raw`` against ``descriptor``, decide what it is, and read it as that.

    Raises `SizeMismatch`, `DigestMismatch`, `MediaTypeMismatch`, `InvalidJSON`, `InvalidSpec`, and `NotSupported` for
    Docker schema 1.
    """
    if descriptor is not None:
        descriptor.verify(raw, "manifest")
    plain = _json.loads(raw, max_size=max_size)
    if not isinstance(plain, dict):
        raise MediaTypeMismatch("manifest: expected a JSON object")
    expected = None if descriptor is None else descriptor.media_type
    media_type = media_type_of(plain, content_type=content_type, expected=expected)
    kind: type[Manifest | Index] = Index if mediatypes.is_index(media_type) else Manifest
    return TypedManifest(media_type, _convert.read(kind, plain), raw)


def media_type_of(
    members: Mapping[str, object], *, content_type: str | None = None, expected: str | None = None
) -> str:
    """The media type of a manifest or index with these members; see the module's table.

    ``content_type`` is the HTTP header as received, ``expected`` the media type in the descriptor. Raises
    `MediaTypeMismatch`, and `NotSupported` for Docker schema 1.
    """
    said = _said(members, content_type, expected)
    if any(map(mediatypes.is_schema1, said.values())) or "fsLayers" in members:
        raise NotSupported("Docker schema 1 manifests are not read: push the image again with a current tool")
    if len(set(said.values())) != 1:
        sources = ", ".join(f"{source} says {quote(text)}" for source, text in said.items())
        raise MediaTypeMismatch(f"manifest: expected one media type, {sources or 'nothing says any'}")
    (media_type,) = set(said.values())
    _check_shape(members, media_type)
    return media_type


def _said(members: Mapping[str, object], content_type: str | None, expected: str | None) -> dict[str, str]:
    said: dict[str, str] = {}
    if content_type is not None and (header := mediatypes.essence(content_type)) not in _SAYS_NOTHING:
        said["Content-Type"] = header
    if expected is not None:
        said["the descriptor"] = expected
    written = members.get("mediaType")
    if isinstance(written, str):
        said["mediaType"] = written
    elif written is not None:
        raise MediaTypeMismatch("manifest: expected mediaType to be a string")
    return said


def _check_shape(members: Mapping[str, object], media_type: str) -> None:
    if mediatypes.is_index(media_type):
        needed, strange = {"manifests"}, {"config", "layers"}
    elif mediatypes.is_manifest(media_type):
        needed, strange = {"config", "layers"}, {"manifests"}
    else:
        raise MediaTypeMismatch(f"manifest: expected a manifest or an index, got {quote(media_type)}")
    missing, wrong = sorted(needed - members.keys()), sorted(strange & members.keys())
    if missing or wrong:
        facts = [f"lacks {name}" for name in missing] + [f"has {name}" for name in wrong]
        raise MediaTypeMismatch(f"manifest: a document of type {media_type} {' and '.join(facts)}")
