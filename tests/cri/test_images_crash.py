"""A server that is killed while it pulls, unpacks or removes: the next one finds whole images, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.cri.images import Images
from tests.cri.nodes import config_below
from tests.cri.test_images import NAME, left_over, listed, pull, pushed, remove, source

__all__ = ["source"]

IMAGE = testing.image_from_layers([{"a": b"1" * 5000}, {"b": b"2"}])

DYING = """
import importlib, os, signal, sys
from pathlib import Path

module, kind, name, when, work, place, mirror = sys.argv[1:]
home = getattr(importlib.import_module(module), kind)
real, left = getattr(home, name), [int(when)]

def dying(*args, **keywords):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **keywords)

from tests.cri.nodes import config_below
from tests.cri.test_images import NAME, pull, remove
from ociworks.cri.images import Images

with Images(config_below(Path(place), mirror)) as images:
    if work == "remove":
        pull(images)
    setattr(home, name, dying)
    pull(images) if work == "pull" else remove(images, NAME + ":1")
print("survived")
"""

INSTANTS = {
    "while a blob is written": ("ociworks.image._cas", "BlobDirectory", "_publish", 1, "pull"),
    "between two blobs": ("ociworks.image._cas", "BlobDirectory", "_publish", 2, "pull"),
    "before anything is unpacked": ("ociworks.image.store.snapshots", "Snapshots", "prepare", 1, "pull"),
    "while a layer is unpacked": ("ociworks.image._unpack.staging", "Staging", "publish", 1, "pull"),
    "between two layers": ("ociworks.image._unpack.staging", "Staging", "publish", 2, "pull"),
    "before it has a name": ("ociworks.image.layout", "Layout", "enter", 1, "pull"),
    "while it gets its names": ("ociworks.image._cas", "BlobDirectory", "replace", 1, "pull"),
    "while names go": ("ociworks.image._cas", "BlobDirectory", "replace", 1, "remove"),
    "when its names are gone": ("ociworks.image.layout", "Layout", "gc", 1, "remove"),
    "when its blobs are gone": ("ociworks.image.store.snapshots", "Snapshots", "prune", 1, "remove"),
    "between two layers that go": ("ociworks.image.store.snapshots", "Snapshots", "remove", 2, "remove"),
}


@pytest.mark.parametrize("instant", INSTANTS)
def test_killed(place: Path, source: testing.Registry, instant: str) -> None:
    pushed(source, IMAGE)
    module, kind, name, when, work = INSTANTS[instant]
    arguments = [module, kind, name, str(when), work, str(place), source.url]
    done = subprocess.run(
        [sys.executable, "-c", DYING, *arguments],
        capture_output=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with Images(config_below(place, source.url)) as images:
        there = listed(images)
        if not there:
            assert left_over(place) == []
        assert temporary(place) == []
        assert pull(images) == str(IMAGE.manifest.config.digest)
        assert list(listed(images)[str(IMAGE.manifest.config.digest)].repo_tags) == [f"{NAME}:1"]
        remove(images, f"{NAME}:1")
        assert left_over(place) == []
    assert temporary(place) == []


def temporary(place: Path) -> list[str]:
    """Names that only something half-made has."""
    found: list[str] = []
    for directory, _, files in os.walk(place / "root"):
        name = os.path.basename(directory)
        if name.startswith(".ociworks-unpack"):
            found.append(directory)
        if name in {"ingest", "leases", "locks"}:
            found += [os.path.join(directory, file) for file in files]
    return found


def test_a_damaged_list_is_said(place: Path, source: testing.Registry) -> None:
    """The server runs, and every question about images says what is wrong (nothing is collected meanwhile)."""
    from ociworks.errors import LayoutError

    pushed(source, IMAGE)
    with Images(config_below(place, source.url)) as images:
        pull(images)
    index = place / "root/images/index.json"
    good = index.read_bytes()
    index.write_bytes(good[:-10])
    with Images(config_below(place, source.url)) as images:
        with pytest.raises(LayoutError, match=r"index\.json"):
            listed(images)
        assert list(images.trouble()) == ["index.json"]
        index.write_bytes(good)
        assert len(listed(images)) == 1
