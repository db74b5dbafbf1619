"""The tree that an image's layers come to, as an index in memory: entries, no content.

The rules are those of unpacking (``_unpack.extractor`` and ``_unpack.removal``; tests compare the two): the last entry
of a name wins, a directory is described anew and keeps what is in it, parents may be links and are resolved inside the
root, missing ones are made (0755, root's, time 0), a whiteout means the lower layers only. One node is one inode: a
hard link is a second name of a node, so what a link to a shadowed file leads to is still there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ociworks.errors import LimitExceeded, TarError, quote
from ociworks.image._archives import open_archive
from ociworks.image._parallel import each
from ociworks.image.tar.entry import NO_XATTRS, TarEntry
from ociworks.image.tar.limits import DEFAULT_LIMITS
from ociworks.image.tar.whiteout import PREFIX, classify, whiteout_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ociworks.image.tar.limits import Limits
    from ociworks.image.types import Layer

__all__ = ["MergedTree", "Node", "add_layers", "merge", "names_of"]

Parts = tuple[bytes, ...]

_MAX_LINKS: Final = 40
_MADE: Final = -1
_BATCH: Final = 1024
_MAX_READERS: Final = 4


class Node:
    """One inode: what its entry says, where its content is, and what is in it when it is a directory."""

    __slots__ = ("children", "entry", "layer", "position")

    def __init__(self, entry: TarEntry, layer: int, position: int) -> None:
        self.entry = entry
        """Without its name: a node may have several."""
        self.layer = layer
        """The layer that described it, base first; -1 for directories that none did."""
        self.position = position
        """The number of its entry in that layer's archive."""
        self.children: dict[bytes, Node] = {}

    @property
    def is_directory(self) -> bool:
        """Whether it can have children."""
        return self.entry.type == "directory"


class _State:
    """What the current layer did in one directory."""

    __slots__ = ("cleared", "followed", "mentioned", "upper")

    def __init__(self) -> None:
        self.cleared = False
        self.mentioned = False
        self.upper: set[bytes] = set()
        self.followed: set[bytes] = set()


def _made_directory() -> TarEntry:
    return TarEntry((), "directory", 0o755, 0, 0, 0, 0, b"", (0, 0), NO_XATTRS)


