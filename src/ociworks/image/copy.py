"""Moving images between places: what to take, in which form, what is attached to it, and in which order it arrives.

::

    source.get ──> choose platforms ──> policy? ──> other media types? ──> referrers of all that is taken ──> sink.put
                                                                 first, so that a name never appears
                                                                 before the signatures of what it names

The bytes of documents are copied as they are: one platform is an image, several an index with fewer entries, ``ALL``
the index unchanged. Only what the sink lacks travels, and it goes from the one to the other without lying on disk
between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from attrs import frozen

from ociworks.errors import ImageNotFound, LimitExceeded
from ociworks.image import _parallel, partial
from ociworks.image.convert import MediaTypes, convert
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest, Platform
from ociworks.spec.image import Descriptor, Index, mediatypes

if TYPE_CHECKING:
    from ociworks.image.sign import Decision, Policy

__all__ = ["ALL", "AllPlatforms", "Attached", "Copied", "PlatformChoice", "Sink", "Source", "transfer"]


class AllPlatforms(Enum):
    """The type of :data:`ALL`."""

    ALL = "all"


ALL: Final = AllPlatforms.ALL
"""Every platform: an index is copied unchanged, with all that it lists."""

_AT_HAND: Final = 16 * 1024 * 1024
"""Bytes of manifests and configurations of one index that are kept in memory while it is copied."""
_READERS: Final = 8

PlatformChoice: TypeAlias = str | Platform | Sequence[str | Platform] | AllPlatforms | None
"""One platform, several, :data:`ALL`, or None: this host's."""


class Attached(NamedTuple):
    """A signature, SBOM or other referrer."""

    document: Image | ImageIndex
    tag: str | None
    """The tag by which it is found, where that is how (cosign's ``sha256-….sig``); None: by its ``subject``."""


class Source(Protocol):
    """Where images come from."""

    def get(self) -> Image | ImageIndex:
        """What is meant."""

    def attached(self, subject: Digest) -> Iterable[Attached]:
        """What refers to this manifest there."""

    def judge(self, policy: Policy, image: Image | ImageIndex, within: ImageIndex | None) -> Decision:
        """What a policy says about an image from there, which may have been chosen from an index."""


class Sink(Protocol):
    """Where images go."""

    def put(self, image: Image | ImageIndex) -> None:
        """Store it, under the name that is meant, if any."""

    def attach(self, attached: Attached) -> None:
        """Store a referrer."""


@frozen(kw_only=True)
class Copied:
    """What was copied, as it is now."""

    descriptor: Descriptor
    """The image or index."""
    referrers: tuple[Descriptor, ...] = ()
    """What came along with it."""

    @property
    def digest(self) -> Digest:
        """The digest of the image or index."""
        return self.descriptor.digest


def transfer(
    source: Source,
    sink: Sink,
    *,
    platforms: PlatformChoice = None,
    referrers: bool = False,
    media_types: MediaTypes | None = None,
    policy: Policy | None = None,
) -> Copied:
    """Copy what ``source`` means to ``sink``; with a ``policy``, only what it accepts.

    Raises what both raise, :class:`~ociworks.errors.ImageNotFound` for a platform that is not there,
    :class:`~ociworks.errors.NotSupported` for what cannot be converted or does not fit into the sink,
    :class:`~ociworks.errors.LimitExceeded` for more than 1000 referrers, and
    :class:`~ociworks.errors.VerificationFailed` for what the policy does not accept; nothing was copied then.
    """
    found = source.get()
    chosen = _at_hand(_choose(found, platforms))
    if policy is not None:
        _allow(policy, source, found, chosen)
    if media_types is not None:
        chosen = convert(chosen, media_types)
    came: dict[Digest, Descriptor] = {}
    if referrers:
        for attached in _attached(source, chosen):
            sink.attach(attached)
            came[attached.document.digest] = attached.document.descriptor
    sink.put(chosen)
    return Copied(descriptor=chosen.descriptor, referrers=tuple(came.values()))


def _allow(policy: Policy, source: Source, found: Image | ImageIndex, chosen: Image | ImageIndex) -> None:
    """An index that was thinned out was signed by nobody: then each of its images must be accepted."""
    within = found if isinstance(found, ImageIndex) else None
    thinned = isinstance(chosen, ImageIndex) and chosen.digest != found.digest
    for each in partial.walk(chosen) if thinned else (chosen,):
        if each.digest != chosen.digest or not thinned:
            source.judge(policy, each, within).raise_if_failed()


def _choose(found: Image | ImageIndex, platforms: PlatformChoice) -> Image | ImageIndex:
    """What the choice makes of it. An image is for one of the platforms, or it is not there."""
    if isinstance(platforms, AllPlatforms):
        return found
    if platforms is None or isinstance(platforms, str | Platform):
        return found.image(platforms) if isinstance(found, ImageIndex) else partial.require(found, platforms)
    if isinstance(found, ImageIndex):
        from ociworks.image import mutate

        return mutate.platforms(found, platforms)
    if not any(partial.wanted(each).matches(found.config.platform) for each in platforms):
        raise ImageNotFound(f"image {found.digest} is for {found.config.platform} only")
    return found


def _at_hand(found: Image | ImageIndex) -> Image | ImageIndex:
    """An index with its documents in memory, within bounds: read several at a time, and only once."""
    if not isinstance(found, ImageIndex):
        return found
    children: dict[Digest, Image | ImageIndex] = {}
    lock, left = threading.Lock(), _AT_HAND

    def read(entry: Descriptor, checkpoint: Callable[[], None]) -> None:
        nonlocal left
        checkpoint()
        if left <= 0:
            return  # the rest is read when it is needed
        child = found.child(entry)
        with lock:
            left -= entry.size + (0 if isinstance(child, ImageIndex) else len(child.raw_config))
            children[entry.digest] = child

    entries = {
        entry.digest: entry
        for entry in found.index.manifests[: partial.MAX_VISITED]
        if mediatypes.is_index(entry.media_type) or mediatypes.is_manifest(entry.media_type)
    }
    _parallel.each(entries.values(), read, _READERS)
    return _Index(found, children)


@frozen
class _Index:
    """An index, some of whose documents are at hand."""

    _below: ImageIndex
    _children: Mapping[Digest, Image | ImageIndex]

    @property
    def descriptor(self) -> Descriptor:
        return self._below.descriptor

    @property
    def digest(self) -> Digest:
        return self._below.digest

    @property
    def index(self) -> Index:
        return self._below.index

    @property
    def raw_index(self) -> bytes:
        return self._below.raw_index

    def image(self, platform: Platform | str | None = None) -> Image:
        return partial.choose(self, partial.wanted(platform))

    def child(self, descriptor: Descriptor) -> Image | ImageIndex:
        known = self._children.get(descriptor.digest)
        return self._below.child(descriptor) if known is None else known


def _attached(source: Source, start: Image | ImageIndex) -> Iterator[Attached]:
    """What refers to any of the documents, and to that in turn; what refers comes after what it refers to."""
    waiting = [document.digest for document in partial.walk(start)]
    seen = set(waiting)
    while waiting:
        for attached in source.attached(waiting.pop()):
            digest = attached.document.digest
            if digest in seen:
                continue
            seen.add(digest)
            if len(seen) > 2 * partial.MAX_VISITED:
                raise LimitExceeded(f"referrers of {start.digest}", "max_visited", partial.MAX_VISITED)
            waiting.append(digest)
            yield attached
