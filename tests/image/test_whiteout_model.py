"""Layers against a small reference model: what is left must be what the image specification says, in any order.

The model is a few lines and knows no file system: a layer is applied by first taking away what its whiteouts name
from the lower tree, then adding its own entries one after the other.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.image.archives import apply, directory, file, layer

Kind = Literal["file", "dir", "whiteout", "opaque"]
Tree = dict[tuple[str, ...], bytes | None]


class Item(NamedTuple):
    kind: Kind
    path: tuple[str, ...]
    content: bytes

    def encoded(self) -> bytes:
        *above, name = (part.encode() for part in self.path)
        if self.kind == "dir":
            return directory(b"/".join([*above, name]))
        if self.kind == "file":
            return file(b"/".join([*above, name]), self.content)
        if self.kind == "whiteout":
            return file(b"/".join([*above, b".wh." + name]))
        return file(b"/".join([*above, name, b".wh..wh..opq"]))


def beneath(path: tuple[str, ...], top: tuple[str, ...]) -> bool:
    return len(path) > len(top) and path[: len(top)] == top


def parents(path: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [path[:end] for end in range(1, len(path))]


def model(lower: Tree, items: list[Item]) -> Tree:
    tree = dict(lower)
    for item in items:
        if item.kind in ("whiteout", "opaque"):
            own = item.kind == "whiteout"
            tree = {
                path: kept
                for path, kept in tree.items()
                if not (beneath(path, item.path) or (own and path == item.path))
            }
    for item in items:
        if item.kind == "whiteout":
            made = parents(item.path)
        elif item.kind == "opaque":
            made = [*parents(item.path), item.path]
        else:
            made = parents(item.path)
            if item.kind == "file":
                tree = {path: kept for path, kept in tree.items() if not beneath(path, item.path)}
            tree[item.path] = item.content if item.kind == "file" else None
        for parent in made:
            tree[parent] = None
    return tree


def consistent(items: list[Item]) -> bool:
    """No path of the layer is both a file and a directory: what that means depends on the order, as it should."""
    files = {item.path for item in items if item.kind == "file"}
    directories = {parent for item in items for parent in parents(item.path)}
    directories |= {item.path for item in items if item.kind in ("dir", "opaque")}
    return not files & directories


NAMES = st.sampled_from("abc")
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
ITEMS = st.builds(
    Item, st.sampled_from(["file", "dir", "whiteout", "opaque"]), PATHS, st.sampled_from([b"1", b"2"])
)
LAYER = st.lists(ITEMS, max_size=8, unique_by=lambda item: (item.kind, item.path)).filter(consistent)


def on_disk(root: Path) -> Tree:
    return {
        path.relative_to(root).parts: None if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }


def blocked(lower: Tree, items: list[Item]) -> bool:
    """A file of a lower layer stands where this layer needs a parent, which is an error and not modelled."""
    needed = {parent for item in items for parent in parents(item.path)}
    needed |= {item.path for item in items if item.kind == "opaque"}
    return any(lower.get(path) is not None for path in needed)


@settings(max_examples=400)
@given(st.lists(LAYER, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_un_12_the_tree_is_the_models(layers: list[list[Item]], order: object) -> None:
    tree: Tree = {}
    with tempfile.TemporaryDirectory() as folder:
        for items in layers:
            if blocked(tree, items):
                return
            tree = model(tree, items)
            apply(Path(folder), layer(*(item.encoded() for item in items)))
            assert on_disk(Path(folder)) == tree


@settings(max_examples=200)
@example(
    [Item("dir", ("a", "b"), b"")],
    (
        [Item("whiteout", ("a",), b""), Item("opaque", ("a", "b"), b"")],
        [Item("opaque", ("a", "b"), b""), Item("whiteout", ("a",), b"")],
    ),
)
@given(LAYER, LAYER.flatmap(lambda items: st.tuples(st.just(items), st.permutations(items))))
def test_un_12_order_does_not_matter(lower: list[Item], upper: tuple[list[Item], list[Item]]) -> None:
    if blocked(model({}, lower), upper[0]):
        return
    found = []
    for items in upper:
        with tempfile.TemporaryDirectory() as folder:
            apply(
                Path(folder),
                layer(*(item.encoded() for item in lower)),
                layer(*(item.encoded() for item in items)),
            )
            found.append((on_disk(Path(folder)), _modes(Path(folder))))
    assert found[0] == found[1]


def _modes(root: Path) -> dict[Path, tuple[int, int]]:
    return {
        path.relative_to(root): (path.stat().st_mode, path.stat().st_mtime_ns) for path in root.rglob("*")
    }
