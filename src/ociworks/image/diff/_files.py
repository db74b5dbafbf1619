"""The trees that two images unpack to, compared in memory.

Each tree is an index of names (``_merged``). Two files of one size are the same without being read when they are the
same entry of the same archive; only otherwise their content is hashed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ociworks.image._archives import open_archive
from ociworks.image._merged import MergedTree, add_layers, names_of
from ociworks.image.diff._values import Difference, FileChange, FileInfo
from ociworks.image.tar.entry import TarEntry
from ociworks.spec import Digest, Hasher

if TYPE_CHECKING:
    from ociworks.image.types import Image, Layer

__all__ = ["compare"]

Parts = tuple[bytes, ...]
Source = tuple[Digest, int]
"""The diff ID of a layer, and the number of an entry in its archive."""


class _File(NamedTuple):
    """One name of a tree."""

    entry: TarEntry
    source: Source | None
    """None for directories that no layer describes."""
    first: Parts
    """The first of the names that are this file."""


_Tree = Mapping[Parts, _File]


def compare(old: Image, new: Image, *, times: bool) -> tuple[FileChange, ...]:
    """The files that differ, sorted by path."""
    if old.config.rootfs.diff_ids == new.config.rootfs.diff_ids:
        return ()
    before, after = _trees(old.layers, new.layers)
    digests = _digests([*old.layers, *new.layers], _to_hash(before, after))
    return tuple(_changes(before, after, digests, times=times))


def _trees(old: Sequence[Layer], new: Sequence[Layer]) -> tuple[_Tree, _Tree]:
    """Both trees; when one image is the other one and more, its layers are read once."""
    if _begins(new, old):
        return _grown(old, new)
    if _begins(old, new):
        smaller, larger = _grown(new, old)
        return larger, smaller
    return _grown(old, old)[0], _grown(new, new)[0]


def _begins(layers: Sequence[Layer], base: Sequence[Layer]) -> bool:
    return [layer.diff_id for layer in layers[: len(base)]] == [layer.diff_id for layer in base]


def _grown(base: Sequence[Layer], layers: Sequence[Layer]) -> tuple[_Tree, _Tree]:
    """The tree of the layers that ``layers`` shares with ``base``, and that of all of them."""
    tree = MergedTree()
    add_layers(tree, layers[: len(base)], 0)
    lower = _snapshot(tree, layers)
    if len(layers) == len(base):
        return lower, lower
    add_layers(tree, layers[len(base) :], len(base))
    return lower, _snapshot(tree, layers)


def _snapshot(tree: MergedTree, layers: Sequence[Layer]) -> _Tree:
    """What the tree says now; it may grow afterwards."""
    first: dict[int, Parts] = {}
    found: dict[Parts, _File] = {}
    for parts, node in [((), tree.root), *names_of(tree.root)]:
        source = None if node.layer < 0 else (layers[node.layer].diff_id, node.position)
        found[parts] = _File(node.entry, source, first.setdefault(id(node), parts))
    return found


def _to_hash(before: _Tree, after: _Tree) -> set[Source]:
    """The files whose content decides whether they differ."""
    wanted: set[Source] = set()
    for parts, old in before.items():
        new = after.get(parts)
        if new is not None and _same_shape(old.entry, new.entry) and old.source != new.source:
            wanted |= {source for source in (old.source, new.source) if source is not None}
    return wanted


def _same_shape(old: TarEntry, new: TarEntry) -> bool:
    return old.type == new.type == "file" and old.size == new.size > 0


def _digests(layers: Sequence[Layer], wanted: set[Source]) -> dict[Source, Digest]:
    """The digests of the content of these entries; each layer is read once at most."""
    positions: dict[Digest, set[int]] = {}
    for diff_id, position in wanted:
        positions.setdefault(diff_id, set()).add(position)
    found: dict[Source, Digest] = {}
    for layer in layers:
        here = positions.pop(layer.diff_id, None)
        if here:
            found.update(_hashed(layer, here))
    return found


def _hashed(layer: Layer, positions: set[int]) -> Iterator[tuple[Source, Digest]]:
    with open_archive(layer) as archive:
        for position, _ in enumerate(archive):
            if position in positions:
                hasher = Hasher()
                for piece in archive.content():
                    hasher.update(piece)
                yield (layer.diff_id, position), hasher.digest()


def _changes(
    before: _Tree, after: _Tree, digests: Mapping[Source, Digest], *, times: bool
) -> Iterator[FileChange]:
    for parts in sorted(before.keys() | after.keys()):
        old, new = before.get(parts), after.get(parts)
        path = "/" + os.fsdecode(b"/".join(parts))
        if old is None or new is None:
            only = FileChange(
                kind="added" if old is None else "removed",
                path=path,
                old=None if old is None else _info(old.entry),
                new=None if new is None else _info(new.entry),
            )
            yield only
        elif different := tuple(_differences(old, new, digests, times=times)):
            yield FileChange(
                kind="changed", path=path, differences=different, old=_info(old.entry), new=_info(new.entry)
            )


def _differences(
    old: _File, new: _File, digests: Mapping[Source, Digest], *, times: bool
) -> Iterator[Difference]:
    mine, other = old.entry, new.entry
    links = "symlink" in (mine.type, other.type)  # whose mode says nothing
    differs: dict[Difference, bool] = {
        "type": mine.type != other.type,
        "mode": mine.mode != other.mode and not links,
        "owner": (mine.uid, mine.gid) != (other.uid, other.gid),
        "size": mine.size != other.size,
        "content": _another_content(old, new, digests),
        "target": mine.target != other.target,
        "device": mine.device != other.device,
        "links": old.first != new.first,
        "xattrs": mine.xattrs != other.xattrs,
        "time": times and mine.mtime_ns != other.mtime_ns,
    }
    return (name for name, yes in differs.items() if yes)


def _another_content(old: _File, new: _File, digests: Mapping[Source, Digest]) -> bool:
    if old.entry.type != "file" or new.entry.type != "file":
        return False
    if old.entry.size != new.entry.size:
        return True
    if old.entry.size == 0 or old.source == new.source or old.source is None or new.source is None:
        return False
    return digests[old.source] != digests[new.source]


def _info(entry: TarEntry) -> FileInfo:
    return FileInfo(
        type=entry.type,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        target=os.fsdecode(entry.target),
        device=entry.device,
        xattrs=tuple(sorted(os.fsdecode(name) for name in entry.xattrs)),
    )
