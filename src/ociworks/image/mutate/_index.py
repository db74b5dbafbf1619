"""Indexes from images, and indexes with more, fewer or other entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import evolve, field, frozen

from ociworks.errors import ImageConfigError, ImageNotFound, InvalidSpec, LimitExceeded, quote
from ociworks.image import partial
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest, FrozenDict, Platform, to_json, validate
from ociworks.spec.image import Descriptor, Index, mediatypes, read_manifest

__all__ = [
    "Entry",
    "append_manifests",
    "attested",
    "index",
    "moved",
    "platforms",
    "rebuilt_children",
    "reindexed",
    "remove_manifests",
]

_ATTESTED: Final = "vnd.docker.reference.digest"
"""The annotation by which BuildKit says of which image of the same index an entry is an attestation."""


@frozen(kw_only=True)
class Entry:
    """An image or index with what its entry in an index shall say."""

    content: Image | ImageIndex
    platform: Platform | str | None = None
    """None: what the image itself says; an index or an artifact has none."""
    annotations: Mapping[str, str] = FrozenDict()


def index(
    manifests: Iterable[Image | ImageIndex | Entry], *, annotations: Mapping[str, str] | None = None
) -> ImageIndex:
    """An OCI index of these, in this order, each image with its platform; no layer is read.

    Raises :class:`~ociworks.errors.ImageConfigError` when two images are for the same platform, because the second
    would never be chosen, and :class:`~ociworks.errors.InvalidSpec` for annotations that the specification forbids.
    """
    value = Index(media_type=mediatypes.OCI_INDEX, manifests=(), annotations=FrozenDict(annotations or {}))
    if problems := validate(value):
        raise InvalidSpec(problems, "the new index")
    raw = to_json(value)
    empty = _Index(Descriptor.of(raw, mediatypes.OCI_INDEX), value, raw, {}, None)
    return append_manifests(empty, *manifests)


def append_manifests(idx: ImageIndex, *manifests: Image | ImageIndex | Entry) -> ImageIndex:
    """The index with these entries behind its own. Raises what :func:`index` raises."""
    entries = [each if isinstance(each, Entry) else Entry(content=each) for each in manifests]
    described = [_described(entry) for entry in entries]
    everything = (*idx.index.manifests, *described)
    _check_platforms(everything[len(idx.index.manifests) :], idx.index.manifests)
    children = {entry.content.digest: entry.content for entry in entries}
    return reindexed(idx, evolve(idx.index, manifests=everything), children)


def remove_manifests(idx: ImageIndex, *which: Digest | Platform | str) -> ImageIndex:
    """The index without the entries of these digests or platforms, and without the attestations of what is removed.

    Raises :class:`~ociworks.errors.ImageNotFound` when there is no such entry.
    """
    gone: set[Digest] = set()
    for each in which:
        found = {entry.digest for entry in idx.index.manifests if _is(entry, each)}
        if not found:
            raise ImageNotFound(f"index {idx.digest} has no entry {quote(str(each))}")
        gone |= found
    kept = [
        entry for entry in idx.index.manifests if entry.digest not in gone and attested(entry) not in gone
    ]
    return reindexed(idx, evolve(idx.index, manifests=tuple(kept)))


def platforms(idx: ImageIndex, wanted: Iterable[Platform | str]) -> ImageIndex:
    """The index with only the images for these platforms, their attestations, and the same of nested indexes.

    A platform without a variant stands for all variants of its architecture, one with a variant for that one alone.
    Raises :class:`~ociworks.errors.ImageNotFound` when an asked platform is not there, and
    :class:`~ociworks.errors.LimitExceeded` for indexes nested deeper than 4.
    """
    asked = [partial.wanted(platform) for platform in wanted]
    found: set[int] = set()
    result = _filtered(idx, asked, found, 1)
    if missing := [str(platform) for place, platform in enumerate(asked) if place not in found]:
        raise ImageNotFound(f"index {idx.digest}: no image for {quote(', '.join(missing))}")
    return result


def reindexed(
    idx: ImageIndex, value: Index, children: Mapping[Digest, Image | ImageIndex] | None = None
) -> ImageIndex:
    """The index with another value; ``children`` are documents that ``idx`` does not have."""
    if value == idx.index:
        return idx
    raw = to_json(value)
    found = read_manifest(raw, content_type=value.media_type or idx.descriptor.media_type)
    if not isinstance(found.value, Index):  # the forbidden members of the class make this impossible
        raise ImageConfigError("expected an index")
    return _Index(found.descriptor, found.value, raw, dict(children or {}), idx)


def rebuilt_children(
    idx: ImageIndex, change: Callable[[Image | ImageIndex], Image | ImageIndex], value: Index
) -> ImageIndex:
    """The index ``value`` with every image and index in it changed; entries of other types stay."""
    children: dict[Digest, Image | ImageIndex] = {}
    entries: list[Descriptor] = []
    for entry in value.manifests:
        if not mediatypes.is_manifest(entry.media_type) and not mediatypes.is_index(entry.media_type):
            entries.append(entry)
            continue
        child = change(idx.child(entry))
        children[child.digest] = child
        entries.append(moved(entry, child))
    return reindexed(idx, evolve(value, manifests=tuple(entries)), children)


def moved(entry: Descriptor, child: Image | ImageIndex) -> Descriptor:
    """The entry of a child that may have other bytes now."""
    if child.digest == entry.digest:
        return entry
    new = child.descriptor
    return evolve(entry, media_type=new.media_type, digest=new.digest, size=new.size, urls=(), data=None)


def _described(entry: Entry) -> Descriptor:
    content = entry.content
    bare = Descriptor(
        media_type=content.descriptor.media_type,
        digest=content.digest,
        size=content.descriptor.size,
        annotations=entry.annotations,
        artifact_type=_artifact_type(content),
        platform=_platform(entry),
    )
    if problems := validate(bare):
        raise InvalidSpec(problems, f"the entry of {content.digest}")
    return bare


def _platform(entry: Entry) -> Platform | None:
    if entry.platform is not None:
        return partial.wanted(entry.platform)
    content = entry.content
    if isinstance(content, ImageIndex) or not mediatypes.is_config(content.manifest.config.media_type):
        return None
    return content.descriptor.platform or content.config.platform


def _artifact_type(content: Image | ImageIndex) -> str | None:
    if isinstance(content, ImageIndex):
        return content.index.artifact_type
    return content.manifest.artifact_type


def _check_platforms(new: Iterable[Descriptor], old: Iterable[Descriptor]) -> None:
    seen = {entry.platform.normalized() for entry in old if entry.platform}
    for entry in new:
        if entry.platform is None:
            continue
        platform = entry.platform.normalized()
        if platform in seen and platform.os != "unknown":
            raise ImageConfigError(
                f"two images for {platform}: the second would never be chosen; remove one first"
            )
        seen.add(platform)


def _filtered(idx: ImageIndex, asked: list[Platform], found: set[int], depth: int) -> ImageIndex:
    if depth > partial.MAX_DEPTH:
        raise LimitExceeded(f"index {idx.digest}", "max_depth", partial.MAX_DEPTH)
    kept: dict[Digest, Descriptor] = {}
    children: dict[Digest, Image | ImageIndex] = {}
    for entry in idx.index.manifests:
        if entry.platform is None and mediatypes.is_index(entry.media_type):
            child = idx.child(entry)
            if (
                isinstance(child, ImageIndex)
                and (inner := _filtered(child, asked, found, depth + 1)).index.manifests
            ):
                kept[entry.digest] = moved(entry, inner)
                children[inner.digest] = inner
            continue
        fits = {place for place, platform in enumerate(asked) if _fits(platform, entry.platform)}
        found |= fits
        if fits:
            kept[entry.digest] = entry
    entries = [
        kept.get(entry.digest, entry)
        for entry in idx.index.manifests
        if entry.digest in kept or attested(entry) in kept
    ]
    return reindexed(idx, evolve(idx.index, manifests=tuple(entries)), children)


def _fits(asked: Platform, offered: Platform | None) -> bool:
    if offered is None:
        return False
    want, have = asked.normalized(), offered.normalized()
    return (
        (want.os, want.architecture) == (have.os, have.architecture)
        and (asked.variant is None or want.variant == have.variant)
        and (asked.os_version is None or asked.os_version == have.os_version)
    )


def _is(entry: Descriptor, which: Digest | Platform | str) -> bool:
    if isinstance(which, Digest):
        return entry.digest == which
    if isinstance(which, str) and ":" in which:
        return str(entry.digest) == which
    return _fits(partial.wanted(which), entry.platform)


def attested(entry: Descriptor) -> Digest | None:
    """The image that an entry is an attestation of; text that is no digest is the attestation of nothing here."""
    text = entry.annotations.get(_ATTESTED, "")
    try:
        return Digest.parse(text)
    except ValueError:
        return None


@frozen
class _Index:
    """An index whose children are documents at hand, else those of the index that it was made from."""

    descriptor: Descriptor
    index: Index = field(repr=False, eq=False)
    raw_index: bytes = field(repr=False, eq=False)
    _children: Mapping[Digest, Image | ImageIndex] = field(repr=False, eq=False)
    _below: ImageIndex | None = field(repr=False, eq=False)

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest

    def image(self, platform: Platform | str | None = None) -> Image:
        return partial.choose(self, partial.wanted(platform))

    def child(self, descriptor: Descriptor) -> Image | ImageIndex:
        if (known := self._children.get(descriptor.digest)) is not None:
            return known
        if self._below is None:
            raise ImageNotFound(f"index {self.digest} has no entry {descriptor.digest}")
        return self._below.child(descriptor)

    def _repr_html_(self) -> str:
        from ociworks.image.notebook import index

        return index(self)
