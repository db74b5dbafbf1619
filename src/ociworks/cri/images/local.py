"""Which images are here: the layout's entries by the digest of their configuration, as values.

What was read of a manifest holds for ever, so it is read once; names are read again when ``index.json`` changed, and
what was damaged each time.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from attrs import field, frozen

from ociworks.errors import (
    ContentError,
    ImageError,
    ImageNotFound,
    InvalidReference,
    InvalidRequest,
    LimitExceeded,
    NotSupported,
    SpecError,
    quote,
)
from ociworks.image import partial
from ociworks.image.layout import Layout, reference_in
from ociworks.image.reference import Reference
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import Digest, FrozenDict
from ociworks.spec.image import Descriptor, ImageConfiguration, RootFS, mediatypes
from ociworks.spec.image.annotations import REF_NAME

__all__ = ["LocalImage", "LocalImages", "reference_of"]

_logger = logging.getLogger(__name__)

_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII)
_PREFIX: Final = re.compile(r"(?:sha256:)?([0-9a-f]{4,63})", re.ASCII)
_DAMAGED: Final = (ContentError, ImageError, LimitExceeded, NotSupported, SpecError)


@frozen(kw_only=True)
class LocalImage:
    """An image that is here."""

    id: str
    """The digest of its configuration."""
    repo_tags: tuple[str, ...]
    """Its names by tag."""
    repo_digests: tuple[str, ...]
    """Its names by digest: of the manifest, or of the index that lists it."""
    image: Image = field(repr=False)
    """Manifest, configuration and layers, from the layout."""
    size: int
    """Bytes of manifest, configuration and layers, as they travel."""
    pinned: bool = False
    """Whether the kubelet's garbage collection must leave it."""
    chain_ids: tuple[Digest, ...] = field(repr=False)
    """Its layers, unpacked, base first."""
    entries: tuple[Digest, ...] = field(default=(), repr=False)
    """What ``index.json`` has of it."""

    @property
    def configuration(self) -> ImageConfiguration:
        """Its configuration."""
        return self.image.config


@frozen(kw_only=True)
class _Found:
    """What one version of ``index.json`` says."""

    revision: tuple[int, int, int]
    images: Mapping[str, LocalImage] = FrozenDict()
    names: Mapping[str, str] = FrozenDict()
    damaged: Mapping[Digest, str] = FrozenDict()
    chain_ids: frozenset[Digest] = frozenset()


class LocalImages:
    """The images of a layout; safe for several threads."""

    def __init__(self, layout: Layout, pinned: Collection[str] = ()) -> None:
        self._layout = layout
        self._pinned = frozenset(str(reference_of(name)) for name in pinned)
        self._lock = threading.Lock()
        self._read: dict[Digest, Image | None] = {}
        self._found = _Found(revision=(0, 0, 0))

    def all(self) -> tuple[LocalImage, ...]:
        """Every image that is whole. Raises :class:`~ociworks.errors.LayoutError`."""
        return tuple(self._now().images.values())

    def damaged(self) -> Mapping[Digest, str]:
        """Entries that are not: what ``index.json`` lists, and what is wrong. Pulling them again mends them."""
        return self._now().damaged

    def chain_ids(self) -> frozenset[Digest]:
        """The unpacked layers of all images."""
        return self._now().chain_ids

    def exactly(self, text: str) -> LocalImage | None:
        """The image of this ID or name."""
        found = self._now()
        if match := _ID.fullmatch(text):
            return found.images.get(f"sha256:{match[1]}")
        try:
            name = str(reference_of(text))
        except InvalidReference:
            return found.images.get(text)
        return found.images.get(found.names.get(name, ""))

    def find(self, text: str) -> LocalImage | None:
        """The image of this ID or name, or the only one whose ID begins like this; None when there is none.

        Raises :class:`~ociworks.errors.InvalidRequest` when several begin like this, and
        :class:`~ociworks.errors.LayoutError`.
        """
        if (exact := self.exactly(text)) is not None:
            return exact
        match = _PREFIX.fullmatch(text)
        if match is None:
            return None
        begun = [each for each in self.all() if each.id.startswith(f"sha256:{match[1]}")]
        if len(begun) > 1:
            raise InvalidRequest(f"image.image: {len(begun)} image IDs begin with {quote(text)}")
        return begun[0] if begun else None

    def _now(self) -> _Found:
        with self._lock:
            revision = self._layout.revision()
            if self._found.revision != revision or self._found.damaged:
                self._found = self._gather(revision)
            return self._found

    def _gather(self, revision: tuple[int, int, int]) -> _Found:
        entries: dict[str, list[tuple[Descriptor, Image]]] = {}
        damaged: dict[Digest, str] = {}
        read: dict[Digest, Image | None] = {}
        for entry in self._layout.images():
            try:
                image = read[entry.digest] = self._document(entry)
            except _DAMAGED as error:
                damaged[entry.digest] = str(error)
                continue
            if image is not None:
                entries.setdefault(str(image.manifest.config.digest), []).append((entry, image))
        for digest in damaged.keys() - self._found.damaged.keys():
            _logger.warning("image %s in %s is damaged: %s", digest, self._layout.path, damaged[digest])
        self._read = read
        images = {key: self._image(key, found) for key, found in entries.items()}
        names = {name: each.id for each in images.values() for name in (*each.repo_tags, *each.repo_digests)}
        return _Found(
            revision=revision,
            images=FrozenDict(images),
            names=FrozenDict(names),
            damaged=FrozenDict(damaged),
            chain_ids=frozenset(chain_id for each in images.values() for chain_id in each.chain_ids),
        )

    def _document(self, entry: Descriptor) -> Image | None:
        """The image for this host; None for what is none: an artifact, an index for other platforms."""
        if entry.digest in self._read:
            return self._read[entry.digest]
        found = partial.document(partial.read_blob(self._layout, entry), self._layout, descriptor=entry)
        try:
            image = found.image() if isinstance(found, ImageIndex) else found
        except ImageNotFound:
            return None
        return image if mediatypes.is_config(image.manifest.config.media_type) else None

    def _image(self, id: str, found: Sequence[tuple[Descriptor, Image]]) -> LocalImage:
        names = [reference_in(entry.annotations.get(REF_NAME, "")) for entry, _ in found]
        references = [_plain(name) for name in names if name is not None]
        image = found[0][1]
        layers = {layer.digest: layer.size for layer in image.layers}
        return LocalImage(
            id=id,
            repo_tags=tuple(str(name) for name in references if name.digest is None),
            repo_digests=tuple(str(name) for name in references if name.digest is not None),
            image=image,
            size=len(image.raw_manifest) + len(image.raw_config) + sum(layers.values()),
            chain_ids=_chain_ids(image.config.rootfs.diff_ids),
            pinned=not self._pinned.isdisjoint(map(str, references)),
            entries=tuple(dict.fromkeys(entry.digest for entry, _ in found)),
        )


@functools.lru_cache(maxsize=4096)
def _chain_ids(diff_ids: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """Hashed once: names change more often than images."""
    return RootFS(diff_ids=diff_ids).chain_ids()


def reference_of(text: str) -> Reference:
    """The one spelling of an image's name: with its digest alone, if it has one, else with its tag or ``latest``.

    Raises :class:`~ociworks.errors.InvalidReference`.
    """
    return _plain(Reference.parse(text))


def _plain(found: Reference) -> Reference:
    tag = None if found.digest is not None else found.tag or "latest"
    return Reference(registry=found.registry, repository=found.repository, tag=tag, digest=found.digest)