class MergedTree:
    """The index. :meth:`begin_layer` and :meth:`apply` build it; afterwards it is only looked at."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.root = Node(_made_directory(), _MADE, 0)
        self._limits = limits
        self._entries = 0
        self.begin_layer(_MADE)

    def begin_layer(self, number: int) -> None:
        """What is applied next belongs to layer ``number``."""
        self._layer = number
        self._states: dict[Node, _State] = {self.root: _State()}
        self._last: tuple[Parts, Node] | None = None

    def apply(self, entry: TarEntry, position: int) -> None:
        """Apply one entry. Raises TarError where unpacking would, LimitExceeded."""
        self._count()
        kind = classify(entry)
        if kind == "ignored":
            return
        if not entry.parts:
            self._describe_root(entry, position)
            return
        parent = self._parent(entry.parts[:-1], entry)
        name = entry.parts[-1]
        if kind == "whiteout":
            self._remove_lower(parent, whiteout_target(name), entry)
        elif kind == "opaque":
            self._clear_lower(parent, entry)
        else:
            self._create(parent, name, entry, position)

    def find(self, parts: Parts, *, follow: bool = True) -> tuple[Parts, Node] | None:
        """The node at ``parts`` and its canonical name; links above it are followed, and it itself if ``follow``.

        As a process would find it whose root this is. None when there is none, or links go round in circles.
        """
        names: list[bytes] = []
        path = [self.root]
        left = list(reversed(parts))
        links = 0
        while left:
            name = left.pop()
            if not path[-1].is_directory:
                return None
            if name == b"..":
                del path[max(1, len(path) - 1) :], names[-1:]
                continue
            child = path[-1].children.get(name)
            if child is None:
                return None
            if child.entry.type != "symlink" or not (left or follow):
                path.append(child)
                names.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if child.entry.target.startswith(b"/"):
                del path[1:], names[:]
            left.extend(part for part in reversed(child.entry.target.split(b"/")) if part not in (b"", b"."))
        return tuple(names), path[-1]

    # --- building -----------------------------------------------------------------------------------------

    def check_count(self, more: int) -> None:
        """Raise LimitExceeded when ``more`` entries would be too many."""
        if self._entries + more > self._limits.entries_per_image:
            raise LimitExceeded("entries of an image", "entries_per_image", self._limits.entries_per_image)

    def _count(self) -> None:
        self.check_count(1)
        self._entries += 1

    def _describe_root(self, entry: TarEntry, position: int) -> None:
        if entry.type != "directory":
            raise TarError(f"the root of the file system as a {entry.type}", quote(entry.path))
        self._describe(self.root, entry, position)

    def _describe(self, node: Node, entry: TarEntry, position: int) -> None:
        node.entry, node.layer, node.position = entry._replace(parts=()), self._layer, position

    def _parent(self, parts: Parts, entry: TarEntry) -> Node:
        """The directory that an entry is in; missing ones are made."""
        if self._last is not None and self._last[0] == parts:
            return self._last[1]
        here, names = self.root, Parts()
        for name in parts:
            names, here = self._step(names, here, name, entry)
        self._state(here).mentioned = True
        self._last = parts, here
        return here

    def _step(self, names: Parts, here: Node, name: bytes, entry: TarEntry) -> tuple[Parts, Node]:
        """From a directory to one in it, or to where a link in it leads; what a link leads to is never made."""
        names = (*names, name)
        child = here.children.get(name) or self._make(names, here)
        if child.entry.type == "symlink":
            self._state(here).followed.add(name)
            found = self.find(names)
            if found is None:
                raise TarError("a link among its parents leads nowhere", quote(entry.path))
            names, child = found
            self._visit(names)
        if not child.is_directory:
            raise TarError("a parent is not a directory", quote(entry.path))
        self._state(child)
        return names, child

    def _visit(self, names: Parts) -> None:
        for node in self._path(names[:-1]):
            self._state(node)

    def _make(self, names: Parts, here: Node) -> Node:
        self._count()
        if len(names) > self._limits.depth:
            raise LimitExceeded(f"components of {quote(b'/'.join(names))}", "depth", self._limits.depth)
        child = here.children[names[-1]] = Node(_made_directory(), _MADE, 0)
        self._state(here).upper.add(names[-1])
        return child

    def _state(self, node: Node) -> _State:
        state = self._states.get(node)
        if state is None:
            state = self._states[node] = _State()
        return state

    def _create(self, parent: Node, name: bytes, entry: TarEntry, position: int) -> None:
        existing = parent.children.get(name)
        if entry.type == "directory" and existing is not None and existing.is_directory:
            self._describe(existing, entry, position)
        else:
            node = self._new(parent, name, entry, position)
            self._forget(existing)
            existing = parent.children[name] = node
        if existing.is_directory:
            self._state(existing)
        self._state(parent).upper.add(name)

    def _new(self, parent: Node, name: bytes, entry: TarEntry, position: int) -> Node:
        if entry.type == "hardlink":
            return self._linked(parent, name, entry)
        if entry.type == "char" and entry.device == (0, 0):
            raise TarError("character device 0:0 is a whiteout of overlayfs", quote(entry.path))
        return Node(entry._replace(parts=()), self._layer, position)

    def _linked(self, parent: Node, name: bytes, entry: TarEntry) -> Node:
        *above, last = entry.target.split(b"/")
        if any(part.startswith(PREFIX) for part in (*above, last)):
            raise TarError(f"a hard link to the whiteout {quote(entry.target)}", quote(entry.path))
        found = self.find(tuple(above))
        target = found[1].children.get(last) if found else None
        if found is None or target is None:
            raise TarError(f"its target {quote(entry.target)} does not exist", quote(entry.path))
        if found[1] is parent and last == name:
            raise TarError("a hard link to itself", quote(entry.path))
        if target.entry.type not in ("file", "symlink"):
            raise TarError(f"its target {quote(entry.target)} is neither file nor symlink", quote(entry.path))
        if parent.children.get(name) in self._path(found[0]):
            raise TarError("a hard link in place of the directory that its target is in", quote(entry.path))
        return target

    def _path(self, names: Parts) -> list[Node]:
        """The directories along a canonical name, without the root."""
        path, here = [], self.root
        for name in names:
            here = here.children[name]
            path.append(here)
        return path

    def _forget(self, removed: Node | None) -> None:
        """What was remembered about places may lead through what goes away."""
        if removed is not None and removed.entry.type in ("directory", "symlink"):
            self._last = None

    def _remove_lower(self, parent: Node, name: bytes, entry: TarEntry) -> None:
        child = parent.children.get(name)
        if child is None:
            return
        upper = self._state(parent).upper
        if child.is_directory and child in self._states:
            self._clear_lower(child, entry)
            self._settle(parent, name, child)
        elif name not in upper:
            self._delete(parent, name, child, entry)

    def _clear_lower(self, top: Node, entry: TarEntry) -> None:
        order: list[tuple[Node, bytes, Node]] = []
        stack = [top]
        while stack:
            node = stack.pop()
            state = self._state(node)
            if state.cleared:
                continue
            state.cleared = True
            for name, child in list(node.children.items()):
                if child.is_directory and child in self._states:
                    order.append((node, name, child))
                    stack.append(child)
                elif name not in state.upper:
                    self._delete(node, name, child, entry)
        for parent, name, node in reversed(order):
            self._settle(parent, name, node)

    def _settle(self, parent: Node, name: bytes, node: Node) -> None:
        """A cleared directory that no entry describes: it goes, unless this layer has something in it."""
        upper = self._state(parent).upper
        if name in upper:
            return
        if self._state(node).mentioned or node.children:
            node.entry, node.layer = _made_directory(), _MADE
            upper.add(name)
        else:
            self._forget(node)
            del parent.children[name]

    def _delete(self, parent: Node, name: bytes, child: Node, entry: TarEntry) -> None:
        if child.entry.type == "symlink" and name in self._state(parent).followed:
            raise TarError("a whiteout of a link that the same layer writes through", quote(entry.path))
        self._forget(child)
        del parent.children[name]


def merge(layers: Iterable[Layer], limits: Limits = DEFAULT_LIMITS, *, diff_ids: bool = True) -> MergedTree:
    """Read all layers, base first and each verified, into an index. Raises what reading and unpacking them would.

    ``diff_ids`` may be false for layers that were unpacked before: digests and sizes are enough to know them again.
    """
    tree = MergedTree(limits)
    add_layers(tree, layers, 0, limits, diff_ids=diff_ids)
    return tree


def add_layers(
    tree: MergedTree,
    layers: Iterable[Layer],
    first: int,
    limits: Limits = DEFAULT_LIMITS,
    *,
    diff_ids: bool = True,
) -> None:
    """Read more layers into an index, several at a time; the first of them gets the number ``first``.

    Raises as :func:`merge` does.
    """
    found: dict[int, list[TarEntry]] = {}

    def read(item: tuple[int, Layer], checkpoint: Callable[[], None]) -> None:
        number, layer = item
        entries = found[number] = []
        with open_archive(layer, limits, diff_id=diff_ids) as archive:
            for entry in archive:
                entries.append(entry)
                if len(entries) % _BATCH == 0:
                    checkpoint()
                    tree.check_count(sum(map(len, list(found.values()))))

    each(enumerate(layers, first), read, min(_MAX_READERS, os.cpu_count() or 1))
    for number in sorted(found):
        tree.begin_layer(number)
        for position, entry in enumerate(found.pop(number)):
            tree.apply(entry, position)


def names_of(top: Node) -> Iterator[tuple[Parts, Node]]:
    """Every name below ``top``, sorted, a directory before what is in it."""
    stack: list[tuple[Parts, Node]] = [((), top)]
    while stack:
        parts, node = stack.pop()
        if parts:
            yield parts, node
        stack.extend(((*parts, name), node.children[name]) for name in sorted(node.children, reverse=True))
