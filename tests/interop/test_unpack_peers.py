"""The same layers unpacked by GNU tar, umoci and ociworks: the trees must be equal, owners and times included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ociworks.image import Mappings, layout, unpack, unpack_layers
from ociworks.image._unpack import UnpackOptions
from ociworks.spec.image import Config
from ociworks.testing.images import Compression, image_from_layers
from tests.image.archives import apply, directory, entry, file, hardlink, layer, symlink
from tests.image.trees import tree
from tests.interop.peers import peer, run

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: peers keep owners only then"),
]


def make_source(root: Path) -> None:
    """A tree with one of everything that GNU tar can write and an ordinary layer may have."""
    deep = root / ("long" * 30) / ("name" * 40)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")
    (root / "sub").mkdir(mode=0o2755)
    (root / "sub").chmod(0o2755)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "closed").mkdir(mode=0)
    for size in (0, 1, 511, 512, 513, 1_500_000):
        (root / "sub" / f"f{size}").write_bytes(os.urandom(size))
    (root / "setuid").write_bytes(b"#!")
    os.chown(root / "setuid", 1000, 1001)
    (root / "setuid").chmod(0o6755)
    os.link(root / "setuid", root / "zlinked")
    (root / "dangling").symlink_to("nowhere/" + "x" * 120)
    os.lchown(root / "dangling", 5, 6)
    os.mkfifo(root / "pipe", 0o622)
    (root / "ünïcode \n").write_bytes(b"name")
    os.utime(root / "setuid", ns=(10**18, 123_456_789_012_345_678))
    try:
        os.setxattr(root / "setuid", "user.note", b"\0value\xff")
        os.setxattr(root / "sub", "user.note", b"of a directory")
    except OSError:
        pass


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_gnu_tar(tmp_path: Path, format: str) -> None:
    source, theirs, ours = (tmp_path / name for name in ("source", "theirs", "ours"))
    for folder in (source, theirs, ours):
        folder.mkdir()
    make_source(source)
    archive = tmp_path / "layer.tar"
    attributes = ["--xattrs"] if format == "pax" else []
    run(peer("tar"), f"--format={format}", *attributes, "-cf", archive, "-C", source, ".")
    run(peer("tar"), "--numeric-owner", "--xattrs", "--xattrs-include=user.*", "-xpf", archive, "-C", theirs)
    apply(ours, archive.read_bytes())
    assert tree(ours) == tree(theirs)


LAYERS = (
    layer(
        directory(b"etc"),
        entry(b"etc/passwd", content=b"root:x:0:0:root:/root:/bin/sh\n", mtime=100, uid=0),
        directory(b"usr/lib"),
        symlink(b"lib", b"usr/lib"),
        entry(b"usr/bin", b"5", mode=0o755, mtime=7, uid=0),
        entry(b"usr/bin/tool", content=b"#!/bin/sh\n", mode=0o4755, uid=1000, mtime=5),
        hardlink(b"usr/bin/alias", b"usr/bin/tool"),
        directory(b"gone/deep/er"),
        file(b"gone/deep/er/x", b"x"),
        directory(b"opaque"),
        file(b"opaque/old", b"old"),
        directory(b"var"),
        entry(b"var/pipe", b"6", mode=0o600),
        entry(b"attr", content=b"a", records={b"SCHILY.xattr.user.k": b"v"}),
    ),
    layer(
        directory(b"opaque"),
        file(b"opaque/.wh..wh..opq"),
        file(b"opaque/new", b"new"),
        file(b".wh.gone"),
        file(b"lib/through", b"a link"),
        file(b"usr/bin/alias", b"replaced"),
    ),
    layer(
        directory(b"gone"),
        file(b"gone/again", b"back"),
        directory(b"etc", mode=0o700),
        file(b"etc/.wh.passwd"),
        file(b"var", b"now a file"),
        directory(b"attr"),
    ),
)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_umoci(tmp_path: Path, compression: Compression) -> None:
    img = image_from_layers(LAYERS, config=Config(cmd=("/usr/bin/tool",)), compression=compression)
    with layout.open(tmp_path / "layout", create=True) as store:
        store.put(img, tag="app")
    run(peer("umoci"), "unpack", "--image", f"{tmp_path}/layout:app", tmp_path / "theirs")
    bundle = unpack(img, tmp_path / "ours")
    theirs, ours = tree(tmp_path / "theirs" / "rootfs"), tree(bundle.rootfs)
    implicit = {"usr", "gone"}  # not described by any layer, or again: their times are nobody's word
    for name in implicit & theirs.keys() & ours.keys():
        theirs[name], ours[name] = (found[name][:2] for found in (theirs, ours))
    assert ours == theirs


def test_umoci_with_mappings(tmp_path: Path) -> None:
    """For a container in a user namespace: the same owners on disk, set-id bits kept."""
    img = image_from_layers(LAYERS, config=Config(cmd=("/usr/bin/tool",)))
    with layout.open(tmp_path / "layout", create=True) as store:
        store.put(img, tag="app")
    source, host = f"{tmp_path}/layout:app", "0:100000:65536"
    options = ["--uid-map", host, "--gid-map", host]
    run(peer("umoci"), "unpack", *options, "--image", source, tmp_path / "theirs")
    bundle = unpack(img, tmp_path / "ours", mappings=Mappings.of(100_000, 65_536))
    theirs, ours = tree(tmp_path / "theirs" / "rootfs"), tree(bundle.rootfs)
    assert theirs["usr"][1] == (0, 0), "umoci leaves directories that no layer describes to the host's root"
    del theirs["usr"], ours["usr"]
    assert {name: seen[:2] for name, seen in ours.items()} == {
        name: seen[:2] for name, seen in theirs.items()
    }


def test_umoci_records_owners(tmp_path: Path) -> None:
    """Rootless: umoci and ociworks keep the owner in the same attribute, byte for byte."""
    img = image_from_layers([layer(entry(b"f", uid=1000), entry(b"d", b"5", uid=70_000), entry(b"r", uid=0))])
    with layout.open(tmp_path / "layout", create=True) as store:
        store.put(img, tag="app")
    source = f"{tmp_path}/layout:app"
    run(peer("umoci"), "unpack", "--rootless", "--image", source, tmp_path / "theirs")
    ours = tmp_path / "ours"
    ours.mkdir()
    fd = os.open(ours, os.O_RDONLY)
    try:
        unpack_layers(img.layers, fd, UnpackOptions(rootless=True, record_owners=True))
    finally:
        os.close(fd)
    rootfs = tmp_path / "theirs" / "rootfs"
    for name in ("f", "d", "r"):
        assert tree(ours)[name][-1] == tree(rootfs)[name][-1], name


def test_an_image_that_umoci_made(tmp_path: Path) -> None:
    """By repack: what ``umoci insert`` of version 0.4 writes has no end marker, and is refused (UN-20)."""
    image = f"{tmp_path}/layout:new"
    umoci, work = peer("umoci"), tmp_path / "work"
    run(umoci, "init", "--layout", tmp_path / "layout")
    run(umoci, "new", "--image", image)
    run(umoci, "unpack", "--image", image, work)
    make_source(work / "rootfs")
    run(umoci, "repack", "--refresh-bundle", "--image", image, work)
    for name in ("setuid", "pipe"):
        (work / "rootfs" / name).unlink()
    (work / "rootfs" / "sticky" / "new").write_bytes(b"new")
    (work / "rootfs" / "dangling").unlink()
    (work / "rootfs" / "dangling").mkdir()
    run(umoci, "repack", "--image", image, work)
    run(umoci, "config", "--image", image, "--config.cmd", "/bin/true", "--config.user", "5:6")
    run(umoci, "unpack", "--image", image, tmp_path / "theirs")
    with layout.open(tmp_path / "layout") as store:
        bundle = unpack(store.image("new"), tmp_path / "ours")
    theirs, ours = tree(tmp_path / "theirs" / "rootfs"), tree(bundle.rootfs)
    assert ours.keys() == theirs.keys()
    assert not {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}
    assert bundle.spec.process is not None
    assert (bundle.spec.process.user.uid, bundle.spec.process.user.gid) == (5, 6)
