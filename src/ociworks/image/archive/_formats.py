"""What lies where in an archive that is being written: blobs as they come, what lists them at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from attrs import evolve

from ociworks.errors import NotSupported
from ociworks.image import partial
from ociworks.image.archive._docker import MANIFEST, Item, Items
from ociworks.image.layout import _entries
from ociworks.image.layout._storing import raw_of
from ociworks.image.reference import Reference
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import to_json
from ociworks.spec.image import Descriptor, Index, Layout, mediatypes

if TYPE_CHECKING:
    from ociworks.image.types import ByteStream

__all__ = ["AddBlob", "AddFile", "DockerFormat", "OciFormat", "Sink"]

AddBlob = Callable[[str, Descriptor, Callable[[], "ByteStream"]], None]
"""Write a blob under a name, unless there is something of that name already."""
AddFile = Callable[[str, bytes], None]

_SUFFIX: Final = {"none": ".tar", "gzip": ".tar.gz", "zstd": ".tar.zst"}


class Sink(Protocol):
    """One kind of archive."""

    def check(self, image: Image | ImageIndex, tag: str | None) -> None:
        """Raise when the format cannot hold it, before anything is written."""

    def put(self, image: Image | ImageIndex, tag: str | None, add: AddBlob) -> None:
        """Write what the image needs, and remember it."""

    def finish(self, add: AddFile) -> None:
        """Write what lists the images."""


class OciFormat:
    """An OCI layout: everything as it is, digests included."""

    def __init__(self) -> None:
        self._index = Index(media_type=mediatypes.OCI_INDEX, manifests=())

    def check(self, image: Image | ImageIndex, tag: str | None) -> None:  # noqa: ARG002 - it holds every image
        """Raise :class:`~ociworks.errors.LayoutError` for text that is no tag."""
        if tag is not None:
            _entries.check_tag(tag)

    def put(self, image: Image | ImageIndex, tag: str | None, add: AddBlob) -> None:
        """Write the blobs of every image in it, each once."""
        for each in partial.walk(image):
            if not isinstance(each, ImageIndex):
                _put(add, each.manifest.config, each.raw_config)
                for layer in each.layers:
                    add(_blob(layer.descriptor), layer.descriptor, layer.open)
            _put(add, each.descriptor, raw_of(each))
        self._index = _entries.entered(self._index, _entries.entry_of(image.descriptor, tag))

    def finish(self, add: AddFile) -> None:
        """Write the marker and the index."""
        add(_entries.MARKER, to_json(Layout(image_layout_version=_entries.VERSION)))
        add(_entries.INDEX, to_json(self._index))


class DockerFormat:
    """What ``docker load`` reads: configurations and layers under names of their own, no manifests."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, tuple[str, ...]], Item] = {}

    def check(self, image: Image | ImageIndex, tag: str | None) -> None:
        """Raise ``NotSupported`` for an index or artifact, ``InvalidReference`` for a tag that is no reference."""
        if isinstance(image, ImageIndex):
            raise NotSupported(
                f"a docker-archive holds one platform for each name: choose one from index {image.digest}"
            )
        _ = image.config  # an artifact has none
        for layer in image.layers:
            mediatypes.compression_of(layer.media_type)
        if tag is not None:
            _repo_tag(tag)

    def put(self, image: Image | ImageIndex, tag: str | None, add: AddBlob) -> None:
        """Write configuration and layers, each once."""
        if isinstance(image, ImageIndex):
            raise NotSupported("a docker-archive holds no index")
        config = image.manifest.config
        config_name = f"{_bare(config)}.json"
        add(config_name, config, lambda: partial.stream_of(image.raw_config, config))
        names: list[str] = []
        for layer in image.layers:
            names.append(_bare(layer.descriptor) + _SUFFIX[mediatypes.compression_of(layer.media_type)])
            add(names[-1], layer.descriptor, layer.open)
        self._remember(Item(config=config_name, layers=tuple(names)), tag)

    def finish(self, add: AddFile) -> None:
        """Write ``manifest.json``."""
        listed = to_json(Items(items=tuple(self._items.values())))
        add(MANIFEST, listed.removeprefix(b'{"items":').removesuffix(b"}"))

    def _remember(self, item: Item, tag: str | None) -> None:
        key = (item.config, item.layers)
        known = self._items.get(key, item)
        if tag is not None:
            name = _repo_tag(tag)
            for other, listed in self._items.items():  # a tag names one image: the last that it was given to
                kept = tuple(each for each in listed.repo_tags if each != name)
                self._items[other] = evolve(listed, repo_tags=kept)
            known = self._items.get(key, item)
            known = evolve(known, repo_tags=(*known.repo_tags, name))
        self._items[key] = known


def _put(add: AddBlob, descriptor: Descriptor, content: bytes) -> None:
    add(_blob(descriptor), descriptor, lambda: partial.stream_of(content, descriptor))


def _blob(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.encoded}"


def _bare(descriptor: Descriptor) -> str:
    """The encoded part names a file, as in Docker's own archives; other algorithms say theirs."""
    digest = descriptor.digest
    return digest.encoded if digest.algorithm == "sha256" else f"{digest.algorithm}-{digest.encoded}"


def _repo_tag(tag: str) -> str:
    """How Docker writes it: the familiar name with a tag."""
    found = Reference.parse(tag)
    return Reference(registry=found.registry, repository=found.repository, tag=found.tag or "latest").familiar
