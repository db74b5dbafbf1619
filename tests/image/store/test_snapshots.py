"""Snapshots: unpacked once, shared, held while they are used, mounted and copied to the same tree."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.errors import DigestMismatch, ImageError, ImageNotFound, LimitExceeded, NotSupported
from ociworks.image import Image, Limits, Progress, store, unpack
from ociworks.spec.image import Config
from ociworks.testing import image_from_layers
from tests.image.archives import directory, file, hardlink, layer, symlink
from tests.ordinary import NOBODY, interpreter, readable_copy

BASE = layer(
    directory(b"."),
    directory(b"etc", mode=0o755),
    file(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    file(b"etc/old", b"old"),
    directory(b"var", mode=0o700),
    directory(b"var/lib"),
    file(b"var/lib/a", b"a"),
    symlink(b"lib", b"var/lib"),
    file(b"twin", b"twin"),
    hardlink(b"twin2", b"twin"),
    file(b"single", b"single"),
)
MIDDLE = layer(
    file(b"etc/.wh.old"),
    file(b"etc/new", b"new"),
    file(b"var/lib/.wh..wh..opq"),
    file(b"var/lib/b", b"b"),
    hardlink(b"third", b"single"),
)
TOP = layer(file(b"lib/c", b"c"), directory(b"etc", mode=0o711), file(b".wh.twin2"))


def image(*layers: bytes) -> Image:
    return image_from_layers(layers, config=Config(cmd=("/bin/true",)))


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[store.Snapshots]:
    """A store of its own; afterwards descriptors and threads are as before, and nothing half-made is left."""
    descriptors, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
    with store.Snapshots(tmp_path / "snapshots") as made:
        yield made
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads
    assert os.listdir(tmp_path / "snapshots" / "locks") == []
    assert [name for name in os.listdir(tmp_path / "snapshots" / "layers") if name.startswith(".")] == []


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything of a tree but its inode numbers: names of one inode are grouped."""
    found: dict[str, tuple[object, ...]] = {}
    names: dict[int, list[str]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        info, name = path.lstat(), str(path.relative_to(root))
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else ""
        xattrs = sorted(os.listxattr(path, follow_symlinks=False))
        found[name] = (
            stat.filemode(info.st_mode),
            info.st_uid,
            info.st_gid,
            info.st_mtime_ns,
            content,
            target,
            xattrs,
        )
        if not stat.S_ISDIR(info.st_mode):
            names.setdefault(info.st_ino, []).append(name)
    return found | {f"group {group[0]}": tuple(group) for group in names.values()}


def unpacked(img: Image, path: Path) -> object:
    """The oracle: the tree that plain unpacking makes."""
    return described(Path(unpack(img, path).rootfs))


def test_copy_is_what_unpack_makes(snapshots: store.Snapshots, tmp_path: Path) -> None:
    """Whiteouts, opaque directories, links and owners of three layers come to the same tree as unpacking them."""
    img = image(BASE, MIDDLE, TOP)
    with snapshots.prepare(img) as snapshot:
        snapshot.copy(tmp_path / "copy")
    assert described(tmp_path / "copy") == unpacked(img, tmp_path / "bundle")


@pytest.mark.root
@pytest.mark.parametrize("layers", [(BASE,), (BASE, MIDDLE), (BASE, MIDDLE, TOP)], ids=len)
def test_mount_is_what_unpack_makes(
    layers: tuple[bytes, ...], snapshots: store.Snapshots, tmp_path: Path
) -> None:
    """What overlayfs shows of the layer directories is the same tree too, and cannot be written."""
    img = image(*layers)
    (tmp_path / "mnt").mkdir()
    with snapshots.prepare(img) as snapshot, snapshot.mounted(tmp_path / "mnt") as root:
        assert described(Path(root)) == unpacked(img, tmp_path / "bundle")
        with pytest.raises(OSError, match="Read-only"):
            Path(root, "x").touch()
    assert os.listdir(tmp_path / "mnt") == []


@pytest.mark.root
def test_what_is_written_stays_in_the_state(snapshots: store.Snapshots, tmp_path: Path) -> None:
    """A writable mount leaves the layers alone; its changes are there again next time."""
    (tmp_path / "mnt").mkdir()
    with snapshots.prepare(image(BASE, MIDDLE)) as snapshot:
        with snapshot.mounted(tmp_path / "mnt", tmp_path / "state") as root:
            Path(root, "etc/new").write_bytes(b"changed")
            Path(root, "third").unlink()
        with snapshot.mounted(tmp_path / "mnt", tmp_path / "state") as root:
            assert Path(root, "etc/new").read_bytes() == b"changed"
            assert not Path(root, "third").exists()
        with snapshot.mounted(tmp_path / "mnt") as root:
            assert Path(root, "etc/new").read_bytes() == b"new"
            assert Path(root, "third").read_bytes() == b"single"


def test_layers_are_shared_and_unpacked_once(snapshots: store.Snapshots) -> None:
    """Two images with the same base have one directory for it."""
    events: list[Progress] = []
    snapshots.prepare(image(BASE, MIDDLE), progress=events.append).close()
    snapshots.prepare(image(BASE, TOP), progress=events.append).close()
    snapshots.prepare(image(BASE, TOP), progress=events.append).close()
    assert [event.phase for event in events].count("start") == 3
    assert len(snapshots.chain_ids()) == 3


def test_many_at_once(snapshots: store.Snapshots) -> None:
    """Threads that need the same layers at once unpack each of them once."""
    started: list[str] = []
    img = image(BASE, MIDDLE, TOP)

    def note(event: Progress) -> None:
        if event.phase == "start":
            started.append(str(event.digest))

    def prepare() -> None:
        snapshots.prepare(img, progress=note).close()

    threads = [threading.Thread(target=prepare) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == sorted(str(each.digest) for each in img.layers)


def test_what_is_used_is_kept(snapshots: store.Snapshots) -> None:
    """An open snapshot keeps its layers; once closed they can go, except those of images that are named."""
    both, base = image(BASE, MIDDLE), image(BASE)
    with snapshots.prepare(both):
        assert snapshots.prune() == ()
        assert snapshots.prune(dry_run=True) == ()
    assert snapshots.prune(dry_run=True) == tuple(sorted(both.config.rootfs.chain_ids(), key=str))
    assert snapshots.prune(keep=both.config.rootfs.chain_ids()) == ()
    assert snapshots.prune(keep=[base]) == both.config.rootfs.chain_ids()[1:]
    assert snapshots.chain_ids() == base.config.rootfs.chain_ids()
    assert snapshots.prune() == base.config.rootfs.chain_ids()
    assert snapshots.remove(base.config.rootfs.chain_ids()[0]) is False


def test_un_18_limits_are_for_the_whole_image(snapshots: store.Snapshots) -> None:
    """What an image may have is counted over all of its layers, however they are kept."""
    limits = Limits(entries_per_layer=12, entries_per_image=14)
    with pytest.raises(LimitExceeded, match="entries_per_image"):
        snapshots.prepare(image(BASE, MIDDLE), limits=limits)
    assert len(snapshots.chain_ids()) == 1


def test_usage(snapshots: store.Snapshots) -> None:
    """Allocated bytes and inodes, of each layer and of all that an image needs."""
    img = image(layer(file(b"a", b"x" * 100_000), hardlink(b"b", b"a")), TOP)
    with snapshots.prepare(img) as snapshot:
        first, second = (snapshots.usage(chain_id) for chain_id in snapshot.chain_ids)
        assert 100_000 <= first.bytes < 200_000
        assert first.inodes == 2
        assert snapshot.usage == first + second
    with pytest.raises(ImageError, match="closed"):
        _ = snapshot.usage
    snapshots.prune()
    with pytest.raises(ImageNotFound):
        snapshots.usage(img.config.rootfs.chain_ids()[0])


def test_a_false_layer_leaves_nothing(snapshots: store.Snapshots) -> None:
    """A diff ID that does not fit ends the preparation; the layers below, which were right, stay."""
    from attrs import evolve

    good = image(BASE, MIDDLE)
    false = image(BASE, TOP)
    rootfs = evolve(false.config.rootfs, diff_ids=good.config.rootfs.diff_ids)
    img = _WithConfig(false, evolve(false.config, rootfs=rootfs))
    with pytest.raises(DigestMismatch):
        snapshots.prepare(img)  # type: ignore[arg-type]
    assert snapshots.chain_ids() == good.config.rootfs.chain_ids()[:1]


class _WithConfig:
    """An image whose configuration was exchanged, which verified sources never give out."""

    def __init__(self, below: Image, config: object) -> None:
        from ociworks.image.partial import _Layer  # the layers' own diff IDs must tell the same story

        self.config = config
        self.digest = below.digest
        self.layers = tuple(
            _Layer(each.descriptor, diff_id, each._blobs)  # type: ignore[attr-defined]
            for each, diff_id in zip(below.layers, config.rootfs.diff_ids, strict=True)  # type: ignore[attr-defined]
        )


@pytest.mark.root
def test_un_08_nobody_else_may_come_in(tmp_path: Path) -> None:
    """A store is private whatever the umask is; a directory that is not so is refused."""
    old = os.umask(0)
    try:
        with store.Snapshots(tmp_path / "a") as snapshots, snapshots.prepare(image(BASE)):
            for place in (tmp_path / "a", tmp_path / "a" / "layers", *(tmp_path / "a" / "layers").iterdir()):
                assert stat.S_IMODE(place.stat().st_mode) == 0o700
    finally:
        os.umask(old)
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(ImageError, match="0700"):
        store.Snapshots(tmp_path / "open")
    (tmp_path / "other").mkdir(mode=0o700)
    os.chown(tmp_path / "other", 1234, 0)
    with pytest.raises(ImageError, match="user 1234"):
        store.Snapshots(tmp_path / "other")


PROGRAM = """
import json, os, sys
from pathlib import Path
from ociworks.image import layout, store
from ociworks.errors import NotSupported
root = Path(sys.argv[1])
def show(tree):
    print(json.dumps([sorted(os.listdir(tree + below)) for below in ("", "/etc", "/var/lib")]))
with layout.open(root / "layout") as images, store.Snapshots(root / "snapshots") as snapshots:
    with snapshots.prepare(images.image("x")) as snapshot:
        if sys.argv[2] == "mount":
            (root / "mnt").mkdir(exist_ok=True)
            with snapshot.mounted(root / "mnt", root / "state") as there:
                (Path(there) / "written").write_text("w")
                show(there)
        else:
            (root / "mnt").mkdir(exist_ok=True)
            try:
                with snapshot.mounted(root / "mnt"):
                    print("mounted")
            except NotSupported:
                snapshot.copy(root / "copy")
                there = str(root / "copy")
                show(there)
"""


def _needs_user_attributes(place: Path) -> None:
    try:
        os.setxattr(place, "user.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(
            f"{place}: no user attributes, which mark opaque directories in a user namespace: {error}"
        )
    os.removexattr(place, "user.overlay.opaque")


@pytest.mark.root
@pytest.mark.userns
@pytest.mark.parametrize("kind", ["mount", "copy"])
def test_an_ordinary_user(kind: str) -> None:
    """In a user namespace overlayfs is mounted with the user's own marks; without one the tree is copied."""
    from ociworks.image import layout

    with tempfile.TemporaryDirectory(prefix="ociworks-tests-") as name:
        place = Path(name)
        _needs_user_attributes(place)
        readable_copy(place / "library", "ociworks", "attr", "attrs")
        with layout.open(place / "layout", create=True) as images:
            images.put(image(BASE, MIDDLE, TOP), tag="x")
        for path in (place, *place.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        done = subprocess.run(
            [
                *(["unshare", "-Urm"] if kind == "mount" else []),
                interpreter(NOBODY),
                "-c",
                PROGRAM,
                name,
                kind,
            ],
            user=NOBODY,
            group=NOBODY,
            extra_groups=(),
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(place / "library")},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    if kind == "mount" and "unshare failed" in done.stderr:
        pytest.skip(f"no unprivileged user namespaces: {done.stderr}")
    assert done.returncode == 0, done.stderr
    written = ["written"] if kind == "mount" else []
    assert json.loads(done.stdout) == [
        ["etc", "lib", "single", "third", "twin", "var", *written],
        ["new", "passwd"],
        ["b", "c"],
    ]


def test_a_store_of_another_form(snapshots: store.Snapshots) -> None:
    """Layers of root and layers of a user namespace are never mixed."""
    form = Path(snapshots.path, "form")
    os.chmod(form, 0o600)
    form.write_bytes(b"mapped")
    with pytest.raises(NotSupported, match="mapped"):
        store.Snapshots(snapshots.path)


def test_layers_that_are_there_can_be_held_by_their_names(snapshots: store.Snapshots) -> None:
    """Without the image: what a container was given before this process began."""
    img = image(BASE, TOP)
    with pytest.raises(ImageNotFound, match="no layer"):
        snapshots.held(img.config.rootfs.chain_ids())
    with snapshots.prepare(img) as prepared:
        directories = prepared.directories
    with snapshots.held(img.config.rootfs.chain_ids()) as held:
        assert held.directories == directories
        assert snapshots.prune() == ()
    assert set(snapshots.prune()) == set(img.config.rootfs.chain_ids())
    with pytest.raises(ImageNotFound):
        snapshots.held(img.config.rootfs.chain_ids())


def test_what_the_killed_have_left_goes(snapshots: store.Snapshots, tmp_path: Path) -> None:
    left = tmp_path / "snapshots/layers/.ociworks-unpack-abc"
    left.mkdir()
    (left / "fs").mkdir()
    (tmp_path / "snapshots/locks/sha256-abc").touch()
    snapshots.clean()
    assert not left.exists()


@pytest.mark.root
def test_a_copy_for_other_owners(snapshots: store.Snapshots, tmp_path: Path) -> None:
    with snapshots.prepare(image(BASE)) as snapshot:
        snapshot.copy(tmp_path / "same")
        snapshot.copy(tmp_path / "other", lambda uid, gid: (uid + 1000, gid + 2000))
    found = sorted(path.relative_to(tmp_path / "same") for path in (tmp_path / "same").rglob("*"))
    assert found == sorted(path.relative_to(tmp_path / "other") for path in (tmp_path / "other").rglob("*"))
    for name in found:
        one, two = ((tmp_path / place / name).lstat() for place in ("same", "other"))
        assert (two.st_uid, two.st_gid, two.st_mode) == (one.st_uid + 1000, one.st_gid + 2000, one.st_mode)
