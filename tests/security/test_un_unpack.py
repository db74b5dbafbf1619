"""UN-01 … UN-14 and UN-22: layers that try to write elsewhere, and what becomes of them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.errors import LayerError, LimitExceeded, NotSupported, TarError
from ociworks.image.tar import Limits
from tests.image.archives import (
    Outside,
    apply,
    directory,
    entry,
    file,
    hardlink,
    header,
    layer,
    listing,
    symlink,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with Outside.watched(tmp_path) as watched:
        yield watched


@pytest.fixture
def root(outside: Outside) -> Path:
    return outside.root


# --- UN-01 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"/etc/x", b"//etc//x", b"./etc/./x", b"etc/x"])
def test_un_01_leading_slashes_are_dropped(root: Path, name: bytes) -> None:
    apply(root, layer(file(name, b"1")))
    assert listing(root) == {"etc": "dir", "etc/x": b"1"}


def test_un_01_back_slashes_are_ordinary(root: Path) -> None:
    apply(root, layer(file(b"..\\..\\x", b"1")))
    assert listing(root) == {"..\\..\\x": b"1"}


def test_un_01_an_overriding_name_is_the_one_that_counts(root: Path) -> None:
    with pytest.raises(TarError):
        apply(root, layer(entry(b"innocent", records={b"path": b"../canary/file"})))
    assert listing(root) == {}


# --- UN-02 ----------------------------------------------------------------------------------------------

ESCAPES = [b"/", b"../../..", b"..", b"../canary", b"/../canary"]


@pytest.mark.parametrize("target", ESCAPES)
def test_un_02_links_stay_inside(root: Path, outside: Outside, target: bytes) -> None:
    link = symlink(b"l", target)
    for below in (b"l/x", b"l/canary/file", b"l/canary/sub/other"):
        try:
            apply(root, layer(link, file(below, b"written")))
        except TarError:
            assert target in (b"../canary", b"/../canary"), "such a directory does not exist in the root"


def test_un_02_chains_and_layers(root: Path) -> None:
    apply(
        root,
        layer(symlink(b"a", b"b"), symlink(b"b", b"c"), symlink(b"c", b"/")),
        layer(directory(b"real")),
        layer(file(b"a/real/x", b"1"), file(b"a/a/a/y", b"2")),
    )
    assert listing(root)["real/x"] == b"1"
    assert listing(root)["y"] == b"2"


def test_un_02_the_legal_case(root: Path) -> None:
    apply(root, layer(directory(b"usr/lib"), symlink(b"lib", b"usr/lib")), layer(file(b"lib/x", b"1")))
    assert listing(root) == {"usr": "dir", "usr/lib": "dir", "usr/lib/x": b"1", "lib": "-> usr/lib"}


def test_un_02_a_directory_replaces_a_link(root: Path) -> None:
    apply(root, layer(symlink(b"l", b"/"), directory(b"l/"), file(b"l/x")))
    assert listing(root) == {"l": "dir", "l/x": b""}


# --- UN-03 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b".", b"./", b"/", b"", b"//", b"./."])
@pytest.mark.parametrize("kind", [b"0", b"1", b"2", b"3", b"6"])
def test_un_03_the_root_is_a_directory(root: Path, name: bytes, kind: bytes) -> None:
    before = root.stat().st_ino
    with pytest.raises(TarError):
        apply(root, layer(entry(name, kind, link=b"canary" if kind in b"12" else b"")), layer(file(b"x")))
    assert root.stat().st_ino == before


@pytest.mark.parametrize("name", [b".", b"./", b"/"])
def test_un_03_its_metadata_is_applied(root: Path, name: bytes) -> None:
    apply(root, layer(directory(name, mode=0o711), file(b"x")), layer(file(b"y")))
    assert stat.S_IMODE(root.stat().st_mode) == 0o711
    assert root.stat().st_mtime_ns == 10**9
    apply(root, layer(directory(name, mode=0)))
    mode = stat.S_IMODE(root.stat().st_mode)
    root.chmod(0o755)
    assert mode == 0


@pytest.mark.parametrize("name", [b".wh..", b".wh.", b"./.wh."])
def test_un_03_whiteouts_of_the_root(root: Path, name: bytes) -> None:
    with pytest.raises(TarError):
        apply(root, layer(file(b"keep", b"1")), layer(file(name)))
    assert listing(root) == {"keep": b"1"}


# --- UN-04 ----------------------------------------------------------------------------------------------


def test_un_04_over_long_expansion(root: Path) -> None:
    long = b"d" * 250
    links = [symlink(b"l0", b"/".join([long] * 16))]
    links += [symlink(b"l%d" % number, b"/".join([b"l%d" % (number - 1)] * 2)) for number in range(1, 12)]
    with pytest.raises(TarError):
        apply(root, layer(directory(b"/".join([long] * 15)), *links, file(b"l11/x")))


def test_un_04_too_many_links_and_loops(root: Path) -> None:
    chain = [symlink(b"l%d" % number, b"l%d" % (number + 1)) for number in range(41)]
    with pytest.raises(TarError):
        apply(root, layer(directory(b"l41"), *chain, file(b"l0/x")))
    with pytest.raises(TarError):
        apply(root, layer(symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")))


def test_un_04_a_used_parent_becomes_a_link(root: Path) -> None:
    apply(
        root,
        layer(
            directory(b"elsewhere"),
            file(b"p/q/one", b"1"),
            symlink(b"p", b"elsewhere"),
            file(b"p/q/two", b"2"),
            file(b"p/three", b"3"),
        ),
    )
    assert listing(root) == {
        "elsewhere": "dir",
        "elsewhere/q": "dir",
        "elsewhere/q/two": b"2",
        "elsewhere/three": b"3",
        "p": "-> elsewhere",
    }


def test_un_04_a_used_parent_becomes_a_file(root: Path) -> None:
    with pytest.raises(TarError, match="not a directory"):
        apply(root, layer(file(b"p/q", b"1"), file(b"p", b"2"), file(b"p/r", b"3")))


def test_un_04_a_racing_process(root: Path, tmp_path: Path) -> None:
    """Somebody swaps a parent for a link to the outside the whole time; nothing ever lands there."""
    ready, stop = threading.Event(), threading.Event()

    def swap() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with contextlib.suppress(OSError):
                os.rename(root / "p", root / f"kept{number}")
            with contextlib.suppress(OSError):
                os.symlink(tmp_path / "canary" if number % 2 else "../canary", root / "p")
                ready.set()
            with contextlib.suppress(OSError):
                os.unlink(root / "p")

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        ready.wait(10)
        for _ in range(400):
            try:
                apply(root, layer(*(file(b"p/s%d/f%d" % (number % 3, number)) for number in range(25))))
            except LayerError:
                continue
    finally:
        stop.set()
        racer.join()


# --- UN-05 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", [b"/canary/file", b"canary/file", b"l/file", b"l/canary/file", b"missing", b"later", b".wh.x"]
)
def test_un_05_targets_outside_or_missing(root: Path, target: bytes) -> None:
    with pytest.raises(TarError):
        apply(root, layer(symlink(b"l", b"../canary"), hardlink(b"h", target), file(b"later")))
    assert "h" not in listing(root)


@pytest.mark.parametrize("target", [b"d", b".", b"pipe", b"h"])
def test_un_05_targets_that_are_no_files(root: Path, target: bytes) -> None:
    with pytest.raises(TarError):
        apply(root, layer(directory(b"d"), entry(b"pipe", b"6"), file(b"h", b"x"), hardlink(b"h", target)))


def test_un_05_a_link_to_a_symlink_is_the_symlink(root: Path, outside: Outside) -> None:
    apply(root, layer(symlink(b"s", b"../canary/file"), hardlink(b"h", b"s")))
    assert listing(root) == {"s": "-> ../canary/file", "h": "-> ../canary/file"}


def test_un_05_replacing_a_link_leaves_the_other_name(root: Path) -> None:
    apply(root, layer(file(b"a", b"old", mode=0o600), hardlink(b"b", b"a"), file(b"b", b"new", mode=0o755)))
    assert listing(root) == {"a": b"old", "b": b"new"}
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o600


def test_un_05_a_lower_layer_may_be_the_target(root: Path) -> None:
    apply(
        root, layer(file(b"a", b"1", mode=0o640)), layer(entry(b"b", b"1", link=b"a", mode=0o777, mtime=99))
    )
    assert (root / "a").samefile(root / "b")
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o640
    assert (root / "a").stat().st_mtime_ns == 10**9


def test_un_05_no_way_out_through_a_target_in_a_replaced_directory(root: Path) -> None:
    with pytest.raises(TarError):
        apply(root, layer(file(b"d/f", b"1"), hardlink(b"d", b"d/f")))


# --- UN-06 ----------------------------------------------------------------------------------------------


def test_un_06_metadata_of_links(root: Path) -> None:
    (root / "inside").write_bytes(b"inside")
    (root / "inside").chmod(0o640)
    records = {b"SCHILY.xattr.user.k": b"v"}
    for name, target in ((b"out", b"../canary/file"), (b"in", b"inside")):
        apply(root, layer(entry(name, b"2", link=target, mode=0o4777, mtime=7, records=records)))
    assert stat.S_IMODE((root / "inside").stat().st_mode) == 0o640
    assert os.listxattr(root / "inside") == []
    assert (root / "out").lstat().st_mtime_ns == 7 * 10**9


def test_un_06_implicit_parents(root: Path) -> None:
    old = os.umask(0o077)
    try:
        apply(root, layer(file(b"a/b/c")))
    finally:
        os.umask(old)
    for path in (root / "a", root / "a" / "b"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert path.stat().st_uid == os.geteuid()


# --- UN-07 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "number"), [(b"3", (1, 1)), (b"4", (8, 0))])
def test_un_07_device_policies(root: Path, kind: bytes, number: tuple[int, int]) -> None:
    archive = layer(entry(b"dev", kind, device=number), file(b"x"))
    [report] = apply(root, archive)
    assert [skipped.path for skipped in report.skipped] == [b"dev"]
    assert listing(root) == {"x": b""}
    with pytest.raises(TarError, match="policy"):
        apply(root, archive, devices="refuse")


def test_un_07_rootless_says_so(root: Path) -> None:
    with pytest.raises(NotSupported):
        apply(root, layer(entry(b"dev", b"3", device=(1, 3))), rootless=True, devices="create")
    assert listing(root) == {}


@as_root
def test_un_07_devices_when_asked_for(root: Path) -> None:
    apply(
        root,
        layer(entry(b"null", b"3", device=(1, 3), mode=0o600), entry(b"pipe", b"6", mode=0o622)),
        devices="create",
    )
    info = (root / "null").lstat()
    assert stat.S_ISCHR(info.st_mode)
    assert info.st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE(info.st_mode) == 0o600
    assert stat.S_IMODE((root / "pipe").lstat().st_mode) == 0o622


@pytest.mark.parametrize("devices", ["skip", "refuse", "create"])
def test_un_07_overlay_whiteouts_in_disguise(root: Path, devices: str) -> None:
    archive = layer(entry(b"x", b"3", device=(0, 0)))
    with pytest.raises(TarError, match="0:0"):
        apply(
            root,
            archive,
            devices="skip" if devices == "skip" else "refuse" if devices == "refuse" else "create",
        )


def test_un_07_fifos_do_not_block(root: Path) -> None:
    apply(root, layer(entry(b"p", b"6", mode=0o644)), layer(file(b"p", b"file now")))
    assert listing(root) == {"p": b"file now"}


# --- UN-09 ----------------------------------------------------------------------------------------------


@as_root
def test_un_09_owners_by_number(root: Path) -> None:
    apply(
        root, layer(header(b"a", uid=1000, gid=(4_000_000_000).to_bytes(8, "big").replace(b"\0", b"\x80", 1)))
    )
    assert ((root / "a").stat().st_uid, (root / "a").stat().st_gid) == (1000, 4_000_000_000)


@as_root
def test_un_09_squashing_is_explicit(root: Path) -> None:
    apply(root, layer(header(b"a", uid=1000, gid=1000)), rootless=True)
    assert ((root / "a").stat().st_uid, (root / "a").stat().st_gid) == (0, 0)


@as_root
def test_un_09_owners_come_before_set_id_bits(root: Path) -> None:
    apply(root, layer(header(b"a", uid=1000, gid=1000, mode=0o6755)))
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o6755


# --- UN-10 ----------------------------------------------------------------------------------------------


def with_xattr(name: bytes, value: bytes = b"v") -> bytes:
    return layer(entry(b"f", records={b"SCHILY.xattr." + name: value}), file(b"g"))


@pytest.mark.parametrize(
    "name",
    [b"trusted.overlay.redirect", b"trusted.overlay.opaque", b"user.overlay.metacopy", b"trusted.overlay.x"],
)
def test_un_10_overlay_names_are_refused(root: Path, name: bytes) -> None:
    with pytest.raises(TarError, match="overlay"):
        apply(root, with_xattr(name))
    assert listing(root) == {}


@pytest.mark.parametrize(
    "name",
    [b"security.selinux", b"security.evm", b"security.ima", b"system.posix_acl_access", b"trusted.x", b"odd"],
)
def test_un_10_other_names_are_left_out(root: Path, name: bytes) -> None:
    [report] = apply(root, with_xattr(name))
    assert [skipped.path for skipped in report.skipped] == [b"f"]
    assert name.decode() not in os.listxattr(root / "f")


def test_un_10_user_names_are_set(root: Path) -> None:
    [report] = apply(root, with_xattr(b"user.k", b"\0binary\xff"))
    if report.skipped:
        pytest.skip("the file system of the temporary directory has no user attributes")
    assert os.getxattr(root / "f", "user.k") == b"\0binary\xff"
    apply(root, layer(entry(b"d", b"5", records={b"SCHILY.xattr.user.a": b"1"})))
    apply(root, layer(entry(b"d", b"5", records={b"SCHILY.xattr.user.b": b"2"})))
    assert os.listxattr(root / "d") == ["user.b"]


@pytest.mark.parametrize(
    "value", [b"", b"short", b"\0" * 20, b"\x01\0\0\x02" + bytes(17), b"\x02\0\0\x02" + bytes(16)]
)
def test_un_10_malformed_capabilities(root: Path, value: bytes) -> None:
    with pytest.raises(TarError, match="capability"):
        apply(root, with_xattr(b"security.capability", value))
    assert listing(root) == {}


@as_root
def test_un_10_capabilities_survive_the_owner(root: Path) -> None:
    value = b"\x01\0\0\x02" + b"\0\x04\0\0" + bytes(12)
    apply(
        root, layer(entry(b"f", uid=1000, mode=0o755, records={b"SCHILY.xattr.security.capability": value}))
    )
    assert os.getxattr(root / "f", "security.capability") == value
    [report] = apply(root, with_xattr(b"security.capability", value), rootless=True)
    assert len(report.skipped) == 1


def test_un_10_caps_and_names(root: Path) -> None:
    with pytest.raises(LimitExceeded):
        apply(root, with_xattr(b"user.k", bytes(64 * 1024 + 1)))
    records = {b"SCHILY.xattr.user.k%d" % number: b"" for number in range(200)}
    with pytest.raises(LimitExceeded):
        apply(root, layer(entry(b"f", records=records)))
    for name in (b"user.a\0b", b"", b"user." + b"k" * 255):
        with pytest.raises(TarError):
            apply(root, with_xattr(name))


# --- UN-11 ----------------------------------------------------------------------------------------------

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


# --- UN-12 ----------------------------------------------------------------------------------------------


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


# --- UN-13 ----------------------------------------------------------------------------------------------


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


# --- UN-14 ----------------------------------------------------------------------------------------------


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


# --- UN-21, on disk -------------------------------------------------------------------------------------


def test_un_21_names_as_they_are(root: Path) -> None:
    names = [b"\xff\xfe", b"line\nfeed", b"\x1b[31m", b"x" * 255]
    apply(root, layer(*(file(name) for name in names)))
    assert sorted(os.listdir(os.fsencode(root))) == sorted(names)


@pytest.mark.parametrize("mtime", [b"-1.5", b"9223372036854775808", b"-99999999999999999999", b"0.000000001"])
def test_un_21_times_on_disk(root: Path, mtime: bytes) -> None:
    apply(root, layer(entry(b"f", records={b"mtime": mtime}), entry(b"d", b"5", records={b"mtime": mtime})))
    assert (root / "f").exists()


def test_sockets_are_not_left_behind(root: Path) -> None:
    """A socket that is in the way goes like a file."""
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)
        try:
            listener.bind("s")
        finally:
            os.chdir(here)
    apply(root, layer(file(b"s", b"file")))
    assert listing(root) == {"s": b"file"}


# --- more of the catalogue's inputs ------------------------------------------------------------------------


@as_root
def test_un_03_the_owner_of_the_root(root: Path) -> None:
    apply(root, layer(entry(b".", b"5", mode=0o700, uid=12345), file(b"x")))
    assert (root.stat().st_uid, stat.S_IMODE(root.stat().st_mode)) == (12345, 0o700)


@as_root
def test_un_05_a_device_is_no_target(root: Path) -> None:
    with pytest.raises(TarError, match="neither file nor symlink"):
        apply(root, layer(entry(b"dev", b"3", device=(1, 3)), hardlink(b"h", b"dev")), devices="create")


def test_un_06_a_mode_behind_a_link_to_a_symlink(root: Path) -> None:
    """The second entry of the name makes a file; neither the symlink nor what it shows is changed."""
    (root / "shown").write_bytes(b"shown")
    (root / "shown").chmod(0o640)
    apply(root, layer(symlink(b"s", b"shown"), hardlink(b"h", b"s"), file(b"h", b"new", mode=0o777)))
    assert listing(root) == {"shown": b"shown", "s": "-> shown", "h": b"new"}
    assert stat.S_IMODE((root / "shown").stat().st_mode) == 0o640


@as_root
def test_un_09_names_of_owners_are_ignored(root: Path) -> None:
    block = bytearray(header(b"f", uid=1000, gid=1000))
    block[265:297] = b"root".ljust(32, b"\0")
    block[297:329] = b"root".ljust(32, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    apply(root, layer(bytes(block), entry(b"g", uid=5, records={b"uname": b"root", b"gname": b"root"})))
    assert [(root / name).stat().st_uid for name in ("f", "g")] == [1000, 5]
    assert [(root / name).stat().st_gid for name in ("f", "g")] == [1000, 5]


def test_un_10_without_attributes_it_is_said_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("ociworks.image._unpack.xattrs.os.setxattr", refuse)
    many = [entry(b"f%d" % number, records={b"SCHILY.xattr.user.k": b"v"}) for number in range(20)]
    [report] = apply(root, layer(*many))
    assert len(report.skipped) == 1
    assert len(listing(root)) == 20


@as_root
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
