"""The same change to every image of an index."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from ociworks.errors import LimitExceeded
from ociworks.image import partial
from ociworks.image.mutate._index import attested, moved, reindexed
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes

__all__ = ["each"]


def each(idx: ImageIndex, change: Callable[[Image], Image]) -> ImageIndex:
    """The index with every image in it changed, those of nested indexes too; annotations and order stay.

    ``change`` is called for container images. Artifacts stay as they are, and attestations (as BuildKit lists them) go
    with the image that they are about: when it becomes another one they say nothing about it, and are left out. Raises
    what ``change`` and reading the documents raise, and :class:`~ociworks.errors.LimitExceeded` for indexes nested
    deeper than 4.
    """
    return _each(idx, change, 1)


def _each(idx: ImageIndex, change: Callable[[Image], Image], depth: int) -> ImageIndex:
    if depth > partial.MAX_DEPTH:
        raise LimitExceeded(f"index {idx.digest}", "max_depth", partial.MAX_DEPTH)
    listed = {entry.digest for entry in idx.index.manifests}
    children: dict[Digest, Image | ImageIndex] = {}
    entries: list[Descriptor] = []
    gone: set[Digest] = set()
    for entry in idx.index.manifests:
        if not _is_document(entry) or attested(entry) in listed:
            entries.append(entry)
            continue
        old = idx.child(entry)
        new = _each(old, change, depth + 1) if isinstance(old, ImageIndex) else _changed(old, change)
        children[new.digest] = new
        entries.append(_described(entry, old, new))
        if new.digest != old.digest:
            gone.add(old.digest)
    kept = tuple(entry for entry in entries if attested(entry) not in gone)
    return reindexed(idx, evolve(idx.index, manifests=kept), children)


def _is_document(entry: Descriptor) -> bool:
    return mediatypes.is_manifest(entry.media_type) or mediatypes.is_index(entry.media_type)


def _changed(old: Image, change: Callable[[Image], Image]) -> Image:
    return change(old) if mediatypes.is_config(old.manifest.config.media_type) else old


def _described(entry: Descriptor, old: Image | ImageIndex, new: Image | ImageIndex) -> Descriptor:
    """The entry of what it names now; it follows an image that says to be for another platform."""
    described = moved(entry, new)
    if new is old or isinstance(old, ImageIndex) or isinstance(new, ImageIndex):
        return described
    if new.config.platform == old.config.platform:
        return described
    return evolve(described, platform=new.config.platform)
