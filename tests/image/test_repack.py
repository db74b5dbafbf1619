"""Repack: a tree that is changed, packed, and unpacked again is the same tree."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociworks import testing
from ociworks.errors import LayerError, LimitExceeded, NotSupported
from ociworks.image import Image, Layer, Limits, Mappings, RepackOptions, mutate, repack, unpack
from ociworks.image._pack import repack as module
from ociworks.image._pack.tree import Found
from ociworks.spec.image import Config
from tests.image import archives
from tests.image.archives import apply, directory, entry, file, layer
from tests.image.repacked import BASE, again, archive, shown
from tests.image.test_files import facts


def image(*layers: bytes) -> Image:
    return testing.image_from_layers(list(layers), config=Config(cmd=("/a",)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir(0o755)
    apply(root, BASE)
    return root


def test_nothing_changed_is_nothing_packed(root: Path) -> None:
    made = repack(image(BASE), root)
    assert shown(made) == []
    assert archive(made) == archives.END


def test_every_kind_of_change(root: Path, tmp_path: Path) -> None:
    (root / "etc/passwd").write_bytes(b"rooT")  # same size
    (root / "etc/hosts").unlink()
    (root / "etc/hosts").symlink_to("passwd")
    (root / "etc/new").write_bytes(b"new")
    os.link(root / "etc/new", root / "etc/newer")
    shutil.rmtree(root / "data/deep")
    (root / "data/one").unlink()
    (root / "data/one").mkdir()
    (root / "data/one/inside").write_bytes(b"i")
    (root / "empty").chmod(0o4700)
    shutil.rmtree(root / "usr/bin")
    (root / "usr/bin").write_bytes(b"a file now")
    os.mkfifo(root / "pipe", 0o600)
    made = repack(image(BASE), root)
    assert shown(made) == [
        "d data",
        "f data/.wh.deep",
        "d data/one",
        "f data/one/inside",
        "f empty",
        "d etc",
        "s etc/hosts",
        "f etc/new",
        "h etc/newer",
        "f etc/passwd",
        "f pipe",
        "d usr",
        "f usr/bin",
    ]
    assert facts(again(tmp_path, BASE, archive(made))) == facts(root)
    assert repack(image(BASE), root) == made


def test_the_parents_of_a_change_are_described(root: Path) -> None:
    """Some programs would make them anew, with a mode of their own, when the layer does not have them."""
    info = (root / "data/deep/er").stat()
    with (root / "data/deep/er/two").open("r+b") as opened:
        opened.write(b"3")
    assert info == (root / "data/deep/er").stat()
    assert shown(repack(image(BASE), root)) == [
        "d data",
        "d data/deep",
        "d data/deep/er",
        "f data/deep/er/two",
    ]


@pytest.mark.parametrize("change", ["broken", "joined", "added", "removed"])
def test_hard_links(root: Path, tmp_path: Path, change: str) -> None:
    a, b = root / "usr/bin/a", root / "usr/bin/b"
    if change == "broken":
        b.unlink()
        shutil.copy2(a, b)
    elif change == "joined":
        (root / "data/one").unlink()
        os.link(root / "etc/passwd", root / "data/one")
    elif change == "added":
        os.link(a, root / "usr/c")
    else:
        b.unlink()
    made = repack(image(BASE), root)
    assert facts(again(tmp_path, BASE, archive(made))) == facts(root)
    if change == "removed":
        assert shown(made) == ["d usr", "d usr/bin", "f usr/bin/.wh.b"]
    if change == "added":
        assert "h usr/c" in shown(made)


def test_equal_time_and_size_stand_for_equal_content_unless_asked(root: Path, tmp_path: Path) -> None:
    path = root / "etc/passwd"
    info = path.stat()
    path.write_bytes(b"evil")
    os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))
    assert shown(repack(image(BASE), root)) == []
    made = repack(image(BASE), root, options=RepackOptions(contents=True))
    assert shown(made) == ["d etc", "f etc/passwd"]
    assert (again(tmp_path, BASE, archive(made)) / "etc/passwd").read_bytes() == b"evil"


def test_masked_paths_stay_as_they_are(root: Path) -> None:
    (root / "data/one").write_bytes(b"scratch")
    (root / "data/deep/er/two").unlink()
    (root / "etc/passwd").write_bytes(b"toor")
    volumes = testing.image_from_layers([BASE], config=Config(cmd=("/a",), volumes=("/data",)))
    assert shown(repack(volumes, root)) == ["d etc", "f etc/passwd"]
    masked = RepackOptions(masked=("/etc", "data/deep"))
    assert shown(repack(volumes, root, options=masked)) == ["d data", "f data/one"]
    assert len(shown(repack(volumes, root, options=RepackOptions(masked=())))) > 4


def test_of_several_layers_the_merged_tree_counts(root: Path, tmp_path: Path) -> None:
    upper = layer(file(b"data/.wh.one"), file(b"bin/through", b"x"), file(b"etc/hosts", b"h"))
    apply(root, upper)
    img = image(BASE, upper)
    assert shown(repack(img, root)) == []
    (root / "usr/bin/through").unlink()
    (root / "data/one").write_bytes(b"back")
    made = repack(img, root)
    assert shown(made) == ["d data", "f data/one", "d usr", "d usr/bin", "f usr/bin/.wh.through"]
    assert facts(again(tmp_path, BASE, upper, archive(made))) == facts(root)


def test_a_bundle(tmp_path: Path) -> None:
    img = image(BASE)
    bundle = unpack(img, tmp_path / "bundle")
    assert shown(repack(img, bundle)) == []
    (bundle.path / "rootfs/etc/motd").write_bytes(b"hi")
    for given_ in (bundle, tmp_path / "bundle", str(tmp_path / "bundle" / "rootfs")):
        made = repack(img, given_, compression="zstd")
        assert [name for name in shown(made) if "motd" in name] == ["f etc/motd"]
    changed = mutate.append(img, made)
    second = unpack(changed, tmp_path / "second")
    assert facts(second.path / "rootfs") == facts(bundle.path / "rootfs")


def test_rootless_trees_keep_the_owners_of_the_image(tmp_path: Path) -> None:
    """On disk all belongs to the caller, which says nothing about whom it belongs to inside."""
    base = layer(entry(b"daemon", b"0", b"1", uid=1234), entry(b"other", b"0", b"1", uid=77), directory(b"d"))
    img = image(base)
    bundle = unpack(img, tmp_path / "bundle", rootless=True)
    rootfs = bundle.path / "rootfs"
    assert shown(repack(img, bundle, rootless=True)) == []
    (rootfs / "daemon").write_bytes(b"changed")
    (rootfs / "new").write_bytes(b"new")
    (rootfs / "other").unlink()
    (rootfs / "other").mkdir()
    owners = {found.path: found.uid for found in repack(img, bundle, rootless=True).entries()}
    assert owners == {b"daemon": 1234, b"new": 0, b"other": 0}


@pytest.mark.root
def test_mapped_trees_get_the_owners_inside(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    base = layer(
        entry(b"daemon", b"0", b"1", uid=12),
        entry(
            b"cap", b"0", b"1", uid=0, mode=0o755, records={b"SCHILY.xattr.security.capability": capability}
        ),
    )
    img, mappings = image(base), Mappings.of(100_000, 1000)
    bundle = unpack(img, tmp_path / "bundle", mappings=mappings)
    rootfs = bundle.path / "rootfs"
    assert (rootfs / "daemon").stat().st_uid == 100_012
    assert shown(repack(img, bundle, mappings=mappings)) == []
    os.chown(rootfs / "daemon", 100_005, 100_006)
    (rootfs / "cap").chmod(0o700)
    os.setxattr(
        rootfs / "cap", "security.capability", b"\1\0\0\3" + capability[4:] + (100_000).to_bytes(4, "little")
    )
    found = {item.path: item for item in repack(img, bundle, mappings=mappings).entries()}
    assert (found[b"daemon"].uid, found[b"daemon"].gid) == (5, 6)
    assert found[b"cap"].xattrs == {b"security.capability": capability}
    os.chown(rootfs / "daemon", 7, 7)
    with pytest.raises(LayerError, match="uid 7 on disk is in no mapping"):
        repack(img, bundle, mappings=mappings)
    with pytest.raises(NotSupported):
        repack(img, bundle, rootless=True, mappings=mappings)


def test_recorded_owners_of_rootless_trees(root: Path) -> None:
    """As umoci and our unpacking write them."""
    path = root / "etc/passwd"
    info = path.stat()
    try:
        os.setxattr(path, "user.rootlesscontainers", b"\x08\xe8\x07\x10\x05")
    except OSError:
        pytest.skip("no user attributes on this file system")
    os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))
    found = {item.path: item for item in repack(image(BASE), root, rootless=True).entries()}
    assert (found[b"etc/passwd"].uid, found[b"etc/passwd"].gid) == (1000, 5)
    assert found[b"etc/passwd"].xattrs == {}
    for bad in (b"\x08", b"\x18\x01", b"\x08" + b"\xff" * 6, b"\x08\xff\xff\xff\xff\x7f"):
        os.setxattr(path, "user.rootlesscontainers", bad)
        with pytest.raises(LayerError, match="malformed"):
            repack(image(BASE), root, rootless=True)


def test_un_07_devices_that_were_not_unpacked_were_not_deleted(tmp_path: Path) -> None:
    base = layer(directory(b"dev"), entry(b"dev/null", b"3", device=(1, 3)), file(b"a"))
    root = tmp_path / "root"
    root.mkdir(0o755)
    apply(root, base)
    img = image(base)
    assert shown(repack(img, root)) == []
    assert "f dev/.wh.null" in shown(repack(img, root, options=RepackOptions(devices="create")))
    (root / "dev/null").write_bytes(b"a file")
    assert "f dev/null" in shown(repack(img, root))


@pytest.mark.root
def test_devices_owners_and_capabilities(tmp_path: Path) -> None:
    base = layer(entry(b"null", b"3", device=(1, 3)), file(b"a", b"1"), file(b"cap", b"1", mode=0o755))
    root = tmp_path / "root"
    root.mkdir(0o755)
    apply(root, base, devices="create")
    img = image(base)
    options = RepackOptions(devices="create")
    assert shown(repack(img, root, options=options)) == []
    os.chown(root / "a", 5, 6)
    os.mknod(root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.unlink(root / "null")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(root / "cap", "security.capability", capability)
    made = repack(img, root, options=options)
    found = {item.path: item for item in made.entries()}
    assert (found[b"a"].uid, found[b"a"].gid) == (5, 6)
    assert (found[b"zero"].device, found[b"null"].device) == ((1, 5), (1, 7))
    assert found[b"cap"].xattrs == {b"security.capability": capability}
    target = tmp_path / "again"
    target.mkdir(0o755)
    apply(target, base, archive(made), devices="create")
    assert facts(target) == facts(root)
    assert os.getxattr(target / "cap", "security.capability") == capability


def test_un_10_attributes_are_compared(root: Path, tmp_path: Path) -> None:
    try:
        os.setxattr(root / "etc/passwd", "user.note", b"x")
    except OSError:
        pytest.skip("no user attributes on this file system")
    made = repack(image(BASE), root)
    assert shown(made) == ["d etc", "f etc/passwd"]
    target = again(tmp_path, BASE, archive(made))
    assert os.getxattr(target / "etc/passwd", "user.note") == b"x"
    assert shown(repack(image(BASE, archive(made)), root)) == []


def test_un_11_names_like_whiteouts_are_refused(root: Path) -> None:
    (root / "etc/.wh.passwd").write_bytes(b"")
    with pytest.raises(LayerError, match="whiteout"):
        repack(image(BASE), root)


def test_un_14_trees_that_grew_too_large_are_refused(root: Path) -> None:
    with pytest.raises(LimitExceeded):
        repack(image(BASE), root, options=RepackOptions(limits=Limits(entries_per_layer=13)))


def test_un_21_names_are_bytes(root: Path, tmp_path: Path) -> None:
    for name in (b"\xff", b"new\nline", "ü".encode()):
        (root / os.fsdecode(name)).write_bytes(name)
    made = repack(image(BASE), root)
    assert facts(again(tmp_path, BASE, archive(made))) == facts(root)


def test_un_02_a_tree_that_changes_below_us_never_leads_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding a difference and describing it a directory becomes a link out of the tree."""
    with archives.Outside.watched(tmp_path) as outside:
        apply(outside.root, BASE)
        (outside.root / "data/file").write_bytes(b"mine")
        real = module._Places.find

        def swap(self: Any, parts: tuple[bytes, ...]) -> Found:
            if parts == (b"data", b"file"):
                (outside.root / "data").rename(outside.root / "moved")
                (outside.root / "data").symlink_to(outside.canary)
                self._close()
            return real(self, parts)

        monkeypatch.setattr(module._Places, "find", swap)
        with pytest.raises(LayerError, match="changed while it was read"):
            repack(image(BASE), outside.root)


