"""Pull, push and verify: against the registry in this process, with a store on disk."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import ociworks
from ociworks import errors, testing
from ociworks.api import default_store, stored
from ociworks.image import Image, Progress, Reference, partial, remote
from ociworks.image.memory import MemoryBlobs
from ociworks.spec import to_json


@pytest.fixture
def registry() -> Iterator[testing.Registry]:
    """A registry on loopback."""
    with testing.Registry() as server:
        yield server


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty default store."""
    monkeypatch.setenv("OCIWORKS_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def test_there_and_back(registry: testing.Registry, store: Path) -> None:
    """What is pulled is what was pushed, byte for byte, and can be read when the registry is gone."""
    made = testing.random_image(layers=3)
    name = f"{registry.host}/app:1"
    assert ociworks.push(made, name) == Reference.parse(name).at(made.digest)
    pulled = ociworks.pull(name)
    registry.close()
    assert pulled.raw_manifest == made.raw_manifest
    assert pulled.raw_config == made.raw_config
    ociworks.verify(pulled)
    found = stored(name)
    assert found is not None
    assert found.digest == made.digest
    assert stat.S_IMODE(store.stat().st_mode) == 0o700


def test_images_hold_no_descriptors(registry: testing.Registry) -> None:
    """A thousand pulled images are values: none of them keeps a file open."""
    ociworks.push(testing.random_image(1), f"{registry.host}/app:1")
    ociworks.pull(f"{registry.host}/app:1")
    gc.collect()
    before = os.listdir("/proc/self/fd")
    images = [stored(f"{registry.host}/app:1") for _ in range(20)]
    assert all(images)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("repository", ["a__b/c", "a---b", "a.b-c_d"])
def test_every_reference_can_be_stored(registry: testing.Registry, repository: str) -> None:
    """A name that the layout's grammar has no room for is stored too, and is found again."""
    name = f"{registry.host}/{repository}:1.0_-"
    made = testing.random_image(1)
    ociworks.push(made, name)
    assert ociworks.pull(name).digest == made.digest
    found = stored(name)
    assert found is not None
    assert found.digest == made.digest
    assert stored(f"{registry.host}/{repository}:2") is None


def test_a_moved_tag_is_pulled_anew(registry: testing.Registry) -> None:
    """A pull asks the registry what the tag is now; the store's answer is only as old as the last pull."""
    name = f"{registry.host}/app:1"
    first, second = testing.random_image(seed=1), testing.random_image(seed=2)
    ociworks.push(first, name)
    assert ociworks.pull(name).digest == first.digest
    ociworks.push(second, name)
    found = stored(name)
    assert found is not None
    assert found.digest == first.digest
    assert ociworks.pull(name).digest == second.digest


def test_platforms(registry: testing.Registry) -> None:
    """One name, several platforms: the store does not answer with another platform's image."""
    index = testing.random_index(("linux/amd64", "linux/arm64"))
    name = f"{registry.host}/app:1"
    with remote.Client() as client:
        client.push(index, name)
    arm = ociworks.pull(name, platform="linux/arm64")
    assert arm.config.architecture == "arm64"
    assert stored(name, platform="linux/amd64") is None
    assert ociworks.pull(name, platform="linux/amd64").config.architecture == "amd64"
    with pytest.raises(errors.ImageNotFound):
        ociworks.pull(name, platform="linux/s390x")


def test_progress_comes_for_each_blob(registry: testing.Registry) -> None:
    """Every layer starts and is done; a second pull skips what is there."""
    made = testing.random_image(layers=2)
    name = f"{registry.host}/app:1"
    ociworks.push(made, name)
    events: list[Progress] = []
    ociworks.pull(name, progress=events.append)
    done = {event.digest for event in events if event.phase == "done"}
    assert {layer.digest for layer in made.layers} <= done
    events.clear()
    ociworks.pull(name, progress=events.append)
    assert {event.phase for event in events} == {"skip"}


def test_a_callback_can_cancel(registry: testing.Registry) -> None:
    """What the callback raises reaches the caller, and nothing is named in the store."""
    ociworks.push(testing.random_image(), f"{registry.host}/app:1")

    def cancel(event: Progress) -> None:
        raise KeyboardInterrupt(event.phase)

    with pytest.raises(KeyboardInterrupt):
        ociworks.pull(f"{registry.host}/app:1", progress=cancel)
    assert stored(f"{registry.host}/app:1") is None


def test_verify_finds_damage(registry: testing.Registry, store: Path) -> None:
    """One flipped bit in the store is found, and named by its digest."""
    ociworks.push(testing.random_image(), f"{registry.host}/app:1")
    image = ociworks.pull(f"{registry.host}/app:1")
    blob = store / "blobs" / "sha256" / image.layers[1].digest.encoded
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    with pytest.raises(errors.InvalidImage, match=r"layers\[1\]"):
        ociworks.verify(image)


def test_verify_compares_diff_ids() -> None:
    """A configuration that lies about the uncompressed layer is found, though every blob has its digest."""
    honest, other = testing.random_image(1, seed=1), testing.random_image(1, seed=2)
    liar = with_configuration_of(honest, other)
    with pytest.raises(errors.InvalidImage, match="uncompressed"):
        ociworks.verify(liar)


def with_configuration_of(image: Image, other: Image) -> Image:
    """The layers of one image under the configuration of another."""
    manifest = attrs.evolve(image.manifest, config=other.manifest.config)
    blobs = in_memory(image)
    return partial.image(to_json(manifest), other.raw_config, blobs)


def in_memory(image: Image) -> MemoryBlobs:
    """The layers of an image, in memory."""
    blobs = MemoryBlobs()
    for layer in image.layers:
        with layer.open() as stream:
            blobs.add(stream.read(), layer.media_type)
    return blobs


def test_the_default_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment decides; then root has a place of its own, and others their data home."""
    assert default_store() == tmp_path / "store"
    monkeypatch.delenv("OCIWORKS_STORE")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_store() == Path("/var/lib/ociworks/layout")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_store() == tmp_path / "ociworks" / "layout"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store() == tmp_path / ".local" / "share" / "ociworks" / "layout"
    monkeypatch.setenv("HOME", "")
    with pytest.raises(errors.NotSupported, match="OCIWORKS_STORE"):
        default_store()
