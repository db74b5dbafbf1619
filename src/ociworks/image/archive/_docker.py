"""docker-archive: what ``docker save`` writes. It holds configurations and layers, and no manifests.

::

    manifest.json   [{"Config": "<file>", "RepoTags": ["app:1.4"], "Layers": ["<file>", …]}, …]

The names of the files say nothing: a configuration is what its bytes are, a layer's digest is that of its bytes as they
lie there. For a plain layer that is the diff ID which the configuration states, to be verified when it is read; a
compressed one is hashed once. The manifest is made from these, the same for the same archive. ``_legacy`` reads what
was before ``manifest.json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ociworks._values import evolve, frozen
from ociworks.errors import ArchiveError, InvalidReference, SpecError, quote
from ociworks.image import partial
from ociworks.image.archive import _legacy
from ociworks.image.archive._members import Member, Members, compression_at
from ociworks.image.reference import Reference
from ociworks.image.stream import VerifiedStream
from ociworks.spec import Digest, FrozenDict, Hasher, Model, parse, to_json
from ociworks.spec.digest import CHUNK
from ociworks.spec.image import Descriptor, ImageConfiguration, Manifest, mediatypes
from ociworks.spec.image.annotations import REF_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociworks.image.types import ByteStream

__all__ = ["MANIFEST", "Item", "Items", "normal", "read"]

MANIFEST: Final = "manifest.json"
_MAX_IMAGES: Final = 1000
_LAYERS: Final = {
    "none": mediatypes.OCI_LAYER,
    "gzip": mediatypes.OCI_LAYER_GZIP,
    "zstd": mediatypes.OCI_LAYER_ZSTD,
}


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Item(
    Model,
    names={"config": "Config", "repo_tags": "RepoTags", "layers": "Layers"},
    strict_case=True,
    nulls=True,
):
    """One image in ``manifest.json``."""

    config: str
    repo_tags: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Items(Model, strict_case=True):
    """``manifest.json`` in an object: documents of ociworks are objects."""

    items: tuple[Item, ...]


def read(members: Members) -> _DockerContents:
    """The images of a docker-archive, with manifests made for them."""
    contents = _DockerContents(members)
    if members.find(MANIFEST) is None and members.find(_legacy.REPOSITORIES) is not None:
        for image in _legacy.images(members, contents.digest_of):
            contents.add(_legacy.REPOSITORIES, *image)
        return contents
    for item in _items(members.read(members.need(MANIFEST), partial.MAX_DOCUMENT), members.path):
        config = members.read(members.need(item.config), partial.MAX_DOCUMENT)
        contents.add(item.config, config, item.layers, item.repo_tags)
    return contents


def _items(raw: bytes, path: str) -> tuple[Item, ...]:
    if not raw.strip().startswith(b"[") or not raw.strip().endswith(b"]"):
        raise ArchiveError(f"{quote(path)}: {MANIFEST}: expected a list of images")
    try:
        found = parse(Items, b'{"items":' + raw + b"}", max_size=partial.MAX_DOCUMENT + 16)
    except SpecError as error:
        raise ArchiveError(f"{quote(path)}: {MANIFEST}: {error}") from None
    if found.extra or len(found.items) > _MAX_IMAGES:
        raise ArchiveError(f"{quote(path)}: {MANIFEST}: expected one list of at most {_MAX_IMAGES} images")
    return found.items


@final
class _DockerContents:
    def __init__(self, members: Members) -> None:
        self._members = members
        self._documents: dict[Digest, bytes] = {}
        self._layers: dict[Digest, Member] = {}
        self._hashed: dict[Member, Descriptor] = {}
        self.entries: tuple[Descriptor, ...] = ()

    def size(self, digest: Digest) -> int | None:
        if digest in self._documents:
            return len(self._documents[digest])
        member = self._layers.get(digest)
        return None if member is None else member.size

    def open(self, descriptor: Descriptor) -> ByteStream:
        content = self._documents.get(descriptor.digest)
        if content is not None:
            return partial.stream_of(content, descriptor)
        return VerifiedStream(self._members.open(self._layers[descriptor.digest]), descriptor)

    def alias(self, name: str) -> str | Digest | None:
        wanted = normal(name)
        tags = (entry.annotations.get(REF_NAME) for entry in self.entries)
        return next((tag for tag in tags if tag is not None and normal(tag) == wanted), None)

    def add(self, what: str, raw: bytes, names: tuple[str, ...], tags: tuple[str, ...]) -> None:
        """Make the manifest of one image, and enter it under each of its tags; ``what`` says where it comes from."""
        config = Descriptor.of(raw, mediatypes.OCI_CONFIG)
        diff_ids = self._diff_ids(what, raw, len(names))
        layers = tuple(self._layer(*pair) for pair in zip(names, diff_ids, strict=True))
        manifest = to_json(Manifest(media_type=mediatypes.OCI_MANIFEST, config=config, layers=layers))
        described = Descriptor.of(manifest, mediatypes.OCI_MANIFEST)
        self._documents |= {config.digest: raw, described.digest: manifest}
        self.entries = (*self.entries, *_tagged(described, tags))

    def digest_of(self, name: str) -> Digest:
        """The digest of a file's bytes."""
        return self._digest(self._members.need(name))

    def _diff_ids(self, what: str, raw: bytes, layers: int) -> tuple[Digest, ...]:
        where = f"{quote(self._members.path)}: configuration {quote(what)}"
        try:
            diff_ids = parse(ImageConfiguration, raw, max_size=partial.MAX_DOCUMENT).rootfs.diff_ids
        except SpecError as error:
            raise ArchiveError(f"{where}: {error}") from None
        if len(diff_ids) != layers:
            raise ArchiveError(
                f"{where}: expected one diff ID for each of {layers} layers, found {len(diff_ids)}"
            )
        return diff_ids

    def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        member = self._members.need(name)
        described = self._described(member, diff_id)
        known = self._layers.setdefault(described.digest, member)
        if known.size != member.size:
            raise ArchiveError(
                f"{quote(self._members.path)}: two layers of different size have the diff ID {diff_id}"
            )
        return described

    def _described(self, member: Member, diff_id: Digest) -> Descriptor:
        section = self._members.open(member)
        try:
            compression = compression_at(section)
        finally:
            section.close()
        if compression == "none":
            return Descriptor(media_type=_LAYERS["none"], digest=diff_id, size=member.size)
        if member not in self._hashed:
            digest = self._digest(member)
            self._hashed[member] = Descriptor(
                media_type=_LAYERS[compression], digest=digest, size=member.size
            )
        return self._hashed[member]

    def _digest(self, member: Member) -> Digest:
        hasher = Hasher("sha256")
        section = self._members.open(member)
        try:
            while data := section.read(CHUNK):
                hasher.update(data)
        finally:
            section.close()
        return hasher.digest()


def _tagged(described: Descriptor, tags: tuple[str, ...]) -> Iterator[Descriptor]:
    if not tags:
        yield described
    for tag in tags:
        yield evolve(described, annotations=FrozenDict({REF_NAME: tag}))


def normal(name: str) -> str:
    """The full reference that a name in the archive, or a person, means: ``app`` is docker.io/library/app:latest."""
    try:
        found = Reference.parse(name)
    except InvalidReference:
        return name
    return f"{found.name}:{found.tag or 'latest'}"
