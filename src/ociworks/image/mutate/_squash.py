"""Several layers as one: what they change together.

Both functions compare two trees, the one below the squashed layers and the one with them, and write what leads from
the first to the second: new and changed files once, a whiteout for what is gone, nothing for what came and went. The
trees are those that unpacking makes; content is read when the new layer is written, and only of the layers that it
comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ociworks.errors import ImageConfigError
from ociworks.image._archives import open_archive
from ociworks.image._merged import MergedTree, names_of
from ociworks.image._pack.builder import LayerBuilder
from ociworks.image.mutate._build import family, rebuilt, replaced
from ociworks.image.mutate._history import complete, emptied, end_of
from ociworks.image.tar.compression import compression_of
from ociworks.image.tar.entry import NO_XATTRS, TarEntry
from ociworks.image.tar.whiteout import PREFIX
from ociworks.image.types import Image, Layer
from ociworks.spec.image import History, ImageConfiguration, mediatypes

if TYPE_CHECKING:
    from ociworks.image._merged import Node
    from ociworks.spec.image.mediatypes import Compression

__all__ = ["flatten", "squash"]

Parts = tuple[bytes, ...]

_SQUASHED: Final = History(created_by="ociworks squash")


def flatten(
    img: Image,
    *,
    history: History | None = None,
    keep_history: bool = True,
    compression: Compression | None = None,
) -> Image:
    """The image with all its files in one layer, without whiteouts and without anything that was deleted.

    The steps of the history stay, as steps that made no layer, in front of ``history``, which made this one; without
    ``keep_history`` only that is left (arguments of old steps may hold secrets that the files no longer do). An image
    of one layer or none is given back as it is. All layers are read, twice where they have content that stays.

    Raises what reading and unpacking the layers raises, and :class:`~ociworks.errors.NotSupported` for artifacts.
    """
    return _squash(img, 0, history or _SQUASHED, keep_history=keep_history, compression=compression)


def squash(
    img: Image,
    *,
    last: int | None = None,
    start: int | None = None,
    history: History | None = None,
    compression: Compression | None = None,
) -> Image:
    """The image with its ``last`` layers, or those from number ``start`` (base is 0) on, as one.

    Unpacked it is the same tree. The layers below stay as they are; the names in them are read, because links and
    deletions lead there. History and compression (None: that of the last layer) as in :func:`flatten`.

    Raises :class:`~ociworks.errors.ImageConfigError` when the image does not have that many layers, and what
    :func:`flatten` raises.
    """
    count = len(img.layers)
    if (last is None) == (start is None):
        raise ImageConfigError("squash: expected either last or start")
    first = start if start is not None else count - (last or 0)
    if not 0 <= first <= count or (last is not None and last < 0):
        raise ImageConfigError(f"squash: the image has {count} layers, no such layers as asked for")
    return _squash(img, first, history or _SQUASHED, keep_history=True, compression=compression)


def _squash(
    img: Image, first: int, step: History, *, keep_history: bool, compression: Compression | None
) -> Image:
    config = img.config
    if len(img.layers) - first < 2:
        return img
    if step.empty_layer:
        raise ImageConfigError("history: expected a step that makes a layer, got one with empty_layer")
    top = img.layers[-1]
    if not all(mediatypes.is_layer(layer.media_type) for layer in img.layers):
        raise ImageConfigError("expected filesystem layers only")
    made = _layer(img.layers, first, compression or compression_of(top.media_type))
    wanted = family(img.descriptor.media_type)
    return rebuilt(
        img,
        config=evolve(config, history=_history(config, first, step, keep=keep_history)),
        layers=(*img.layers[:first], replaced(None, made, wanted)),
    )


def _history(config: ImageConfiguration, first: int, step: History, *, keep: bool) -> tuple[History, ...]:
    steps = complete(config)
    below = end_of(steps, first)
    squashed = [emptied(old) for old in steps[below:]] if keep else []
    return (*steps[:below], *squashed, step)


def _layer(layers: Sequence[Layer], first: int, compression: Compression) -> Layer:
    """The layer that leads from the tree of the layers before ``first`` to that of all of them."""
    tree = MergedTree()
    _apply(tree, layers, range(first))
    below = {parts: (node, node.entry) for parts, node in names_of(tree.root)}
    root = tree.root.entry
    _apply(tree, layers, range(first, len(layers)))
    above = dict(names_of(tree.root))
    with LayerBuilder(compression=compression) as builder:
        if tree.root.entry != root:
            builder.add(tree.root.entry)
        for parts in _gone(below, above):
            builder.add(_whiteout(parts))
        changed = {parts: node for parts, node in above.items() if below.get(parts) != (node, node.entry)}
        for parts, node in changed.items():
            if node.is_directory:
                builder.add(node.entry._replace(parts=parts))
        sources, links = _plan(changed, above)
        _add_files(builder, layers, sources)
        for parts, target in links.items():
            builder.add(_link(above[parts].entry, parts, target))
        return builder.finish()


def _apply(tree: MergedTree, layers: Sequence[Layer], numbers: range) -> None:
    for number in numbers:
        tree.begin_layer(number)
        with open_archive(layers[number]) as archive:
            for position, entry in enumerate(archive):
                tree.apply(entry, position)


def _gone(below: Mapping[Parts, object], above: Mapping[Parts, Node]) -> Iterator[Parts]:
    """What is no more, without what is in it; nothing where something else stands in the place of its parent."""
    for parts in below:
        if parts in above:
            continue
        parent = above.get(parts[:-1])
        if len(parts) == 1 or (parent is not None and parent.is_directory and parts[:-1] in below):
            yield parts


def _plan(
    changed: Mapping[Parts, Node], above: Mapping[Parts, Node]
) -> tuple[dict[Parts, Node], dict[Parts, Parts]]:
    """Which of the changed names are written as what they are, and which as links to another name of their inode.

    An inode that the lower layers have under a name that stays is linked to there.
    """
    kept = {id(node): parts for parts, node in above.items() if parts not in changed}
    sources: dict[Parts, Node] = {}
    links: dict[Parts, Parts] = {}
    for parts, node in changed.items():
        if node.is_directory:
            continue
        if (first := kept.setdefault(id(node), parts)) != parts:
            links[parts] = first
        else:
            sources[parts] = node
    return sources, links


def _add_files(builder: LayerBuilder, layers: Sequence[Layer], sources: Mapping[Parts, Node]) -> None:
    """First what has no content, in order of the names; then the rest, in the order in which the layers have it."""
    content: dict[int, dict[int, Parts]] = {}
    for parts, node in sources.items():
        if node.entry.size:
            content.setdefault(node.layer, {})[node.position] = parts
        else:
            builder.add(node.entry._replace(parts=parts))
    for number in sorted(content):
        wanted = content[number]
        with open_archive(layers[number]) as archive:
            for position, entry in enumerate(archive):
                if (name := wanted.get(position)) is not None:
                    builder.add(entry._replace(parts=name), archive.content())


def _link(entry: TarEntry, parts: Parts, target: Parts) -> TarEntry:
    return entry._replace(parts=parts, type="hardlink", size=0, target=b"/".join(target), xattrs=NO_XATTRS)


def _whiteout(parts: Parts) -> TarEntry:
    return TarEntry((*parts[:-1], PREFIX + parts[-1]), "file", 0o644, 0, 0, 0, 0, b"", (0, 0), NO_XATTRS)
