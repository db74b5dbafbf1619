"""Layers and repacked trees against umoci, skopeo, GNU tar and bsdtar: what one makes, the others take as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ociworks.image import Image, Layer, RepackOptions, export, layout, mutate, repack, unpack
from ociworks.image.tar import Compression
from ociworks.spec.image import Config
from ociworks.testing.images import image_from_layers
from tests.image.archives import directory, entry, file, hardlink, layer, symlink
from tests.image.trees import tree
from tests.interop.peers import peer, run
from tests.interop.test_unpack_peers import make_source

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: peers keep owners only then"),
]

BASE = layer(
    directory(b"etc"),
    file(b"etc/passwd", b"root"),
    file(b"etc/hosts", b"localhost"),
    directory(b"usr"),
    directory(b"usr/bin"),
    entry(b"usr/bin/a", b"0", b"program", mode=0o4755, uid=12),
    hardlink(b"usr/bin/b", b"usr/bin/a"),
    symlink(b"bin", b"usr/bin"),
    directory(b"data"),
    file(b"data/one", b"1"),
    directory(b"data/deep"),
    file(b"data/deep/two", b"2"),
)


def base() -> Image:
    return image_from_layers([BASE], config=Config(cmd=("/a",)))


def stored(folder: Path, img: Image) -> Path:
    with layout.open(folder / "store", create=True) as store:
        store.put(img, tag="image")
    return folder / "store"


def content(made: Layer) -> bytes:
    with made.uncompressed() as stream:
        return stream.read()


def umoci_unpack(store: Path, tag: str, bundle: Path) -> Path:
    run(peer("umoci"), "unpack", "--image", f"{store}:{tag}", bundle)
    return bundle / "rootfs"


def change(root: Path) -> None:
    (root / "etc/passwd").write_bytes(b"changed content")
    (root / "etc/hosts").unlink()
    shutil.rmtree(root / "data/deep")
    (root / "data/new").mkdir(mode=0o750)
    (root / "data/new/file").write_bytes(b"new")
    os.chown(root / "data/new/file", 1000, 1001)
    (root / "data/one").unlink()
    (root / "data/one").symlink_to("../etc/passwd")
    (root / "data/ünï").write_bytes(b"x" * 300_000)
    (root / "usr/bin/c").write_bytes(b"c")
    os.link(root / "usr/bin/c", root / "usr/bin/d")
    (root / "usr").chmod(0o711)
    for path in sorted(root.rglob("*"), reverse=True):  # umoci keeps whole seconds
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_gnu_tar_and_umoci_unpack_what_we_pack(tmp_path: Path, compression: Compression) -> None:
    source, theirs = tmp_path / "source", tmp_path / "theirs"
    source.mkdir(mode=0o755)
    theirs.mkdir()
    make_source(source)
    made = Layer.from_directory(source, owner=None, mtime=None, compression=compression)
    with made.uncompressed() as stream:
        archive = stream.read()
    subprocess.run([peer("tar"), "-xp", "--numeric-owner", "-C", theirs], input=archive, check=True)
    plain = {name: facts[:-1] for name, facts in tree(source).items()}  # attributes were not asked for
    assert {name: facts[:-1] for name, facts in tree(theirs).items()} == plain
    if compression == "zstd":
        return  # this umoci cannot
    img = mutate.append(image_from_layers([layer(directory(b"x"))], config=Config(cmd=("/a",))), made)
    rootfs = umoci_unpack(stored(tmp_path, img), "image", tmp_path / "bundle")
    shutil.rmtree(rootfs / "x")
    assert {name: facts[:-1] for name, facts in tree(rootfs).items()} == plain


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_skopeo_copies_what_we_pack(tmp_path: Path, compression: Compression) -> None:
    made = Layer.from_files({"/srv/hello": b"hello"}, compression=compression)
    store = stored(tmp_path, mutate.append(base(), made))
    run(peer("skopeo"), "copy", f"oci:{store}:image", f"dir:{tmp_path / 'copy'}")
    assert (tmp_path / "copy" / made.digest.encoded).stat().st_size == made.size


def test_bsdtar_reads_our_names(tmp_path: Path) -> None:
    """Libarchive too, with names in all encodings and none."""
    made = Layer.from_files({"ü": b"1", "\udcff\udcfe": b"2", "l" * 150 + "/" + "n" * 200: b"3"})
    target = tmp_path / "root"
    target.mkdir()
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [peer("bsdtar"), "-x", "-f", "-", "-C", target],
        input=content(made),
        check=True,
        env=environment,
        capture_output=True,
    )
    assert sorted(os.listdir(os.fsencode(target))) == sorted([b"l" * 150, "ü".encode(), b"\xff\xfe"])


def test_umoci_unpacks_and_we_repack(tmp_path: Path) -> None:
    img = base()
    store = stored(tmp_path, img)
    rootfs = umoci_unpack(store, "image", tmp_path / "bundle")
    options = RepackOptions(devices="create")
    assert list(repack(img, tmp_path / "bundle", options=options).entries()) == []
    change(rootfs)
    changed = mutate.append(img, repack(img, tmp_path / "bundle", options=options))
    ours = unpack(changed, tmp_path / "ours").path / "rootfs"
    assert tree(ours) == tree(rootfs)
    with layout.open(store) as opened_store:
        opened_store.put(changed, tag="changed")
    theirs = umoci_unpack(store, "changed", tmp_path / "theirs")
    assert tree(theirs) == tree(rootfs)


def test_we_unpack_and_both_repack_to_the_same_tree(tmp_path: Path) -> None:
    """The same changes in our bundle and in umoci's: both layers, unpacked by either, give one tree."""
    img = base()
    store = stored(tmp_path, img)
    mine = unpack(img, tmp_path / "mine")
    theirs = umoci_unpack(store, "image", tmp_path / "theirs")
    change(mine.path / "rootfs")
    change(theirs)
    run(peer("umoci"), "repack", "--image", f"{store}:umoci", tmp_path / "theirs")
    with layout.open(store) as opened_store:
        opened_store.put(mutate.append(img, repack(img, mine)), tag="ours")
    wanted = tree(mine.path / "rootfs")
    for tag in ("umoci", "ours"):
        with layout.open(store) as opened_store:
            again = unpack(opened_store.image(tag), tmp_path / f"{tag}-by-us").path / "rootfs"
            assert tree(again) == wanted
        assert tree(umoci_unpack(store, tag, tmp_path / f"{tag}-by-umoci")) == wanted


def test_an_export_is_what_gnu_tar_unpacks(tmp_path: Path) -> None:
    img = mutate.append(base(), Layer.from_files({"etc/.wh.hosts": b"", "etc/motd": b"m"}))
    export(img, tmp_path / "root.tar")
    target = tmp_path / "root"
    target.mkdir()
    run(
        peer("tar"),
        "-xpf",
        tmp_path / "root.tar",
        "--numeric-owner",
        "--delay-directory-restore",
        "-C",
        target,
    )
    assert tree(target) == tree(unpack(img, tmp_path / "bundle").path / "rootfs")
