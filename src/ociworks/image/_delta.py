"""What layers change together: the entries of one layer that leads from the tree below them to the tree with them.

Both trees are indexes in memory (``_merged``); the difference of the two is written, not the layers one after the
other. So what came and went leaves nothing behind, a file is written once, a whiteout stands only for what is really
gone, and links lead where unpacking leads them: a hard link to a file that a higher layer replaced becomes the file.

Contents are read in a second pass over the layers that have them, each verified as in the first one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ociworks.image._archives import open_archive
from ociworks.image._merged import MergedTree, add_layers, names_of
from ociworks.image.tar.entry import NO_XATTRS, TarEntry
from ociworks.image.tar.limits import DEFAULT_LIMITS
from ociworks.image.tar.whiteout import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ociworks.image._merged import Node
    from ociworks.image.tar.limits import Limits
    from ociworks.image.types import Layer

__all__ = ["changed_entries"]

Parts = tuple[bytes, ...]
Entries = Iterator[tuple[TarEntry, "Iterable[memoryview]"]]
Named = tuple[list[Parts], "Node"]
"""An inode and its names, sorted: those that have to be written, behind one that is there already, if any."""


def changed_entries(layers: Sequence[Layer], first: int, limits: Limits = DEFAULT_LIMITS) -> Entries:
    """The entries, with content, that make the tree of all ``layers`` of the tree of those before number ``first``.

    First the root if it changed, then whiteouts, then directories, links, devices and empty files, sorted; then the
    files in the order of the layers. An inode's further names follow it as hard links. Each content is read before
    the next entry; everything is proved when the iteration has ended.

    Raises :class:`ociworks.errors.LayerError`, :class:`ociworks.errors.ContentError` and
    :class:`ociworks.errors.LimitExceeded`.
    """
    tree = MergedTree(limits)
    add_layers(tree, layers[:first], 0, limits)
    below = {parts: (node, node.entry) for parts, node in names_of(tree.root)}
    add_layers(tree, layers[first:], first, limits)
    above = dict(names_of(tree.root))
    if tree.root.layer >= first:
        yield tree.root.entry, ()
    for parts in _gone(below, above):
        yield _whiteout(parts), ()
    changed = {parts for parts, node in above.items() if below.get(parts) != (node, node.entry)}
    files: dict[int, dict[int, Named]] = {}
    for names, node in _inodes(above, changed):
        if node.entry.size and names[0] in changed:
            files.setdefault(node.layer, {})[node.position] = names, node
        else:
            yield from _written(names, node, changed, ())
    for number in sorted(files):
        yield from _contents(layers[number], files[number], changed, limits)


def _gone(below: Mapping[Parts, object], above: Mapping[Parts, Node]) -> Iterator[Parts]:
    """What is no more, without what is in it, and without what was in a directory that is none any more."""
    for parts in below:
        parent = above.get(parts[:-1])
        if parts not in above and (len(parts) == 1 or (parent is not None and parent.is_directory)):
            yield parts


def _inodes(above: Mapping[Parts, Node], changed: set[Parts]) -> Iterator[Named]:
    """The inodes of which a name has to be written, in the order of those names.

    An inode that the layers below have under a name that stays begins with that one: it is only linked to.
    """
    names: dict[Node, list[Parts]] = {}
    for parts in above:
        if parts in changed:
            names.setdefault(above[parts], []).append(parts)
    for parts, node in above.items():
        if parts not in changed and node in names and names[node][0] in changed:
            names[node].insert(0, parts)
    yield from ((found, node) for node, found in names.items())


def _contents(layer: Layer, wanted: Mapping[int, Named], changed: set[Parts], limits: Limits) -> Entries:
    with open_archive(layer, limits) as archive:
        for position, _ in enumerate(archive):
            if position in wanted:
                names, node = wanted[position]
                yield from _written(names, node, changed, archive.content())


def _written(names: list[Parts], node: Node, changed: set[Parts], content: Iterable[memoryview]) -> Entries:
    """The inode under its first name, unless that is there already, and links for the others."""
    first, *others = names
    if first in changed:
        yield node.entry._replace(parts=first), content
    target = b"/".join(first)
    for parts in others:
        link = node.entry._replace(parts=parts, type="hardlink", size=0, target=target, xattrs=NO_XATTRS)
        yield link, ()


def _whiteout(parts: Parts) -> TarEntry:
    return TarEntry((*parts[:-1], PREFIX + parts[-1]), "file", 0o644, 0, 0, 0, 0, b"", (0, 0), NO_XATTRS)
