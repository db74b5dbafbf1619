"""Copies between any two places: the same bytes, only what is missing, and what is attached."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ociworks
from ociworks import testing
from ociworks.errors import (
    BlobNotFound,
    ContentError,
    ImageNotFound,
    InvalidLocation,
    LayoutError,
    NotSupported,
)
from ociworks.image import Progress, Reference, archive, layout, partial
from ociworks.image.memory import MemoryBlobs
from ociworks.image.types import Image, ImageIndex
from ociworks.spec import to_json
from ociworks.spec.image import Manifest, mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterator

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/s390x")


@pytest.fixture
def registry() -> Iterator[testing.Registry]:
    with testing.Registry() as server:
        yield server


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OCIWORKS_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def place(kind: str, registry: testing.Registry, name: str) -> str:
    return {
        "registry": f"docker://{registry.host}/{name}:1",
        "layout": f"oci:{name}-layout:app",
        "oci-archive": f"oci-archive:{name}.oci.tar:app",
        "docker-archive": f"docker-archive:{name}.docker.tar:app:1",
        "store": f"store:{registry.host}/{name}:1",
    }[kind]


def read(where: str, platform: str | None = None) -> Image:
    """What lies at a place, from there into a layout of its own."""
    with layout.open("seen", create=True) as store:
        found = ociworks.copy(where, store, platforms=platform or ociworks.ALL)
        image = store.image(found.digest)
        assert store.verify() == []
    return image


KINDS = ["registry", "layout", "oci-archive", "docker-archive", "store"]


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("here", KINDS)
def test_between_any_two_places(here: str, there: str, registry: testing.Registry) -> None:
    """Config and layers stay what they are everywhere; so does the digest, for nothing else is in this manifest."""
    made = testing.random_image(2)
    ociworks.copy(made, place(here, registry, "here"))
    copied = ociworks.copy(place(here, registry, "here"), place(there, registry, "there"))
    assert copied.digest == made.digest
    found = read(place(there, registry, "there"))
    assert found.digest == made.digest
    assert found.raw_config == made.raw_config


@pytest.mark.parametrize("there", ["registry", "layout", "oci-archive", "store"])
@pytest.mark.parametrize("here", ["registry", "layout", "oci-archive", "store"])
def test_indexes_arrive_unchanged(here: str, there: str, registry: testing.Registry) -> None:
    made = testing.random_index(PLATFORMS)
    ociworks.copy(made, place(here, registry, "here"), platforms=ociworks.ALL)
    copied = ociworks.copy(
        place(here, registry, "here"), place(there, registry, "there"), platforms=ociworks.ALL
    )
    assert copied.digest == made.digest
    assert read(place(there, registry, "there"), "linux/s390x").config.architecture == "s390x"


def test_one_platform_several_or_all(registry: testing.Registry) -> None:
    made = testing.random_index(PLATFORMS)
    ociworks.copy(made, f"{registry.host}/app:1", platforms=ociworks.ALL)
    one = ociworks.copy(f"{registry.host}/app:1", "oci:l:one", platforms="linux/arm64")
    two = ociworks.copy(f"{registry.host}/app:1", "oci:l:two", platforms=["linux/arm64", "linux/s390x"])
    every = ociworks.copy(f"{registry.host}/app:1", "oci:l:all", platforms=PLATFORMS)
    with layout.open("l") as store:
        assert one.digest == made.image("linux/arm64").digest
        assert store.image("one").digest == one.digest
        found = store.index("two")
        assert found.digest == two.digest
        assert [str(entry.platform) for entry in found.index.manifests] == ["linux/arm64", "linux/s390x"]
        assert every.digest == made.digest
        assert store.verify() == []
    with pytest.raises(ImageNotFound):
        ociworks.copy(f"{registry.host}/app:1", "oci:l:x", platforms="windows/amd64")
    with pytest.raises(ImageNotFound):
        ociworks.copy(f"{registry.host}/app:1", "oci:l:x", platforms=["linux/arm64", "linux/riscv64"])
    with pytest.raises(ImageNotFound):
        ociworks.copy("oci:l:one", "oci:m:x", platforms=["linux/amd64"])
    with pytest.raises(NotSupported, match="choose one"):
        ociworks.copy(made, "docker-archive:x.tar", platforms=ociworks.ALL)
    assert not Path("x.tar").exists()


def test_open_layouts_archives_and_values(registry: testing.Registry) -> None:
    made = testing.random_image(1)
    reference = Reference.parse(f"{registry.host}/app:1")
    with layout.open("l", create=True) as store:
        ociworks.copy(made, store)
        assert store.tags() == {}
        ociworks.copy(store, reference)
        ociworks.copy(reference, f"oci-archive:{reference.repository}.tar")
        with archive.open("app.tar") as images:
            assert ociworks.copy(images, "oci:m:x").digest == made.digest
        store.put(testing.random_image(1, seed=3))
        with pytest.raises(ImageNotFound, match="expected one"):
            ociworks.copy(store, "oci:m:y")


def test_only_what_is_missing_travels(registry: testing.Registry) -> None:
    """What the second registry has is not read from the first."""
    made = testing.random_image(3)
    ociworks.copy(made, f"{registry.host}/app:1")
    with testing.Registry() as other:
        ociworks.copy(f"{registry.host}/app:1", f"{other.host}/app:1")
        before = len(registry.requests)
        events: list[Progress] = []
        ociworks.copy(f"{registry.host}/app:1", f"{other.host}/app:2", progress=events.append)
        assert {event.phase for event in events} == {"skip"}
        layers = {f"/{layer.digest}" for layer in made.layers}
        later = registry.requests[before:]
        assert not [seen for seen in later if any(seen.path.endswith(name) for name in layers)]


def test_each_document_is_read_once(registry: testing.Registry) -> None:
    """Choosing, looking for referrers and storing need the manifests again and again; the registry is asked once."""
    index = testing.random_index(PLATFORMS)
    ociworks.copy(index, f"{registry.host}/app:1", platforms=ociworks.ALL)
    before = len(registry.requests)
    ociworks.copy(f"{registry.host}/app:1", "oci:l:app", platforms=ociworks.ALL, referrers=True)
    later = [seen.path for seen in registry.requests[before:] if seen.method == "GET"]
    for entry in index.index.manifests:
        assert (
            len([path for path in later if path.endswith(str(entry.digest))]) <= 2
        )  # one asks for its referrers
        assert len([path for path in later if path.endswith(f"/blobs/{entry.digest}")]) <= 1
        assert len([path for path in later if path.endswith(f"/manifests/{entry.digest}")]) <= 1


def test_a_missing_document_of_an_index_is_an_error(registry: testing.Registry) -> None:
    index = testing.random_index(PLATFORMS)
    ociworks.copy(index, "oci:l:app", platforms=ociworks.ALL)
    Path("l/blobs/sha256", index.index.manifests[1].digest.encoded).unlink()
    with pytest.raises(BlobNotFound):
        ociworks.copy("oci:l:app", f"{registry.host}/app:1", platforms=ociworks.ALL)
    assert not [seen for seen in registry.requests if seen.method == "PUT"]
    arm = ociworks.copy("oci:l:app", f"{registry.host}/app:1", platforms=PLATFORMS[0])
    assert arm.digest == index.index.manifests[0].digest


def test_within_one_registry_layers_are_mounted(registry: testing.Registry) -> None:
    """From one repository to another of the same registry no layer is read or sent."""
    made = testing.random_image(3)
    ociworks.copy(made, f"{registry.host}/one:1")
    before = len(registry.requests)
    ociworks.copy(f"{registry.host}/one:1", f"{registry.host}/two:1")
    later = registry.requests[before:]
    for layer in made.layers:
        seen = [request for request in later if str(layer.digest) in request.path]
        assert not [request for request in seen if request.method in {"GET", "PUT", "PATCH"}]
    assert read(f"{registry.host}/two:1").digest == made.digest


@pytest.mark.parametrize("there", KINDS)
def test_every_byte_is_reported(there: str, registry: testing.Registry) -> None:
    made, events = testing.random_image(2, size=600_000), list[Progress]()
    ociworks.copy(made, place(there, registry, "x"), progress=events.append)
    blobs = (*made.manifest.layers, made.manifest.config)
    for blob in blobs:
        done = [event.done for event in events if event.digest == blob.digest and event.phase == "transfer"]
        assert done[-1] == blob.size
        assert done == sorted(done)


def test_media_types_change_only_when_asked(registry: testing.Registry) -> None:
    made = testing.random_image(2)
    options = ociworks.CopyOptions(media_types="docker")
    docker = ociworks.copy(made, f"{registry.host}/app:docker", options=options)
    assert docker.digest != made.digest
    assert docker.descriptor.media_type == mediatypes.DOCKER_MANIFEST
    assert ociworks.copy(f"{registry.host}/app:docker", "oci:l:same").digest == docker.digest
    back = ociworks.copy(
        f"{registry.host}/app:docker", "oci:l:oci", options=ociworks.CopyOptions(media_types="oci")
    )
    assert back.digest == made.digest


def test_copies_need_no_memory() -> None:
    """A layer of 40 MB goes from layout to archive to archive to layout in pieces."""
    ociworks.copy(testing.random_image(1, size=40 << 20, compression="none"), "oci:l:app")
    tracemalloc.start()
    try:
        ociworks.copy("oci:l:app", "oci-archive:o.tar:app")
        ociworks.copy("oci-archive:o.tar:app", "docker-archive:d.tar:app")
        ociworks.copy("docker-archive:d.tar", "oci:m:app")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


# What is attached


def referrer(subject: Image | ImageIndex, kind: str = "signature") -> Image:
    blobs = MemoryBlobs()
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        artifact_type=f"application/vnd.example.{kind}",
        config=blobs.add(b"{}", mediatypes.OCI_EMPTY),
        layers=(blobs.add(f"{kind} of {subject.digest}".encode(), "application/octet-stream"),),
        subject=subject.descriptor,
    )
    return partial.image(to_json(manifest), b"{}", blobs)


@pytest.mark.parametrize("there", ["registry", "layout", "oci-archive"])
@pytest.mark.parametrize("here", ["registry", "layout", "oci-archive"])
def test_referrers_come_along(here: str, there: str, registry: testing.Registry) -> None:
    """A signature of the index, an SBOM of one of its images, a signature of the SBOM, and cosign's by its tag."""
    index = testing.random_index(PLATFORMS[:2])
    arm = index.image("linux/arm64")
    sbom = referrer(arm, "sbom")
    attached = [referrer(index), sbom, referrer(sbom)]
    cosign = testing.random_image(1, seed=99)
    tag = f"sha256-{arm.digest.encoded}.sig"
    with layout.open("start", create=True) as store:
        store.put(index, "app")
        store.put(cosign, tag)
        for each in attached:
            store.put(each)
    wanted = {each.digest for each in attached} | {cosign.digest}
    one = ociworks.copy(
        "oci:start:app", place(here, registry, "here"), platforms=ociworks.ALL, referrers=True
    )
    two = ociworks.copy(
        place(here, registry, "here"),
        place(there, registry, "there"),
        platforms=ociworks.ALL,
        referrers=True,
    )
    end = ociworks.copy(
        place(there, registry, "there"), "oci:end:app", platforms=ociworks.ALL, referrers=True
    )
    for copied in (one, two, end):
        assert {each.digest for each in copied.referrers} == wanted
    with layout.open("end") as store:
        assert {each.digest for each in store.referrers(index.digest)} == {attached[0].digest}
        assert {each.digest for each in store.referrers(arm.digest)} == {sbom.digest}
        assert {each.digest for each in store.referrers(sbom.digest)} == {attached[2].digest}
        assert store.image(tag).digest == cosign.digest
        assert store.verify() == []
    ociworks.copy("oci:start:app", "oci:bare:app", platforms=ociworks.ALL)
    with layout.open("bare") as store:
        assert len(store.images()) == 1


