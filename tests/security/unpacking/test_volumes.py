"""UN-23: what an image says of volumes, and trees that change while they are copied into and out of."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.errors import OciworksError
from ociworks.image import Layer, RuntimeOptions, runtime_spec, unpack
from ociworks.spec.image import Config, ImageConfiguration, RootFS
from ociworks.testing.images import image_from_layers
from tests.image.archives import Outside, apply, file, layer, listing, read, symlink

VOLUMES = (
    "/../../etc",
    "/proc",
    "/",
    "/link",
    "/data",
    "relative",
    "/a\nb",
    "/sys/fs/cgroup",
    "//etc//",
    "/dev",
)


def test_un_23_volumes_become_nothing() -> None:
    """No mount, no annotation, no path: the configuration is the one of an image that has none."""

    def configuration(volumes: tuple[str, ...]) -> spec.runtime.Spec:
        config = Config(cmd=("/bin/true",), volumes=volumes)
        image = ImageConfiguration(
            architecture="amd64", os="linux", config=config, rootfs=RootFS(diff_ids=())
        )
        return runtime_spec(image, RuntimeOptions())

    assert configuration(VOLUMES) == configuration(())
    assert spec.validate(configuration(VOLUMES)) == []


def test_un_23_volumes_leave_the_tree_alone(tmp_path: Path) -> None:
    """What is at a volume's place stays the image's; nothing is made, followed or copied for it."""
    archive = layer(symlink(b"link", b"/etc"), file(b"etc/x", b"1"), file(b"data/kept", b"2"))
    config = Config(cmd=("/bin/true",), volumes=VOLUMES)
    bundle = unpack(image_from_layers([archive], config=config), tmp_path / "bundle")
    expected = {"link": "-> /etc", "etc": "dir", "etc/x": b"1", "data": "dir", "data/kept": b"2"}
    assert listing(bundle.rootfs) == expected
    assert os.listdir(tmp_path) == ["bundle"]
    assert sorted(os.listdir(bundle.path)) == ["config.json", "rootfs"]


@contextmanager
def swapping(root: Path, target: str) -> Iterator[None]:
    """Somebody inside exchanges the directory ``x`` for a link and back, all the time."""
    ready, stop = threading.Event(), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.rename(root / "x", root / "away")
            with contextlib.suppress(OSError):
                os.symlink(target, root / "x")
            ready.set()
            with contextlib.suppress(OSError):
                os.unlink(root / "x")
            with contextlib.suppress(OSError):
                os.rename(root / "away", root / "x")

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        ready.wait(60)
        yield
    finally:
        stop.set()
        racer.join()


@pytest.mark.parametrize("target", ["/", "../canary"])
def test_un_23_copying_in_while_the_tree_changes(outside: Outside, target: str) -> None:
    (outside.root / "x").mkdir()
    with swapping(outside.root, target):
        for number in range(200):
            archive = layer(*(file(b"x/f%d" % (50 * number + item), b"in") for item in range(50)))
            with contextlib.suppress(OciworksError):
                apply(outside.root, archive)
    assert not [name for name in os.listdir("/") if name.startswith("f") and name[1:].isdigit()]


@pytest.mark.parametrize("target", ["/", "../canary"])
def test_un_23_copying_out_while_the_tree_changes(outside: Outside, target: str) -> None:
    """A layer of the tree has what was in it, and never what a link shows of the outside."""
    (outside.root / "x").mkdir()
    for number in range(20):
        (outside.root / "x" / f"file{number}").write_bytes(b"inside")
    with swapping(outside.root, target):
        for _ in range(100):
            try:
                found = Layer.from_directory(outside.root)
            except (OciworksError, OSError):
                continue
            with found.uncompressed() as stream:
                entries = read(stream.read())
            for entry, content in entries:
                assert entry.parts[:1] in ((), (b"x",), (b"away",))
                assert content in (b"", b"inside"), entry
                assert len(entry.parts) < 2 or entry.parts[1].startswith(b"file")


def test_un_23_names_are_no_patterns(outside: Outside) -> None:
    names = ["*", "?", "[a]", "{x,y}", "~", "$HOME", "`id`", "-rf"]
    for name in names:
        (outside.root / name).write_bytes(name.encode())
    with Layer.from_directory(outside.root).uncompressed() as stream:
        copied = {entry.path: content for entry, content in read(stream.read()) if entry.type == "file"}
    assert copied == {name.encode(): name.encode() for name in names}
    apply(outside.root, layer(*(file(b".wh." + name.encode()) for name in ("*", "?"))))
    assert set(listing(outside.root)) == set(names) - {"*", "?"}
