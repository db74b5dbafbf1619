"""Many at once: pulls, removals and containers of the same images, on one node."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.cri.images import Images
from ociworks.errors import OciworksError
from ociworks.image.store import Snapshots
from tests.cri.test_images import NAME, left_over, listed, opened, pull, pushed, remove, source

__all__ = ["source"]

WORKERS = 6
STEPS = 12


def live(images: Images, seed: int) -> bool:
    """Pull, run and remove by chance; whether every layer that was held could be read."""
    chance = random.Random(seed)
    good = True
    for _ in range(STEPS):
        number = chance.randrange(3)
        name = f"{NAME}:{number}"
        if chance.random() < 0.4:
            remove(images, name)
            continue
        pull(images, name)
        container = secrets.token_hex(32)
        try:
            root = images.root(container, images.get(name))
        except OciworksError:
            continue  # somebody removed the image meanwhile
        if chance.random() < 0.2:
            remove(images, name)
        good = good and root.snapshot.read(f"own{number}", 10) == b"3"
        images.release(container)
    return good


def test_nothing_that_is_used_goes_and_nothing_else_stays(place: Path, source: testing.Registry) -> None:
    """Layers are shared between the images; what a container holds can be read whatever the others do."""
    bases = [{"base": b"1"}, {"more": b"2"}]
    for number in range(3):
        layers = [*bases[: 1 + number % 2], {f"own{number}": b"3"}]
        pushed(source, testing.image_from_layers(layers), f"app:{number}")
    with opened(place, source) as images:
        with ThreadPoolExecutor(WORKERS) as pool:
            assert all(pool.map(lambda seed: live(images, seed), range(WORKERS)))
        for each in images.holders():
            images.release(each)
        for image in listed(images):
            remove(images, image)
        assert left_over(place) == []


def test_a_release_leaves_those_who_share(place: Path, source: testing.Registry) -> None:
    pushed(source, testing.image_from_layers([{"a": b"1"}]))
    with opened(place, source) as images:
        local = images.get(pull(images))
        one, two = secrets.token_hex(32), secrets.token_hex(32)
        images.root(one, local)
        second = images.root(two, local)
        remove(images, local.id)
        images.release(one)
        assert second.snapshot.read("a", 10) == b"1"
        with Snapshots(place / "root/snapshots") as snapshots:
            assert len(snapshots.chain_ids()) == 1
        images.release(two)
        assert left_over(place) == []


def test_nothing_of_this_process_stays(place: Path, source: testing.Registry) -> None:
    """No descriptor and no thread, whatever happened."""
    pushed(source, testing.image_from_layers([{"a": b"1"}, {"b": b"2"}]))
    pushed(source, testing.image_from_layers([b"no archive" * 100]), "app:bad")
    descriptors, threads = set(os.listdir("/proc/self/fd")), own_threads()
    with opened(place, source) as images:
        local = images.get(pull(images))
        for name in (f"{NAME}:bad", f"{source.host}/none:1", "127.0.0.1:1/a:1"):
            with pytest.raises(OciworksError):
                pull(images, name)
        kept, gone = secrets.token_hex(32), secrets.token_hex(32)
        images.root(kept, local)
        images.root(gone, local)
        images.release(gone)
        remove(images, local.id)
    assert set(os.listdir("/proc/self/fd")) - descriptors <= registry_connections()
    assert own_threads() == threads


def own_threads() -> set[str]:
    return {each.name for each in threading.enumerate() if not each.name.startswith("ociworks-registry")}


def registry_connections() -> set[str]:
    """Sockets of the registry, which is in this process too and may not have noticed yet that the client is gone."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                found.add(fd)
    return found
