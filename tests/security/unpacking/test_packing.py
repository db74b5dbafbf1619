"""Packing a tree that somebody else changes meanwhile (UN-23): nothing from outside of it gets into a layer."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.errors import LayerError
from ociworks.image import Layer, repack
from tests.image import archives

SECRET = b"what nobody in the tree may see"
ROUNDS = 300


@contextlib.contextmanager
def exchanging(folder: Path, outside: Path) -> Iterator[None]:
    """A thread that makes ``folder`` a directory and a link to ``outside`` in turns, as fast as it can."""
    stop = threading.Event()
    aside = folder.with_name("aside")
    link = folder.with_name("link")

    def exchange() -> None:
        while not stop.is_set():
            link.symlink_to(outside)
            folder.rename(aside)
            link.rename(folder)
            folder.unlink()
            aside.rename(folder)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def archive(layer: Layer) -> bytes:
    with layer.uncompressed() as stream:
        return stream.read()


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "file").write_bytes(SECRET)
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "file").write_bytes(b"mine")
    return root, outside


@pytest.mark.parametrize("way", ["from_directory", "overlay", "repack"])
def test_un_23_a_tree_that_changes_meanwhile(places: tuple[Path, Path], way: str) -> None:
    """Directory and link change places all the time: a consistent layer or a typed error, never the other file."""
    root, outside = places
    img = testing.image_from_layers([archives.layer(archives.directory(b"dir"))])
    ways: dict[str, Callable[[], Layer]] = {
        "from_directory": lambda: Layer.from_directory(root),
        "overlay": lambda: Layer.from_overlay_upper(root),
        "repack": lambda: repack(img, root),
    }
    before = len(os.listdir("/proc/self/fd"))
    with exchanging(root / "dir", outside):
        for _ in range(ROUNDS):
            try:
                layer = ways[way]()
            except LayerError:
                continue
            assert SECRET not in archive(layer)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert (outside / "file").read_bytes() == SECRET
