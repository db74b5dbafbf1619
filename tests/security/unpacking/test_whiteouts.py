"""UN-11 … UN-14: what is taken away, what is repeated, and how much is too much."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from ociworks.errors import LayerError, LimitExceeded, TarError
from ociworks.image.tar import Limits
from tests.image.archives import apply, directory, entry, file, hardlink, header, layer, listing, symlink

LOWER = layer(file(b"keep", b"1"), file(b"etc/keep", b"2"))
KEPT = {"keep": b"1", "etc": "dir", "etc/keep": b"2"}


@pytest.mark.parametrize(
    "bad",
    [
        file(b".wh."),
        file(b".wh.."),
        file(b".wh..."),
        file(b".wh./"),
        file(b"etc/.wh."),
        file(b"etc/.wh.."),
        file(b"etc/.wh..."),
        file(b".wh./etc"),
        file(b".wh.x/etc"),
        file(b".wh..wh..opq/x"),
        file(b".wh..wh..opq/"),
        directory(b".wh.keep"),
        directory(b".wh..wh..opq/"),
        symlink(b".wh.keep", b"x"),
        hardlink(b".wh.keep", b"keep"),
        entry(b".wh.keep", b"3", device=(1, 3)),
        file(b".wh.keep", b"data"),
        file(b".wh..wh..opq", b"data"),
    ],
)
def test_un_11_illegal_whiteouts(root: Path, bad: bytes) -> None:
    with pytest.raises(TarError):
        apply(root, LOWER, layer(bad))
    assert listing(root) == KEPT


def test_un_11_aufs_leftovers_are_passed_by(root: Path) -> None:
    apply(
        root, LOWER, layer(file(b".wh..wh.aufs"), directory(b".wh..wh.plnk"), file(b".wh..wh.plnk/1.2", b"x"))
    )
    assert listing(root) == KEPT


def test_un_11_an_opaque_root_keeps_the_root(root: Path) -> None:
    before = root.stat().st_ino
    apply(root, LOWER, layer(file(b".wh..wh..opq"), file(b"new", b"3")))
    assert listing(root) == {"new": b"3"}
    assert root.stat().st_ino == before


@pytest.mark.parametrize("swap", [False, True])
def test_un_12_whiteouts_mean_lower_layers_in_any_order(root: Path, swap: bool) -> None:
    pair = [file(b"d/x", b"new"), file(b"d/.wh.x")]
    apply(root, layer(file(b"d/x", b"old"), file(b"d/y")), layer(*(reversed(pair) if swap else pair)))
    assert listing(root) == {"d": "dir", "d/x": b"new", "d/y": b""}


@pytest.mark.parametrize("swap", [False, True])
def test_un_12_opaque_directories_in_any_order(root: Path, swap: bool) -> None:
    pair = [file(b"d/s/new", b"new"), file(b"d/.wh..wh..opq")]
    apply(
        root,
        layer(file(b"d/s/old"), file(b"d/t/old"), directory(b"d/s", mode=0o700)),
        layer(*(reversed(pair) if swap else pair)),
    )
    assert listing(root) == {"d": "dir", "d/s": "dir", "d/s/new": b"new"}
    assert stat.S_IMODE((root / "d" / "s").stat().st_mode) == 0o755, "what the lower layer said is gone"


def test_un_12_opaque_where_there_is_no_directory(root: Path) -> None:
    with pytest.raises(TarError):
        apply(root, layer(file(b"f", b"1")), layer(file(b"f/.wh..wh..opq")))
    assert listing(root) == {"f": b"1"}


def test_un_12_whiteouts_through_links_stay_inside(root: Path) -> None:
    apply(
        root,
        layer(symlink(b"l", b"/etc"), symlink(b"out", b"../canary"), file(b"etc/x"), file(b"etc/y")),
        layer(file(b"l/.wh.x"), file(b".wh.out")),
    )
    assert listing(root) == {"l": "-> /etc", "etc": "dir", "etc/y": b""}


def test_un_12_deleting_links_not_what_they_show(root: Path) -> None:
    apply(
        root,
        layer(symlink(b"d/a", b"../../canary"), symlink(b"d/b", b"/"), file(b"d/c/e/f"), file(b"k")),
        layer(file(b".wh.d"), file(b".wh.missing")),
    )
    assert listing(root) == {"k": b""}


def test_un_12_a_whiteout_of_a_link_in_a_directory(root: Path) -> None:
    """Removing a link forgets every directory, but not the one that is being worked in."""
    lower = layer(symlink(b"d/e/l", b"x"), file(b"d/e/f"))
    apply(root, lower, layer(file(b"d/e/.wh.l"), file(b"d/e/.wh.f")))
    assert listing(root) == {"d": "dir", "d/e": "dir"}


def test_un_12_a_link_that_the_same_layer_writes_through(root: Path) -> None:
    with pytest.raises(TarError, match="writes through"):
        apply(root, layer(symlink(b"l", b"d"), directory(b"d")), layer(file(b"l/x"), file(b".wh.l")))


def test_un_12_many_whiteouts_are_cheap(root: Path) -> None:
    """Quadratic work would take minutes here."""
    names = [b"d/f%d" % number for number in range(3000)]
    again = [file(b".wh.d"), file(b"d/.wh..wh..opq")] * 3000
    apply(root, layer(file(b"d/old")), layer(*(file(name) for name in names), *again))
    assert len(list((root / "d").iterdir())) == 3000


def test_un_13_the_last_entry_wins(root: Path) -> None:
    apply(
        root,
        layer(
            directory(b"x"),
            symlink(b"x", b"../canary/file"),
            file(b"./x", b"f"),
            directory(b"x/"),
            file(b"x/y"),
        ),
    )
    assert listing(root) == {"x": "dir", "x/y": b""}


def test_un_13_aliases_keep_their_content(root: Path) -> None:
    apply(root, layer(file(b"f", b"1"), hardlink(b"alias", b"f"), file(b"f", b"2")))
    assert listing(root) == {"f": b"2", "alias": b"1"}


def test_un_13_a_file_replaces_a_full_directory(root: Path) -> None:
    apply(root, layer(file(b"d/a/b"), symlink(b"d/l", b"../../canary")), layer(file(b"d", b"file")))
    assert listing(root) == {"d": b"file"}


def test_un_13_many_repeats(root: Path) -> None:
    apply(root, layer(*(file(b"x", b"%d" % number) for number in range(3000))))
    assert listing(root) == {"x": b"2999"}


def test_un_14_entries_and_depth(root: Path) -> None:
    with pytest.raises(LimitExceeded, match="entries_per_layer"):
        apply(
            root, layer(*(file(b"f%d" % number) for number in range(11))), limits=Limits(entries_per_layer=10)
        )
    with pytest.raises(LimitExceeded, match="entries_per_layer"):
        apply(root, layer(file(b"a/b/c/d/e/f/g/h/i/j/k")), limits=Limits(entries_per_layer=10))
    with pytest.raises(LimitExceeded, match="depth"):
        apply(root, layer(directory(b"d/" * 300)))
    steps = [entry(b"l%d" % number, b"2", link=b"p%d/" % number + b"d/" * 99) for number in range(4)]
    deep = []
    for number, link in enumerate(steps):
        above = b"l%d/" % (number - 1) if number else b""
        deep += [directory(above + b"p%d/" % number + b"d/" * 99)]
        deep += [entry(b"l%d" % number, b"2", link=above + b"p%d/" % number + b"d/" * 99), link[:0]]
    with pytest.raises(LimitExceeded, match="depth"):
        apply(root, layer(*deep))


def test_un_14_a_claim_is_enough(root: Path) -> None:
    with pytest.raises(LimitExceeded, match="unpacked_bytes_per_layer"):
        apply(root, header(b"a", size=b"\x80" + (1 << 40).to_bytes(11, "big")))
    assert listing(root) == {}


def test_un_14_padding_counts(root: Path) -> None:
    with pytest.raises(LimitExceeded, match="unpacked_bytes_per_layer"):
        apply(root, layer(file(b"a")) + bytes(10_000_000), limits=Limits(unpacked_bytes_per_layer=2_000_000))


def test_more_directories_than_descriptors_are_kept(root: Path) -> None:
    names = [b"d%d" % number for number in range(300)]
    deep = b"/".join([b"deep"] * 240)
    before = len(os.listdir("/proc/self/fd"))
    apply(
        root,
        layer(
            *(file(name + b"/f", name) for name in names),
            *(
                hardlink(name + b"/l", other + b"/f")
                for name, other in zip(names, reversed(names), strict=True)
            ),
            file(deep + b"/x", b"x"),
            hardlink(b"d0/x", deep + b"/x"),
            hardlink(deep + b"/y", b"d7/f"),
        ),
        layer(*(file(name + b"/.wh.f") for name in names), file(b".wh.deep")),
    )
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(
        (root / os.fsdecode(name) / "l").read_bytes() == other
        for name, other in zip(names, names[::-1], strict=True)
    )
    assert (root / "d0" / "x").read_bytes() == b"x"
    assert not (root / "deep").exists()


@pytest.mark.root
def test_un_12_a_mount_in_the_tree_is_not_crossed(root: Path) -> None:
    (root / "d" / "m").mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(root / "d" / "m")]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        (root / "d" / "m" / "keep").write_bytes(b"keep")
        for bad in (file(b".wh.d"), file(b".wh..wh..opq"), file(b"d", b"a file")):
            with pytest.raises(LayerError):
                apply(root, layer(bad))
            assert (root / "d" / "m" / "keep").read_bytes() == b"keep"
    finally:
        subprocess.run(["umount", str(root / "d" / "m")], check=True)


def test_un_14_zeros_in_a_file_and_in_many_layers(root: Path) -> None:
    limits = Limits(unpacked_bytes_per_layer=3_000_000)
    zeros = header(b"zeros", size=100 << 20)
    with pytest.raises(LimitExceeded):
        apply(root, zeros + bytes(100 << 20), limits=limits)
    assert "zeros" not in listing(root)
