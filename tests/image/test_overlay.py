"""Layers in overlay form: what the kernel shows of them is the tree that merging them gives, in every respect."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ociworks.errors import LayerError, TarError
from tests.image.archives import (
    apply,
    apply_overlay,
    directory,
    entry,
    file,
    hardlink,
    layer,
    listing,
    symlink,
)
from tests.image.trees import Seen, tree


@contextmanager
def mounted(places: list[Path], folder: Path, *, options: str = "") -> Iterator[Path]:
    """A read-only overlay of the directories, base first; the test is skipped where there is no overlayfs."""
    empty, at = folder / "empty", folder / "at"
    empty.mkdir()
    at.mkdir()
    lower = ":".join(map(str, [*reversed(places), empty]))
    command = ["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}{options}", str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount an overlay: {done.stderr}")
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def both(*layers: bytes) -> tuple[Seen | None, Seen | None]:
    """The merged tree, and what the kernel shows of the overlay form; None when a layer was refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "merged").mkdir(mode=0o755)
        (folder / "merged").chmod(0o755)
        merged: Seen | None = None
        shown: Seen | None = None
        try:
            apply(folder / "merged", *layers)
            merged = tree(folder / "merged", top=True, links=False)
        except TarError:
            pass
        try:
            places = apply_overlay(folder, *layers)
        except TarError:
            return merged, None
        with mounted(places, folder) as at:
            shown = tree(at, top=True, links=False)
    for seen in (merged, shown):
        if seen is not None:
            seen["."] = (
                *seen["."][:4],
                None,
                *seen["."][5:],
            )  # nobody described it: its time is of the mkdir
    return merged, shown