def test_links_in_the_tree_are_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    shutil.rmtree(root / "data")
    (root / "data").symlink_to(tmp_path)
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(tmp_path / "secret")
    made = repack(image(BASE), root)
    assert b"secret" not in archive(made).replace(os.fsencode(tmp_path / "secret"), b"")
    assert shown(made) == ["s data", "d etc", "s etc/passwd"]


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "mkdir", "remove", "link", "symlink", "chmod", "touch", "rename"]),
        PATHS,
        PATHS,
    ),
    max_size=12,
)


def perform(root: Path, step: tuple[str, str, str], number: int) -> None:
    """One change; what cannot be done is passed by."""
    verb, first, second = step
    path, other = root / first, root / second
    try:
        match verb:
            case "write":
                path.write_bytes(b"%d" % number)
            case "mkdir":
                path.mkdir()
            case "remove" if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            case "remove":
                path.unlink()
            case "link":
                os.link(path, other, follow_symlinks=False)
            case "symlink":
                path.symlink_to(second)
            case "chmod" if not path.is_symlink():
                path.chmod(0o700 + number)
            case "touch" if not path.is_symlink():
                os.utime(path, ns=(number, number * 10**9 + 1))
            case _:
                path.rename(other)
    except OSError:
        pass


@settings(max_examples=150)
@given(STEPS, STEPS)
def test_any_change_comes_back(first: Any, second: Any) -> None:
    """Make a tree, pack it; change it, pack the difference; both layers unpack to the changed tree."""
    with tempfile.TemporaryDirectory() as folder:
        root, target = Path(folder, "root"), Path(folder, "target")
        root.mkdir(0o755)
        target.mkdir(0o755)
        for number, step in enumerate(first):
            perform(root, step, number)
        base = archive(Layer.from_directory(root, owner=None, mtime=None))
        img = image(base)
        assert shown(repack(img, root)) == []
        for number, step in enumerate(second):
            perform(root, step, number + 20)
        made = repack(img, root)
        apply(target, base, archive(made))
        assert facts(target) == facts(root)
        assert shown(repack(image(base, archive(made)), target)) == []
