"""A root filesystem against the image that it was unpacked from: which names a layer must describe or delete.

=====================  ================================================================================
on disk                is
=====================  ================================================================================
not in the image       added, with everything below it
other kind             added, in place of what was there
other metadata         changed: mode, owner, size, time, target, device number, attributes
same metadata          unchanged; content is read only when that is asked for
other hard links       all names of the inode are described again, the first of them with its content
missing                deleted, unless it is a device that unpacking leaves out, or masked
=====================  ================================================================================

Time stands for content, as it does for rsync: whoever writes to a file changes its time.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ociworks.image._merged import names_of
from ociworks.image._pack.owners import Owners
from ociworks.image._pack.tree import KINDS, Found, Parts, readlink, walk, xattrs_of
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociworks.image._merged import MergedTree, Node
    from ociworks.image.tar.entry import TarEntry

__all__ = ["Comparison", "Rules"]

_LINKED: Final = ("file", "symlink")
Inode = tuple[int, int]


@frozen(kw_only=True)
class Rules:
    """What counts as a difference."""

    owners: Owners
    devices: bool
    """Whether devices were unpacked, so that a missing one was deleted."""
    masked: tuple[Parts, ...] = ()
    limits: Limits = DEFAULT_LIMITS


class Comparison:
    """Compares the tree at ``rootfd`` with an index; the results are sets of names."""

    def __init__(self, rootfd: int, tree: MergedTree, rules: Rules) -> None:
        self.described: set[Parts] = set()
        """Names that the layer must describe."""
        self.deleted: set[Parts] = set()
        self.same: dict[Parts, Node] = {}
        """Files with content that look unchanged."""
        self._rules = rules
        self._tree = tree
        self._directories: dict[Parts, Node] = {(): tree.root}
        self._missing: dict[Parts, set[bytes]] = {(): set(tree.root.children)}
        self._groups: dict[Inode, list[tuple[Parts, Node | None]]] = {}
        self._claimed: dict[Node, Inode] = {}
        self._several = _with_several_names(tree)
        self._compare_root(rootfd)
        for found in walk(rootfd, rules.limits):
            self._compare(found)
        self._compare_links()
        self._delete()

    def node(self, parts: Parts) -> Node | None:
        """What the image has at a name, links not followed."""
        found = self._tree.find(parts, follow=False)
        return found[1] if found and found[0] == parts else None

    def _masked(self, parts: Parts) -> bool:
        return any(parts[: len(mask)] == mask for mask in self._rules.masked)

    def _compare_root(self, rootfd: int) -> None:
        """The time of a root that no layer describes is the time at which it was made."""
        info, entry = os.fstat(rootfd), self._tree.root.entry
        same = stat.S_IMODE(info.st_mode) == entry.mode and self._same_owner(info, {}, entry)
        if not same or (self._tree.root.layer >= 0 and info.st_mtime_ns != entry.mtime_ns):
            self.described.add(())

    def _compare(self, found: Found) -> None:
        parts, above = found.parts, found.parts[:-1]
        parent = self._directories.get(above)
        node = parent.children.get(parts[-1]) if parent is not None else None
        if node is not None:
            self._missing[above].discard(parts[-1])
        if self._masked(parts):
            return
        if node is not None and node.is_directory and found.is_directory:
            self._directories[parts] = node
            self._missing[parts] = set(node.children)
        if node is None or not self._equal(found, node):
            self.described.add(parts)
        elif node.entry.type == "file" and node.entry.size:
            self.same[parts] = node
        self._note_links(found, node)

    def _note_links(self, found: Found, node: Node | None) -> None:
        """Remember names of one inode; an inode of the image that has become two is a difference."""
        if found.is_directory:
            return
        inode = found.info.st_dev, found.info.st_ino
        if found.info.st_nlink > 1:
            self._groups.setdefault(inode, []).append((found.parts, node))
        if node is not None and node in self._several and self._claimed.setdefault(node, inode) != inode:
            self.described.add(found.parts)

    def _compare_links(self) -> None:
        for group in self._groups.values():
            nodes = {node for _, node in group}
            names = [parts for parts, _ in group]
            if len(nodes) > 1 or not self.described.isdisjoint(names):
                self.described.update(names)

    def _delete(self) -> None:
        for above, names in self._missing.items():
            children = self._directories[above].children
            for name in names:
                parts = (*above, name)
                if not self._masked(parts) and not self._left_out(children[name]):
                    self.deleted.add(parts)

    def _left_out(self, node: Node) -> bool:
        return node.entry.type in ("char", "block") and not self._rules.devices

    def _equal(self, found: Found, node: Node) -> bool:
        entry, info = node.entry, found.info
        if KINDS.get(stat.S_IFMT(info.st_mode)) != entry.type or info.st_mtime_ns != entry.mtime_ns:
            return False
        if entry.type == "symlink":
            return self._same_owner(info, {}, entry) and readlink(found) == entry.target
        attributes = xattrs_of(found)
        return (
            _same_inode(info, entry)
            and self._same_owner(info, attributes, entry)
            and self._rules.owners.attributes(attributes) == self._rules.owners.attributes(entry.xattrs)
        )

    def _same_owner(self, info: os.stat_result, attributes: Mapping[bytes, bytes], entry: TarEntry) -> bool:
        return self._rules.owners.of(info, attributes) in (None, (entry.uid, entry.gid))


def _same_inode(info: os.stat_result, entry: TarEntry) -> bool:
    if entry.type == "file" and info.st_size != entry.size:
        return False
    if entry.type in ("char", "block") and (os.major(info.st_rdev), os.minor(info.st_rdev)) != entry.device:
        return False
    return stat.S_IMODE(info.st_mode) == entry.mode


def _with_several_names(tree: MergedTree) -> set[Node]:
    seen: set[Node] = set()
    several: set[Node] = set()
    for _, node in names_of(tree.root):
        if node in seen and node.entry.type in _LINKED:
            several.add(node)
        seen.add(node)
    return several
