"""What was changed in an unpacked root filesystem, as a layer on top of its image.

What the tree was is read from the layers themselves, so trees that other programs unpacked can be packed again too,
and nothing has to lie beside the tree that could get lost or be tampered with.

The tree is walked twice, by descriptors: once to find the differences, and then for those alone. Directories above a
difference are described with it: there are programs that would make them anew with a mode of their own.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, Self

from attrs import frozen

from ociworks._linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from ociworks.errors import LayerError, NotSupported, quote
from ociworks.image._archives import open_archive
from ociworks.image._merged import merge
from ociworks.image._pack.compare import Comparison, Rules
from ociworks.image._pack.overlay import whiteout
from ociworks.image._pack.owners import Owners
from ociworks.image._pack.sources import LayerOptions, layer_from_entries
from ociworks.image._pack.tree import Found, TreeOptions, entry_of, open_found, with_content
from ociworks.image._unpack.policy import DevicePolicy, Mappings
from ociworks.image.tar.names import split_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ociworks.image._merged import Node
    from ociworks.image._pack.tree import Content, Parts
    from ociworks.image.tar.entry import TarEntry
    from ociworks.image.types import Image, Layer
    from ociworks.spec import Bundle
    from ociworks.spec.image.mediatypes import Compression

__all__ = ["RepackOptions", "repack"]

_PLACE: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_BELOW: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE: Final = 1 << 20


@frozen(kw_only=True)
class RepackOptions(LayerOptions):
    """What is seldom chosen when a tree is packed again; ``xattrs`` are always looked at."""

    masked: tuple[str, ...] | None = None
    """Paths that stay as the image has them, with all below; None: the volumes of its configuration."""
    devices: DevicePolicy = "skip"
    """As it was for :func:`ociworks.image.unpack`: unless it was ``create``, a missing device was not deleted."""
    contents: bool = False
    """Read all files and compare, instead of taking equal size and time for equal content."""


def repack(
    img: Image,
    bundle: Bundle | str | os.PathLike[str],
    *,
    rootless: bool | None = None,
    mappings: Mappings | None = None,
    compression: Compression = "gzip",
    options: RepackOptions | None = None,
) -> Layer:
    """The difference between a bundle (or a root filesystem) and the image that it was unpacked from, as a layer.

    ``mutate.append(img, repack(img, bundle))`` is an image that unpacks to the tree as it is now. ``rootless`` and
    ``mappings`` as they were for :func:`ociworks.image.unpack`. Owners in a rootless tree mean nothing, unless
    ``user.rootlesscontainers`` records them: changed files keep the image's owner, and new ones are root's. The same
    image and tree give the same layer; without differences it has no entries.

    Raises :class:`ociworks.errors.LayerError` when the tree cannot be read or packed, or changes meanwhile, what
    reading the layers raises, :class:`ociworks.errors.LimitExceeded`, and ``OSError`` when there is no such tree.
    """
    options = options or RepackOptions()
    owners = Owners(rootless=_is_rootless(rootless, mappings), mappings=mappings)
    with _opened(bundle) as rootfd:
        tree = merge(img.layers, options.limits, diff_ids=False)
        rules = Rules(
            owners=owners,
            devices=options.devices == "create",
            masked=_masks(img, options),
            limits=options.limits,
        )
        found = Comparison(rootfd, tree, rules)
        if options.contents:
            _compare_contents(img, rootfd, found, options)
        return layer_from_entries(_entries(rootfd, found, rules, options), compression, options.level)


@contextlib.contextmanager
def _opened(bundle: Bundle | str | os.PathLike[str]) -> Iterator[int]:
    """The root filesystem: ``rootfs`` in a directory that has a ``config.json`` beside it, else the directory."""
    path = bundle if isinstance(bundle, str | os.PathLike) else bundle.path
    fd = os.open(path, _ROOT)
    try:
        names = set(os.listdir(fd))
        if {"config.json", "rootfs"} <= names:
            inner = os.open("rootfs", _ROOT | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _masks(img: Image, options: RepackOptions) -> tuple[Parts, ...]:
    given: Iterable[str] = options.masked or ()
    if options.masked is None and img.config.config is not None:
        given = img.config.config.volumes
    masks = (split_name(os.fsencode(path), options.limits) for path in given)
    return tuple(sorted(mask for mask in masks if mask))


def _compare_contents(img: Image, rootfd: int, found: Comparison, options: RepackOptions) -> None:
    """Compare files that look unchanged with what the layers have, layer by layer."""
    wanted: dict[int, dict[int, list[Parts]]] = {}
    for parts, node in found.same.items():
        wanted.setdefault(node.layer, {}).setdefault(node.position, []).append(parts)
    for number, positions in wanted.items():
        with open_archive(img.layers[number], options.limits) as archive:
            for position, _ in enumerate(archive):
                names = positions.get(position)
                if names and not _same_content(rootfd, names[0], archive.content()):
                    found.described.update(names)


def _same_content(rootfd: int, parts: Parts, content: Iterable[memoryview]) -> bool:
    with _Places(rootfd) as places:
        fd = open_found(places.find(parts))
    try:
        for piece in content:
            read = 0
            while read < len(piece):
                data = os.read(fd, len(piece) - read)
                if not data or data != piece[read : read + len(data)]:
                    return False
                read += len(data)
        return True
    finally:
        os.close(fd)


def _entries(
    rootfd: int, found: Comparison, rules: Rules, options: RepackOptions
) -> Iterator[tuple[TarEntry, Content]]:
    """What is described and deleted, in one order: sorted, directories before what is in them."""
    tree = TreeOptions(xattrs=True, limits=options.limits, skipped=options.skipped)
    deletions = {(*parts[:-1], b".wh." + parts[-1]): parts for parts in found.deleted}
    named = found.described | set(deletions)
    named |= {parts[:end] for parts in named for end in range(1, len(parts))}
    names: dict[tuple[int, int], Parts] = {}
    with _Places(rootfd) as places:
        for parts in sorted(named):
            if parts in deletions:
                gone = deletions[parts]
                yield whiteout(gone[:-1], gone[-1]), ()
                continue
            place = places.find(parts)
            entry = entry_of(place, (), tree, names)
            if entry is not None:
                owned = _owned(entry, place, found.node(parts), rules.owners)
                yield from with_content(place, owned._replace(parts=parts))


def _is_rootless(wanted: bool | None, mappings: Mappings | None) -> bool:  # noqa: FBT001 - the public parameter
    """As unpacking decides it; but anybody who can read a tree may pack it."""
    if wanted and mappings is not None:
        raise NotSupported("a rootless tree has one owner, and no mappings")
    return os.geteuid() != 0 and mappings is None if wanted is None else wanted


def _owned(entry: TarEntry, place: Found, node: Node | None, owners: Owners) -> TarEntry:
    """The entry with the owner and the attributes that it has for the image."""
    owner = owners.of(place.info, entry.xattrs)
    if owner is None and node is not None and entry.type in ("hardlink", node.entry.type):
        owner = node.entry.uid, node.entry.gid
    uid, gid = owner or (0, 0)
    return entry._replace(uid=uid, gid=gid, xattrs=owners.attributes(entry.xattrs))


class _Places:
    """Finds names below a root again, without links, one directory open at a time."""

    def __init__(self, rootfd: int) -> None:
        self._rootfd = rootfd
        self._parts: Parts = ()
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def find(self, parts: Parts) -> Found:
        """What is at ``parts`` now; LayerError when it went away, or became a link. The root is found as ``.``."""
        try:
            if not parts:
                return Found((b".",), self._rootfd, os.fstat(self._rootfd))
            fd = self._directory(parts[:-1])
            return Found(parts, fd, os.stat(parts[-1], dir_fd=fd, follow_symlinks=False))
        except OSError as error:
            raise LayerError(
                f"{quote(b'/'.join(parts))} changed while it was read: {error.strerror}"
            ) from error

    def _directory(self, parts: Parts) -> int:
        if not parts:
            return self._rootfd
        if parts != self._parts:
            self._close()
            self._fd = openat2(self._rootfd, b"/".join(parts), _PLACE, resolve=_BELOW)
            self._parts = parts
        return self._fd

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._parts = -1, ()