def test_a_docker_archive_holds_no_referrers() -> None:
    image = testing.random_image(1)
    with layout.open("l", create=True) as store:
        store.put(image, "app")
        store.put(referrer(image))
    with pytest.raises(NotSupported, match="oci-archive"):
        ociworks.copy("oci:l:app", "docker-archive:x.tar", referrers=True)
    assert os.listdir(".") == ["l"]


def test_signatures_arrive_before_the_name(registry: testing.Registry) -> None:
    image = testing.random_image(1)
    with layout.open("l", create=True) as store:
        store.put(image, "app")
        store.put(referrer(image))
    ociworks.copy("oci:l:app", f"{registry.host}/app:1", referrers=True)
    puts = [seen.path for seen in registry.requests if seen.method == "PUT" and "/manifests/" in seen.path]
    assert puts[-1].endswith("/manifests/1")
    assert len(puts) >= 2


# What goes wrong


def test_damage_is_not_copied(registry: testing.Registry) -> None:
    made = testing.random_image(2)
    ociworks.copy(made, "oci:l:app")
    path = Path("l/blobs/sha256", made.layers[1].digest.encoded)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    for there in KINDS:
        with pytest.raises(ContentError):
            ociworks.copy("oci:l:app", place(there, registry, "there"))
    assert sorted(os.listdir(".")) == ["l", "store", "there-layout"]
    with layout.open("there-layout") as store:
        assert store.images() == ()


def test_bad_places_are_refused_before_anything_happens(registry: testing.Registry) -> None:
    made = testing.random_image(1)
    digest = f"oci:l@{made.digest}"
    for bad in ("dir:x", "oci:", digest):
        with pytest.raises(InvalidLocation):
            ociworks.copy(made, bad)
    Path("mine").mkdir()
    Path("mine/file").touch()
    with pytest.raises(LayoutError, match="empty directory"):
        ociworks.copy(made, "oci:mine:app")
    with pytest.raises(LayoutError):
        ociworks.copy("oci:missing:app", "oci:l:app")
    assert registry.requests == ()
