"""``index.json`` as a value: what entering, tagging and removing make of it (image-spec image-layout.md).

Nothing here does I/O, so a change can be made under the lock in one step.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import evolve

from ociworks.errors import LayoutError, NotSupported, SpecError, quote
from ociworks.image import partial
from ociworks.image._catalog import is_digest
from ociworks.spec import Digest, FrozenDict, parse
from ociworks.spec.image import Descriptor, Index, Layout
from ociworks.spec.image.annotations import REF_NAME

__all__ = [
    "INDEX",
    "MARKER",
    "MAX_MARKER",
    "VERSION",
    "check_tag",
    "check_version",
    "entered",
    "entry_of",
    "is_tag",
    "parse_index",
    "removed",
    "untagged",
]

MARKER: Final = "oci-layout"
MAX_MARKER: Final = 64 * 1024
"""Bytes of the marker at most."""
INDEX: Final = "index.json"
VERSION: Final = "1.0.0"

_ALNUM = "[A-Za-z0-9]+"
_TAG = re.compile(rf"{_ALNUM}(?:(?:[-._:@/+]|--){_ALNUM})*", re.ASCII)


def check_version(raw: bytes, where: str) -> None:
    """Raise ``LayoutError`` or ``NotSupported`` unless the marker's content is of the version that is known here."""
    try:
        version = parse(Layout, raw, max_size=MAX_MARKER).image_layout_version
    except SpecError as error:
        raise LayoutError(f"{quote(where)}: {MARKER}: {error}") from None
    if version != VERSION:
        raise NotSupported(f"{quote(where)}: expected layout version {VERSION}, got {quote(version)}")


def parse_index(raw: bytes, where: str) -> Index:
    """The content of ``index.json``; raises ``LayoutError``."""
    try:
        return parse(Index, raw, max_size=partial.MAX_DOCUMENT)
    except SpecError as error:
        raise LayoutError(f"{quote(where)}: {INDEX}: {error}") from None


def is_tag(text: str) -> bool:
    """Whether the text may name an image in a layout (annotations.md, org.opencontainers.image.ref.name)."""
    return len(text) <= 255 and _TAG.fullmatch(text) is not None and not is_digest(text)


def check_tag(tag: str) -> None:
    """Raise :class:`~ociworks.errors.LayoutError` for text that is no tag."""
    if not is_tag(tag):
        raise LayoutError(
            f"expected a tag of letters and digits joined by one of -._:@/+, got {quote(tag)} "
            "(image-spec annotations.md, org.opencontainers.image.ref.name)"
        )


def entry_of(descriptor: Descriptor, tag: str | None) -> Descriptor:
    """What ``index.json`` says of an image. Annotations of its origin stay behind: some programs read names there."""
    return Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        platform=descriptor.platform,
        artifact_type=descriptor.artifact_type,
        annotations=FrozenDict({REF_NAME: tag} if tag is not None else {}),
    )


def entered(index: Index, entry: Descriptor) -> Index:
    """With the entry: its tag moves to it, and one of the same digest without tag gives way.

    An entry without tag changes nothing when its digest is listed, nor does one that is there.
    """
    if entry in index.manifests:
        return index
    if _tag(entry) is None and any(known.digest == entry.digest for known in index.manifests):
        return index
    kept = [known for known in index.manifests if not _replaces(entry, known)]
    return evolve(index, manifests=(*kept, entry))


def untagged(index: Index, tag: str) -> Index | None:
    """Without the tag; what it named stays, without a name. None when there is no such tag."""
    tagged = [entry for entry in index.manifests if _tag(entry) == tag]
    if not tagged:
        return None
    kept = [entry for entry in index.manifests if entry not in tagged]
    listed = {entry.digest for entry in kept}
    bare = [_without_tag(entry) for entry in tagged if entry.digest not in listed]
    return evolve(index, manifests=(*kept, *bare))


def removed(index: Index, digest: Digest) -> Index | None:
    """Without any entry of this digest; None when there is none."""
    kept = tuple(entry for entry in index.manifests if entry.digest != digest)
    return None if len(kept) == len(index.manifests) else evolve(index, manifests=kept)


def _tag(entry: Descriptor) -> str | None:
    return entry.annotations.get(REF_NAME)


def _replaces(entry: Descriptor, known: Descriptor) -> bool:
    known_tag = _tag(known)
    return known_tag == _tag(entry) if known_tag is not None else known.digest == entry.digest


def _without_tag(entry: Descriptor) -> Descriptor:
    kept = {key: value for key, value in entry.annotations.items() if key != REF_NAME}
    return evolve(entry, annotations=FrozenDict(kept))
