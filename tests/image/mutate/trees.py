"""Images of random layers, and the trees that they unpack to, in full."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

from ociworks import testing
from ociworks.errors import TarError
from ociworks.image._merged import MergedTree
from ociworks.image.types import Image
from tests.image.archives import apply, entry, file, hardlink, layer, read, symlink

__all__ = ["IMAGES", "Tree", "read_tree", "tree_of"]

Tree = dict[str, tuple[object, ...]]

_PATHS = st.sampled_from(
    [b"a", b"b", b"c", b"a/a", b"a/b", b"b/a", b"a/b/c", b"b/a/c"]
)  # few, so that they meet
_TIMES = st.sampled_from([0, 1, 1_700_000_000, 2_000_000_000])
_ENTRIES = st.one_of(
    st.builds(
        lambda name, mode, mtime: entry(name, b"5", mode=mode, mtime=mtime),
        _PATHS,
        st.sampled_from([0o755, 0o700, 0o1777]),
        _TIMES,
    ),
    st.builds(
        lambda name, content, mtime: entry(name, b"0", content, mtime=mtime),
        _PATHS,
        st.sampled_from([b"", b"1", b"22"]),
        _TIMES,
    ),
    st.builds(symlink, _PATHS, st.sampled_from([b"a", b"b/c", b"../b", b"/c", b"nowhere"])),
    st.builds(hardlink, _PATHS, _PATHS),
    st.builds(lambda name: entry(name, b"6"), _PATHS),
    st.builds(lambda name: file(_hidden(name)), _PATHS),
    st.builds(lambda name: file(name + b"/.wh..wh..opq"), _PATHS),
)


def _hidden(name: bytes) -> bytes:
    above, slash, last = name.rpartition(b"/")
    return above + slash + b".wh." + last


def _sound(drawn: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Archives of the entries that can be unpacked on what is there; links to nowhere and the like are left out."""
    archives: list[bytes] = []
    for entries in drawn:
        kept: list[bytes] = []
        for each in entries:
            if _merges([*archives, layer(*kept, each)]):
                kept.append(each)
        archives.append(layer(*kept))
    return archives


def _merges(archives: Sequence[bytes]) -> bool:
    tree = MergedTree()
    try:
        for number, archive in enumerate(archives):
            tree.begin_layer(number)
            for position, (found, _) in enumerate(read(archive)):
                tree.apply(found, position)
    except TarError:
        return False
    return True


IMAGES = st.lists(st.lists(_ENTRIES, min_size=1, max_size=7), min_size=1, max_size=4).map(
    lambda drawn: testing.image_from_layers(_sound(drawn))
)
"""Images of one to four layers: files, directories, links of both kinds, pipes, whiteouts, opaque directories."""


def tree_of(img: Image) -> Tree:
    """What the image unpacks to: type, mode, owner, size, content, links (which names are one file) and times."""
    with tempfile.TemporaryDirectory() as folder:
        archives = []
        for each in img.layers:
            with each.uncompressed() as stream:
                archives.append(stream.read())
        apply(Path(folder), *archives)
        return read_tree(Path(folder))


def read_tree(root: Path) -> Tree:
    """Every name below a directory, in full."""
    inodes: dict[int, str] = {}
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        name = str(path.relative_to(root))
        same = inodes.setdefault(info.st_ino, name)
        content: object = None
        if stat.S_ISREG(info.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        found[name] = (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, same, content)
    return found
