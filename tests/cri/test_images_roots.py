"""Root filesystems of containers from images: held, given back, found again; images as volumes."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociworks import testing
from ociworks._linux.path import remove_tree_at
from ociworks.cri.images import Images, UserNamespace
from ociworks.errors import ImageNotFound, InvalidRequest, NotSupported
from ociworks.image.store import Snapshots
from ociworks.spec.runtime import IDMapping
from ociworks.testing import File, image_from_layers
from tests.cri.test_images import NAME, left_over, listed, opened, pull, pushed, remove, source

__all__ = ["source"]

PASSWD = b"root:x:0:0::/:/bin/sh\nme:x:7:7::/:/bin/sh\n"
IMAGE = image_from_layers(
    [
        {"etc/passwd": PASSWD, "etc/group": b"root:x:0:\n", "old": b"1", "data/file": File(b"data", 0o640)},
        {
            "new": b"2",
            "data/inside": File(link="file"),
            "data/out": File(link="../new"),
            "data/away": File(link="/etc"),
            "loop": File(link="loop"),
        },
    ]
)

as_root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting on the host needs root"),
]


@pytest.fixture
def images(place: Path, source: testing.Registry) -> Iterator[Images]:
    """A node's images, with one pulled."""
    pushed(source, IMAGE)
    with opened(place, source) as made:
        pull(made)
        yield made
        for each in made.holders():
            made.release(each)


def test_an_image_without_layers_is_an_empty_root(place: Path, source: testing.Registry) -> None:
    pushed(source, image_from_layers([]))
    with opened(place, source) as images:
        one = new_id()
        root = images.root(one, images.get(pull(images)))
        assert root.overlay is not None
        assert [os.listdir(lower) for lower in root.overlay.lowers] == [[]]
        if os.geteuid() == 0:
            two = new_id()
            assert os.listdir(images.root(two, images.get(f"{NAME}:1"), mounted=True).path) == []
            images.release(two)
        images.release(one)


def new_id() -> str:
    return secrets.token_hex(32)


def layers(place: Path) -> int:
    with Snapshots(place / "root/snapshots") as snapshots:
        return len(snapshots.chain_ids())


def test_a_root_is_an_overlay_with_changes_of_its_own(place: Path, images: Images) -> None:
    one, two = new_id(), new_id()
    local = images.get(f"{NAME}:1")
    first, second = images.root(one, local), images.root(two, local)
    assert first.overlay is not None
    assert second.overlay is not None
    assert len(first.overlay.lowers) == 2
    assert first.overlay.lowers == second.overlay.lowers
    assert first.overlay.upper != second.overlay.upper
    assert (Path(first.path) / "etc/passwd").read_bytes() == PASSWD
    assert images.root(one, local) == first
    assert images.holders() == {one, two}
    images.release(one)
    images.release(one)
    assert images.holders() == {two}
    assert not Path(first.path).exists()


def test_usage_is_what_was_written(images: Images) -> None:
    one = new_id()
    assert images.usage(one) == (0, 0)
    root = images.root(one, images.get(f"{NAME}:1"))
    assert root.overlay is not None
    before = images.usage(one)
    assert before[1] == 1
    (Path(root.overlay.upper or "") / "big").write_bytes(bytes(1 << 20))
    bytes_used, inodes = images.usage(one)
    assert bytes_used >= before[0] + (1 << 20)
    assert inodes == 2


def test_layers_in_use_outlive_their_image(place: Path, images: Images) -> None:
    one = new_id()
    root = images.root(one, images.get(f"{NAME}:1"))
    remove(images, f"{NAME}:1")
    assert listed(images) == {}
    assert layers(place) == 2
    assert root.snapshot.read("old", 10) == b"1"
    images.release(one)
    assert left_over(place) == []


def test_layers_in_use_outlive_their_image_and_the_server(place: Path, source: testing.Registry) -> None:
    pushed(source, IMAGE)
    one = new_id()
    with opened(place, source) as images:
        pull(images)
        images.root(one, images.get(f"{NAME}:1"))
        remove(images, f"{NAME}:1")
    with opened(place, source) as images:
        assert layers(place) == 2
        assert images.holders() == {one}
        images.release(one)
        assert left_over(place) == []


def test_layers_that_are_missing_are_unpacked_again(place: Path, source: testing.Registry) -> None:
    pushed(source, IMAGE)
    with opened(place, source) as images:
        pull(images)
    with Snapshots(place / "root/snapshots") as snapshots:
        snapshots.prune()
    with opened(place, source) as images:
        images.root(new_id(), images.get(f"{NAME}:1"))
        assert layers(place) == 2


