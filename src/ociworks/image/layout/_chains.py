"""Which unpacked layers the images of a layout need: the chain IDs of every configuration that is among its blobs.

Names do not matter, so what a lease holds counts like what ``index.json`` lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.errors import BlobNotFound, ContentError, SpecError
from ociworks.image import partial
from ociworks.spec import Digest, parse
from ociworks.spec.image import Descriptor, ImageConfiguration

if TYPE_CHECKING:
    from collections.abc import Container

    from ociworks.image._cas import BlobDirectory
    from ociworks.image._catalog import Catalog

__all__ = ["chain_ids"]


def chain_ids(catalog: Catalog, blobs: BlobDirectory, without: Container[Digest]) -> frozenset[Digest]:
    """Of all configurations but those in ``without``."""
    found: set[Digest] = set()
    for digest in blobs.digests():
        if digest not in without:
            found.update(_of(catalog, digest, blobs.size(digest)))
    return frozenset(found)


def _of(catalog: Catalog, digest: Digest, size: int | None) -> tuple[Digest, ...]:
    """Those of one blob; of one that is no configuration, or is damaged or gone, there are none."""
    if size is None or size > partial.MAX_DOCUMENT:
        return ()
    blob = Descriptor(media_type="application/octet-stream", digest=digest, size=size)
    try:
        raw = partial.read_blob(catalog, blob)
        if raw.lstrip()[:1] != b"{":
            return ()
        return parse(ImageConfiguration, raw).rootfs.chain_ids()
    except (BlobNotFound, ContentError, SpecError):
        return ()
