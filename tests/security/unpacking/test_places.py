"""UN-01 … UN-05: layers that try to write elsewhere."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from pathlib import Path

import pytest

from ociworks.errors import LayerError, TarError
from tests.image.archives import Outside, apply, directory, entry, file, hardlink, layer, listing, symlink


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
        ready.wait(60)
        for _ in range(400):
            try:
                apply(root, layer(*(file(b"p/s%d/f%d" % (number % 3, number)) for number in range(25))))
            except LayerError:
                continue
    finally:
        stop.set()
        racer.join()


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


@pytest.mark.root
def test_un_03_the_owner_of_the_root(root: Path) -> None:
    apply(root, layer(entry(b".", b"5", mode=0o700, uid=12345), file(b"x")))
    assert (root.stat().st_uid, stat.S_IMODE(root.stat().st_mode)) == (12345, 0o700)


@pytest.mark.root
def test_un_05_a_device_is_no_target(root: Path) -> None:
    with pytest.raises(TarError, match="neither file nor symlink"):
        apply(root, layer(entry(b"dev", b"3", device=(1, 3)), hardlink(b"h", b"dev")), devices="create")