def test_what_is_released_is_removed_aside(
    place: Path, source: testing.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what a killed server did not get to, by the next one."""
    pushed(source, IMAGE)
    removed = threading.Event()

    def later(*arguments: Any, **keywords: Any) -> None:
        removed.wait(60)
        remove_tree_at(*arguments, **keywords)

    left = place / "root/trash/left/upper"
    left.mkdir(parents=True)
    monkeypatch.setattr("ociworks.cri.images.trash.remove_tree_at", later)
    with opened(place, source) as images:
        one = new_id()
        root = images.root(one, images.get(pull(images)))
        assert root.overlay is not None
        Path(root.overlay.upper or "", "file").touch()
        images.release(one)
        assert images.holders() == frozenset()
        assert len(list((place / "root/trash").iterdir())) == 2
        removed.set()
    for _ in range(20):  # each server finishes at least what it has begun
        with opened(place, source):
            if not os.listdir(place / "root/trash"):
                return
    pytest.fail("the trash is never emptied")


def test_strangers_in_our_directories_are_left_alone(place: Path, source: testing.Registry) -> None:
    for directory in ("root/containers", "state/mounts"):
        (place / directory / "lost+found").mkdir(parents=True)
        (place / directory / ("a" * 64)).touch()
    with opened(place, source) as images:
        assert images.holders() == {"a" * 64}
    assert (place / "root/containers/lost+found").is_dir()


@pytest.mark.parametrize("id", ["", "../" + "a" * 61, "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_ids_become_names(images: Images, id: str) -> None:
    for call in (images.release, images.usage):
        with pytest.raises(InvalidRequest):
            call(id)
    with pytest.raises(InvalidRequest):
        images.root(id, images.get(f"{NAME}:1"))


@pytest.mark.parametrize("mark", [pytest.param(None, marks=as_root)])
class TestMounts:
    """What the host mounts."""

    def test_a_mounted_root(self, images: Images, mark: None) -> None:
        one = new_id()
        local = images.get(f"{NAME}:1")
        root = images.root(one, local, mounted=True)
        assert root.overlay is None
        assert (Path(root.path) / "new").read_bytes() == b"2"
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            (line,) = [line for line in mounts if f" {root.path} " in line]
        assert "volatile" in line, "its end would wait for the disk"
        (Path(root.path) / "old").unlink()
        assert images.root(one, local, mounted=True).path == root.path
        assert not (Path(root.path) / "old").exists()
        images.release(one)
        assert not os.path.exists(root.path)
        assert not Path(root.path).parent.exists()

    @pytest.mark.parametrize("copied", [False, True])
    def test_a_root_for_a_user_namespace(
        self, images: Images, mark: None, copied: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if copied:
            from ociworks.cri.images import mounts

            def refuse(*_: object) -> None:
                raise NotSupported("not here")

            monkeypatch.setattr(mounts, "_map", refuse)
        one = new_id()
        with user_namespace(100_000) as path:
            maps = (IDMapping(container_id=0, host_id=100_000, size=65_536),)
            users = UserNamespace(path=path, uids=maps, gids=maps)
            root = images.root(one, images.get(f"{NAME}:1"), users=users)
            info = os.stat(os.path.join(root.path, "data/file"))
            assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (100_000, 100_000, 0o640)
            assert os.stat(root.path).st_uid == 100_000
            assert images.usage(one)[1] >= (8 if copied else 1)
            volume = images.mount_of(one, f"{NAME}:1", users=users)
            assert os.stat(os.path.join(volume, "old")).st_uid == 100_000
            with pytest.raises(OSError, match="Read-only"):
                (Path(volume) / "x").write_bytes(b"")
            (Path(root.path) / "x").write_bytes(b"")
            images.release(one)
        assert not os.path.exists(root.path)

    def test_an_image_as_a_volume(self, images: Images, mark: None) -> None:
        one = new_id()
        volume = images.mount_of(one, f"{NAME}:1")
        assert (Path(volume) / "data/file").read_bytes() == b"data"
        with pytest.raises(OSError, match="Read-only"):
            (Path(volume) / "x").write_bytes(b"")
        by_digest = images.mount_of(one, f"{NAME}@{IMAGE.digest}", "data")
        assert by_digest == f"{volume}/data"
        assert images.mount_of(one, images.get(f"{NAME}:1").id, "data/inside") == f"{volume}/data/file"
        assert images.mount_of(one, f"{NAME}:1", "data/out") == f"{volume}/new"
        remove(images, f"{NAME}:1")
        assert (Path(volume) / "data/file").read_bytes() == b"data"
        with pytest.raises(ImageNotFound):
            images.mount_of(one, f"{NAME}:1")
        images.release(one)
        assert not os.path.exists(volume)

    @pytest.mark.parametrize(
        "path", ["../x", "data/../../x", "/etc", "data/away", "loop", "none", "old/x", "a" * 5000]
    )
    def test_cr_12_volumes_have_no_ways_out(self, images: Images, mark: None, path: str) -> None:
        with pytest.raises(InvalidRequest, match="image_sub_path"):
            images.mount_of(new_id(), f"{NAME}:1", path)


@contextmanager
def user_namespace(host: int) -> Iterator[str]:
    """The path of a user namespace that maps 65536 users to those from ``host`` on."""
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", "echo; read _"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child.pid}/{name}", "w", encoding="ascii") as file:
                file.write(f"0 {host} 65536\n")
        yield f"/proc/{child.pid}/ns/user"
        child.communicate(b"\n")