LOWER = layer(
    directory(b"usr/lib", mode=0o750),
    symlink(b"lib", b"usr/lib"),
    symlink(b"abs", b"/usr"),
    file(b"usr/lib/libc", b"libc"),
    hardlink(b"usr/lib/alias", b"usr/lib/libc"),
    entry(b"d", b"5", mode=0o1777, mtime=77),
    file(b"d/sub/x", b"x"),
    file(b"d/y", b"y", mode=0o600),
    symlink(b"d/link", b"y"),
    entry(b"pipe", b"6"),
)
CASES = {
    "through a link": [file(b"lib/new", b"new")],
    "through an absolute link": [file(b"abs/lib/new", b"new"), directory(b"abs/share")],
    "an implicit parent": [file(b"d/sub/z")],
    "a parent described": [directory(b"d", mode=0o700), file(b"d/sub/z")],
    "a parent described afterwards": [file(b"d/sub/z"), directory(b"d/sub", mode=0o711)],
    "a hard link to a lower file": [hardlink(b"new", b"usr/lib/libc")],
    "a hard link through a link": [hardlink(b"lib/new", b"lib/libc")],
    "a hard link to a lower symlink": [hardlink(b"new", b"d/link")],
    "a hard link, its target gone afterwards": [hardlink(b"new", b"d/y"), file(b"d/.wh.y")],
    "a hard link, the directory gone afterwards": [hardlink(b"new", b"d/sub/x"), file(b".wh.d")],
    "a hard link to what is gone": [file(b"d/.wh.y"), hardlink(b"new", b"d/y")],
    "a hard link to a directory": [hardlink(b"new", b"d/sub")],
    "a hard link to nothing": [hardlink(b"new", b"d/nothing")],
    "a hard link to a pipe": [hardlink(b"new", b"pipe")],
    "a hard link, then the target anew": [hardlink(b"new", b"d/y"), file(b"d/y", b"2")],
    "whiteouts": [file(b"d/.wh.y"), file(b".wh.lib"), file(b".wh.missing")],
    "a whiteout of a directory": [file(b".wh.d")],
    "a whiteout, then anew": [file(b".wh.d"), file(b"d/sub/z")],
    "anew, then a whiteout": [file(b"d/sub/z"), file(b".wh.d")],
    "a whiteout, then described": [file(b".wh.d"), directory(b"d")],
    "described, then a whiteout": [directory(b"d"), file(b".wh.d")],
    "opaque": [directory(b"d"), file(b"d/.wh..wh..opq"), file(b"d/new")],
    "opaque afterwards": [file(b"d/sub/new"), file(b"d/.wh..wh..opq")],
    "opaque through a link": [file(b"lib/.wh..wh..opq"), file(b"lib/new")],
    "an opaque root": [file(b".wh..wh..opq"), file(b"new"), directory(b"d")],
    "an opaque root afterwards": [file(b"new"), file(b"d/sub/z"), file(b".wh..wh..opq")],
    "a file for a directory": [file(b"d", b"file")],
    "a directory for a file": [directory(b"d/y"), file(b"d/y/z")],
    "a directory for a link": [directory(b"lib"), file(b"lib/x")],
    "file, then directory": [file(b"d", b"f"), directory(b"d")],
    "link, then directory": [symlink(b"d", b"usr"), directory(b"d"), file(b"d/new")],
    "directory, file, directory": [directory(b"d"), file(b"d"), directory(b"d"), file(b"d/sub/new")],
    "below a file": [file(b"d/y/z")],
    "below a whiteout": [file(b"d/.wh.sub"), file(b"d/sub/z"), file(b"d/sub/.wh.z")],
    "a whiteout of a followed link": [file(b"lib/x"), file(b".wh.lib")],
    "opaque above a followed link": [symlink(b"d/l", b"sub"), file(b"d/l/x"), file(b"d/.wh..wh..opq")],
    "a loop": [symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")],
    "out of the root": [symlink(b"a", b"../../../usr"), file(b"a/x")],
    "a dangling link": [symlink(b"a", b"nowhere"), file(b"a/x")],
    "a link to what is gone": [symlink(b"a", b"d/sub"), file(b".wh.d"), file(b"a/x")],
    "a link into an opaque directory": [symlink(b"a", b"d/sub"), file(b"d/.wh..wh..opq"), file(b"a/x")],
    "a link through a new file": [symlink(b"a", b"d/sub"), file(b"d"), file(b"a/x")],
    "the root described": [directory(b".", mode=0o711)],
    "whiteouts again and again": [file(b".wh.d"), file(b"d/.wh..wh..opq"), file(b"d/x"), file(b".wh.d")] * 3,
}


@pytest.mark.root
@pytest.mark.parametrize("items", CASES.values(), ids=CASES.keys())
def test_the_kernel_shows_the_merged_tree(items: list[bytes]) -> None:
    merged, shown = both(LOWER, layer(*items))
    assert shown == merged
    merged, shown = both(
        LOWER, layer(*items), layer(file(b"d/again"), file(b"usr/lib/again"), file(b".wh.new"))
    )
    assert shown == merged


Kind = Literal["file", "dir", "link", "hardlink", "whiteout", "opaque"]


class Item(NamedTuple):
    kind: Kind
    path: tuple[bytes, ...]
    other: tuple[bytes, ...]
    mode: int

    def encoded(self) -> bytes:
        path, other = b"/".join(self.path), b"/".join(self.other)
        match self.kind:
            case "file":
                return file(path, other, mode=self.mode)
            case "dir":
                return directory(path, mode=self.mode)
            case "link":
                return symlink(path, b"/" + other)
            case "hardlink":
                return hardlink(path, other)
            case "whiteout":
                return file(b"/".join((*self.path[:-1], b".wh." + self.path[-1])))
            case "opaque":
                return file(path + b"/.wh..wh..opq")


PATHS = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3).map(tuple)
KINDS = st.sampled_from(["file", "file", "dir", "link", "hardlink", "whiteout", "opaque"])
ITEMS = st.builds(Item, KINDS, PATHS, PATHS, st.sampled_from([0o644, 0o755, 0o4711]))
LAYERS = st.lists(st.lists(ITEMS, min_size=1, max_size=7), min_size=2, max_size=3)


@pytest.mark.root
@settings(max_examples=250)
@example(
    [
        [Item("file", (b"a", b"b"), (b"x",), 0o644)],
        [Item("whiteout", (b"a",), (), 0), Item("opaque", (b"a",), (), 0)],
    ]
)
@given(LAYERS)
def test_any_layers(layers: list[list[Item]]) -> None:
    """Refused layers are dropped from both sides, but only when both refuse them."""
    archives: list[bytes] = []
    for items in layers:
        archives.append(layer(*(item.encoded() for item in items)))
        merged, shown = both(*archives)
        assert shown == merged
        if merged is None:
            archives.pop()


