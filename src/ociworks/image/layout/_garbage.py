"""Garbage collection: blobs that neither ``index.json`` reaches nor a living lease holds.

The rule is to keep when in doubt. A document that is there but cannot be read stops the collection, because what it
names is not known; one that is missing names nothing. Of a document whose type is not known here, everything in it
that looks like a digest is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import frozen

from ociworks.errors import BlobNotFound, ContentError, LayoutError, LimitExceeded, SpecError, quote
from ociworks.image import partial
from ociworks.image.layout._leases import leased
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, Index, mediatypes, read_manifest

if TYPE_CHECKING:
    from ociworks.image._cas import BlobDirectory
    from ociworks.image._catalog import Catalog

__all__ = ["GarbageReport", "collect"]

_DIGESTS = re.compile(rb"sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})")


@frozen(kw_only=True)
class GarbageReport:
    """What a collection removed, or would have removed."""

    removed: tuple[Digest, ...]
    """The blobs that nothing reaches."""
    freed: int
    """Their bytes together."""
    kept: int
    """How many blobs stay."""


def collect(root: int, catalog: Catalog, blobs: BlobDirectory, *, dry_run: bool) -> GarbageReport:
    """Remove what nothing reaches; with ``dry_run`` only say what that is."""
    with leased(root) as held:  # leases first, then index.json: see _leases
        reached = held | set(_reached(catalog))
        found = list(blobs.digests())
        removed = [digest for digest in found if digest not in reached]
        freed = sum(blobs.size(digest) or 0 for digest in removed)
        if not dry_run:
            blobs.remove(removed)
    return GarbageReport(removed=tuple(removed), freed=freed, kept=len(found) - len(removed))


def _reached(catalog: Catalog) -> Iterator[Digest]:
    waiting = [(entry, True) for entry in catalog.images()]
    seen: set[tuple[Digest, bool]] = set()
    while waiting:
        entry, listed = waiting.pop()
        yield entry.digest
        if (entry.digest, listed) not in seen:
            seen.add((entry.digest, listed))
            waiting.extend(_named_by(catalog, entry, listed=listed))


def _named_by(catalog: Catalog, entry: Descriptor, *, listed: bool) -> Iterator[tuple[Descriptor, bool]]:
    """What a document names, and whether that is a document too: only lists name documents, manifests name blobs."""
    if not listed:
        return
    known = mediatypes.is_index(entry.media_type) or mediatypes.is_manifest(entry.media_type)
    try:
        if not known:
            yield from ((found, False) for found in _looks_like(catalog, entry))
            return
        value = read_manifest(partial.read_blob(catalog, entry), descriptor=entry).value
    except BlobNotFound:
        return
    except (ContentError, LimitExceeded, SpecError) as error:
        raise LayoutError(
            f"{quote(catalog.path)}: what {entry.digest} needs is not known, so nothing was collected: {error}; "
            "store the image again, or delete its entry"
        ) from error
    if isinstance(value, Index):
        yield from ((child, True) for child in value.manifests)
    else:
        yield from ((child, False) for child in (value.config, *value.layers))


def _looks_like(catalog: Catalog, entry: Descriptor) -> Iterator[Descriptor]:
    if entry.size > partial.MAX_DOCUMENT:
        return
    for text in set(_DIGESTS.findall(partial.read_blob(catalog, entry))):
        yield Descriptor(
            media_type="application/octet-stream", digest=Digest.parse(text.decode("ascii")), size=0
        )
