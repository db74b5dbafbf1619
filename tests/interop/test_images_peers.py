"""Images, layouts and registries against real software: skopeo, umoci and Debian's docker-registry."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import NotFound
from ociworks.image import layout, remote
from tests.interop import peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop


def skopeo(*arguments: str) -> bytes:
    done = subprocess.run(
        [peers.peer("skopeo"), "--insecure-policy", *arguments], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture
def store(tmp_path: Path) -> Iterator[layout.Layout]:
    with layout.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def docker_registry(tmp_path: Path) -> Iterator[str]:
    with peers.docker_registry(tmp_path) as host:
        yield host


def test_skopeo_pushes_and_ociworks_pulls(store: layout.Layout, tmp_path: Path) -> None:
    """oci: → our registry by skopeo (PATCH uploads), and from there back to a layout by ociworks."""
    image = testing.random_image(layers=3)
    store.put(image, tag="app")
    with testing.Registry() as registry, remote.Client() as client:
        skopeo(
            "copy", "--dest-tls-verify=false", f"oci:{store.path}:app", f"docker://{registry.host}/team/app:1"
        )
        found = client.image(f"{registry.host}/team/app:1")
        assert found.digest == image.digest
        with layout.open(tmp_path / "back", create=True) as back:
            back.put(found, tag="app")
            assert back.verify() == []


def test_skopeo_pulls_what_ociworks_pushed(tmp_path: Path) -> None:
    image = testing.random_image(layers=3)
    with testing.Registry() as registry, remote.Client() as client:
        client.push(image, f"{registry.host}/app:1")
        skopeo("copy", "--src-tls-verify=false", f"docker://{registry.host}/app:1", f"oci:{tmp_path}/l:app")
        tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/app"))
        assert tags["Tags"] == ["1"]
    with layout.open(tmp_path / "l") as pulled:
        assert pulled.image("app").digest == image.digest
        assert pulled.verify() == []


def test_skopeo_copies_all_platforms_between_registries(tmp_path: Path) -> None:
    index = testing.random_index(["linux/amd64", "linux/arm64"])
    with testing.Registry() as one, testing.Registry() as two, remote.Client() as client:
        client.push(index, f"{one.host}/app:1")
        skopeo(
            "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
            f"docker://{one.host}/app:1", f"docker://{two.host}/app:1",
        )  # fmt: skip
        assert client.index(f"{two.host}/app:1").raw_index == index.raw_index
        assert client.image(f"{two.host}/app:1", "linux/arm64").config.architecture == "arm64"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_skopeo_logs_in(tmp_path: Path, auth: str) -> None:
    options = testing.RegistryOptions(auth="basic" if auth == "basic" else "bearer")
    image = testing.random_image(layers=1)
    with testing.Registry(options) as registry, layout.open(tmp_path / "l", create=True) as store:
        store.put(image, tag="app")
        for source, target in [
            (f"oci:{store.path}:app", f"docker://{registry.host}/app:1"),
            (f"docker://{registry.host}/app:1", f"oci:{tmp_path}/back:app"),
        ]:
            skopeo(
                "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
                "--dest-creds" if target.startswith("docker") else "--src-creds", "user:password",
                source, target,
            )  # fmt: skip
    with layout.open(tmp_path / "back") as back:
        assert back.image("app").digest == image.digest


def test_skopeo_inspects_and_deletes() -> None:
    image = testing.random_image(layers=2)
    with testing.Registry() as registry, remote.Client() as client:
        client.push(image, f"{registry.host}/app:1")
        seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/app:1"))
        assert seen["Digest"] == str(image.digest)
        assert seen["Layers"] == [str(layer.digest) for layer in image.layers]
        skopeo("delete", "--tls-verify=false", f"docker://{registry.host}/app:1")
        with pytest.raises(NotFound):
            client.image(f"{registry.host}/app:1")


def test_a_layout_by_skopeo_is_read_and_extended(store: layout.Layout, tmp_path: Path) -> None:
    first, second = testing.random_image(2, seed=1), testing.random_image(2, seed=2)
    store.put(first, tag="first")
    skopeo("copy", f"oci:{store.path}:first", f"oci:{tmp_path}/l:copied")
    with layout.open(tmp_path / "l", create=True) as theirs:
        assert theirs.image("copied").digest == first.digest
        theirs.put(second, tag="second")
        assert theirs.verify() == []
    skopeo("copy", f"oci:{tmp_path}/l:second", f"oci:{tmp_path}/again:x")
    skopeo("copy", f"oci:{tmp_path}/l:copied", f"oci:{tmp_path}/again:y")
    with layout.open(tmp_path / "again") as again:
        assert {tag: entry.digest for tag, entry in again.tags().items()} == {
            "x": second.digest,
            "y": first.digest,
        }


def test_a_layout_by_umoci_is_read_and_ours_by_umoci(tmp_path: Path) -> None:
    umoci = peers.peer("umoci")
    theirs = str(tmp_path / "theirs")
    subprocess.run([umoci, "init", "--layout", theirs], check=True, capture_output=True)
    subprocess.run([umoci, "new", "--image", f"{theirs}:empty"], check=True, capture_output=True)
    (tmp_path / "file").write_text("hello")
    subprocess.run(
        [umoci, "insert", "--rootless", "--image", f"{theirs}:empty", "--tag", "full", str(tmp_path / "file"), "/file"],
        check=True, capture_output=True,
    )  # fmt: skip
    with layout.open(theirs) as opened:
        assert set(opened.tags()) == {"empty", "full"}
        assert opened.image("empty").layers == ()
        (layer,) = opened.image("full").layers
        with layer.uncompressed() as stream:
            assert b"hello" in stream.read()
        assert opened.verify() == []
        opened.put(testing.image_from_files({"etc/motd": b"from ociworks"}), tag="mine")
    listed = subprocess.run([umoci, "list", "--layout", theirs], check=True, capture_output=True)
    assert listed.stdout.split() == [b"empty", b"full", b"mine"]
    subprocess.run(
        [umoci, "unpack", "--rootless", "--image", f"{theirs}:mine", str(tmp_path / "bundle")],
        check=True, capture_output=True,
    )  # fmt: skip
    assert (tmp_path / "bundle/rootfs/etc/motd").read_bytes() == b"from ociworks"
    subprocess.run([umoci, "gc", "--layout", theirs], check=True, capture_output=True)
    with layout.open(theirs) as opened:
        assert opened.verify() == []


def test_docker_registry_keeps_what_ociworks_pushes(docker_registry: str, store: layout.Layout) -> None:
    image = testing.random_image(layers=3, size=300_000)
    with remote.Client() as client:
        assert client.push(image, f"{docker_registry}/team/app:1").digest == image.digest
        assert client.resolve(f"{docker_registry}/team/app:1").digest == image.digest
        found = client.image(f"{docker_registry}/team/app:1")
        store.put(found, tag="app")
        with pytest.raises(NotFound) as caught:
            client.image(f"{docker_registry}/team/app:2")
    assert caught.value.codes == ("MANIFEST_UNKNOWN",)
    assert store.verify() == []
    assert store.image("app").digest == image.digest


def test_docker_registry_serves_ociworks_what_skopeo_pushed(
    docker_registry: str, store: layout.Layout
) -> None:
    index = testing.random_index(["linux/amd64", "linux/arm64"])
    store.put(index, tag="app")
    skopeo(
        "copy",
        "--all",
        "--dest-tls-verify=false",
        f"oci:{store.path}:app",
        f"docker://{docker_registry}/app:1",
    )
    with remote.Client() as client:
        found = client.index(f"{docker_registry}/app:1")
        assert found.raw_index == index.raw_index
        assert found.image("linux/arm64").config.architecture == "arm64"
        by_digest = client.image(f"{docker_registry}/app@{index.digest}", "linux/amd64")
        with by_digest.layers[0].uncompressed() as stream:
            assert len(stream.read()) > 64 * 1024


def test_docker_schema_2_is_read_as_the_same(docker_registry: str, store: layout.Layout) -> None:
    """Skopeo converts to Docker's formats; only the media types differ."""
    image = testing.random_image(layers=2)
    store.put(image, tag="app")
    skopeo(
        "copy", "--format", "v2s2", "--dest-tls-verify=false",
        f"oci:{store.path}:app", f"docker://{docker_registry}/app:docker",
    )  # fmt: skip
    with remote.Client() as client:
        found = client.image(f"{docker_registry}/app:docker")
        assert found.descriptor.media_type == "application/vnd.docker.distribution.manifest.v2+json"
        assert [layer.diff_id for layer in found.layers] == [layer.diff_id for layer in image.layers]
        store.put(found, tag="docker")
    assert store.verify() == []