@pytest.mark.root
def test_hard_links_stay_together(tmp_path: Path) -> None:
    """Both names of a link to a lower file are in the layer, and are one file there."""
    places = apply_overlay(tmp_path, LOWER, layer(hardlink(b"n/new", b"usr/lib/libc")))
    upper = places[1]
    assert listing(upper) == {
        "n": "dir",
        "n/new": b"libc",
        "usr": "dir",
        "usr/lib": "dir",
        "usr/lib/libc": b"libc",
    }
    assert (upper / "n/new").samefile(upper / "usr/lib/libc")
    assert (places[0] / "usr/lib/libc").stat().st_nlink == 2, "the layer below is as it was"


@pytest.mark.root
def test_the_form(tmp_path: Path) -> None:
    places = apply_overlay(
        tmp_path,
        LOWER,
        layer(file(b".wh.lib"), file(b".wh.missing"), file(b"d/.wh..wh..opq"), file(b"abs/x")),
    )
    upper = places[1]
    assert set(listing(upper)) == {"lib", "d", "usr", "usr/x"}
    info = (upper / "lib").lstat()
    assert (stat.S_IFMT(info.st_mode), info.st_rdev) == (stat.S_IFCHR, 0)
    assert os.getxattr(upper / "d", "trusted.overlay.opaque") == b"y"


@pytest.mark.root
def test_what_is_taken_along_is_whole(tmp_path: Path) -> None:
    capability = b"\x01\0\0\x02" + b"\0\x04\0\0" + bytes(12)
    lower = layer(
        entry(b"d", b"5", mode=0o2750, uid=7, mtime=99, records={b"SCHILY.xattr.user.k": b"v"}),
        entry(
            b"d/tool",
            content=b"x" * 100_000,
            mode=0o4755,
            uid=8,
            records={b"SCHILY.xattr.security.capability": capability, b"mtime": b"5.000000007"},
        ),
    )
    places = apply_overlay(tmp_path, lower, layer(hardlink(b"d/new", b"d/tool")))
    assert tree(places[1], links=False)["d"] == tree(places[0], links=False)["d"]
    assert tree(places[1], links=False)["d/tool"] == tree(places[0], links=False)["d/tool"]


def test_un_10_attributes_of_overlayfs_are_ours_alone(tmp_path: Path) -> None:
    for name in (b"trusted.overlay.opaque", b"user.overlay.opaque"):
        with pytest.raises(TarError, match="overlay"):
            apply_overlay(tmp_path, layer(entry(b"d", b"5", records={b"SCHILY.xattr." + name: b"y"})))
        (tmp_path / "0").rmdir()


def test_un_07_whiteouts_in_disguise(tmp_path: Path) -> None:
    with pytest.raises(TarError, match="0:0"):
        apply_overlay(tmp_path, layer(entry(b"x", b"3", device=(0, 0))))


def test_un_04_the_layers_below_are_not_followed_outside(tmp_path: Path) -> None:
    (tmp_path / "canary").mkdir()
    lower = layer(symlink(b"out", b"../canary"), symlink(b"abs", os.fsencode(tmp_path / "canary")))
    for name in (b"out", b"abs"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        with pytest.raises(LayerError):
            apply_overlay(folder, lower, layer(file(name + b"/x")))
    assert os.listdir(tmp_path / "canary") == []


IN_A_NAMESPACE = """
mount -t overlay overlay -o "ro,userxattr,lowerdir=$1/1:$1/0" "$1/at" || exit 77
cd "$1/at" && find . | sort && cat d/new
"""


@pytest.mark.userns
def test_for_a_user_namespace(tmp_path: Path) -> None:
    upper = layer(file(b"d/.wh..wh..opq"), file(b"d/new", b"new"), file(b".wh.lib"), file(b"abs/x"))
    apply_overlay(tmp_path, LOWER, upper, attributes="user", rootless=True)
    (tmp_path / "at").mkdir()
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        IN_A_NAMESPACE,
        "sh",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no overlay in a user namespace: {done.stderr}")
    shown = done.stdout.splitlines()
    assert shown[-1] == "new"
    assert {"./d/new", "./usr/x", "./usr/lib/libc"} <= set(shown)
    assert not {"./lib", "./d/y"} & set(shown)
