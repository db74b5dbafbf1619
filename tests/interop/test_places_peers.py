"""Layouts and archives between ociworks and skopeo, podman, buildah and umoci: each reads what the other wrote."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ociworks
from ociworks import testing
from ociworks.image import archive, layout, partial
from ociworks.image.memory import MemoryBlobs
from ociworks.image.types import Image
from ociworks.spec import to_json
from ociworks.spec.image import Manifest, mediatypes
from tests.interop import peers

pytestmark = pytest.mark.interop

NAME = "localhost/app:1"
Program = Callable[..., str]


def skopeo(*arguments: str) -> str:
    return peers.run(peers.peer("skopeo"), "--insecure-policy", *arguments)


@pytest.fixture
def podman() -> Iterator[Program]:
    """Podman with a store of its own."""
    with peers.container_storage() as storage:
        yield _in_a_store(storage, "podman", "--cgroup-manager", "cgroupfs")


@pytest.fixture
def buildah() -> Iterator[Program]:
    """Buildah with a store of its own."""
    with peers.container_storage() as storage:
        yield _in_a_store(storage, "buildah")


def _in_a_store(storage: tuple[str, ...], program: str, *options: str) -> Program:
    path = peers.peer(program)
    return lambda *arguments: peers.run(path, *options, *storage, *arguments)


def made() -> Image:
    return testing.image_from_layers([{"etc/motd": b"from ociworks"}, {"srv/data": bytes(100_000)}])


def place(kind: str, folder: Path, name: str = NAME) -> str:
    return f"{kind}:{folder / kind}:{name}"


def check(where: str, image: Image) -> None:
    """The same configuration and the same layers, whatever their compression; every byte is right."""
    into = layout.open(Path(where.split(":")[1]).with_suffix(".seen"), create=True)
    with into as store:
        ociworks.copy(where, store)
        found = store.image()
        assert store.verify() == []
        assert found.raw_config == image.raw_config
        assert [layer.diff_id for layer in found.layers] == [layer.diff_id for layer in image.layers]
        ociworks.verify(found)


KINDS = ["oci", "oci-archive", "docker-archive"]


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("here", KINDS)
def test_skopeo_copies_ours_and_we_copy_theirs(tmp_path: Path, here: str, there: str) -> None:
    image = made()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ociworks.copy(image, place(here, tmp_path / "a"))
    skopeo("copy", place(here, tmp_path / "a"), place(there, tmp_path / "b"))
    check(place(there, tmp_path / "b"), image)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("kind", KINDS)
def test_skopeo_inspects_what_we_wrote(tmp_path: Path, kind: str, compression: str) -> None:
    image = testing.random_image(3, compression=compression)  # type: ignore[arg-type]
    ociworks.copy(image, place(kind, tmp_path))
    seen = json.loads(skopeo("inspect", "--config", place(kind, tmp_path)))
    assert seen["rootfs"]["diff_ids"] == [str(layer.diff_id) for layer in image.layers]
    if kind != "docker-archive":
        assert json.loads(skopeo("inspect", place(kind, tmp_path)))["Digest"] == str(image.digest)


def test_skopeo_reads_each_of_several_images(tmp_path: Path) -> None:
    one, two = testing.random_image(2, seed=1), testing.random_image(2, seed=2)
    with archive.create(tmp_path / "both.tar", format="docker") as images:
        images.put(one, "localhost/one:1")
        images.put(one, "localhost/one:latest")
        images.put(two, "localhost/two:1")
    for name, image in (("one:1", one), ("one:latest", one), ("two:1", two)):
        skopeo("copy", f"docker-archive:{tmp_path}/both.tar:localhost/{name}", f"oci:{tmp_path}/l:{name}")
        with layout.open(tmp_path / "l") as store:
            assert store.image(name).raw_config == image.raw_config
    listed = json.loads(skopeo("list-tags", f"docker-archive:{tmp_path}/both.tar"))
    assert set(listed["Tags"]) == {"localhost/one:1", "localhost/one:latest", "localhost/two:1"}


@pytest.mark.parametrize("format", ["oci-archive", "docker-archive"])
def test_podman_loads_ours_and_we_read_what_it_saves(tmp_path: Path, podman: Program, format: str) -> None:
    image = made()
    ociworks.copy(image, f"{format}:{tmp_path}/ours.tar:{NAME}")
    assert NAME in podman("load", "-i", f"{tmp_path}/ours.tar")
    assert podman("image", "inspect", "--format", "{{.Id}}", NAME).strip() == (
        image.manifest.config.digest.encoded
    )
    podman("save", "--format", format, "-o", f"{tmp_path}/theirs.tar", NAME)
    check(f"{format}:{tmp_path}/theirs.tar:{NAME}", image)


def test_archives_compressed_as_a_whole(tmp_path: Path, podman: Program) -> None:
    """Podman reads ours through zstd; we read its own through GNU gzip (which podman 4.3 itself fails to read)."""
    import zstandard

    image, path = made(), tmp_path / "ours.tar"
    ociworks.copy(image, f"docker-archive:{path}:{NAME}")
    path.write_bytes(zstandard.compress(path.read_bytes()))
    assert NAME in podman("load", "-i", str(path))
    check(f"docker-archive:{path}:{NAME}", image)
    podman("save", "-o", f"{tmp_path}/theirs.tar", NAME)
    peers.run(peers.peer("gzip"), f"{tmp_path}/theirs.tar")
    check(f"docker-archive:{tmp_path}/theirs.tar.gz:{NAME}", image)


def test_podman_saves_several_images(tmp_path: Path, podman: Program) -> None:
    one, two = testing.random_image(2, seed=1), testing.random_image(2, seed=2)
    with archive.create(tmp_path / "ours.tar", format="docker") as images:
        images.put(one, "localhost/one:1")
        images.put(two, "localhost/two:1")
    podman("load", "-i", f"{tmp_path}/ours.tar")
    podman("save", "-m", "-o", f"{tmp_path}/theirs.tar", "localhost/one:1", "localhost/two:1")
    with tarfile.open(tmp_path / "theirs.tar") as tar:
        assert any(member.issym() for member in tar), "podman writes links for the legacy format"
    with archive.open(tmp_path / "theirs.tar") as found:
        assert set(found.tags()) == {"localhost/one:1", "localhost/two:1"}
        assert found.image("localhost/two:1").raw_config == two.raw_config
        assert found.verify() == []


def test_the_legacy_half_of_what_podman_saves(tmp_path: Path, podman: Program) -> None:
    """Podman writes ``repositories`` and layer chains too; without ``manifest.json`` they say the same."""
    image = made()
    ociworks.copy(image, f"docker-archive:{tmp_path}/ours.tar:{NAME}")
    podman("load", "-i", f"{tmp_path}/ours.tar")
    podman("save", "-o", f"{tmp_path}/theirs.tar", NAME)
    with tarfile.open(tmp_path / "theirs.tar") as theirs, tarfile.open(tmp_path / "half.tar", "w") as half:
        for member in theirs:
            if member.name != "manifest.json":
                half.addfile(member, theirs.extractfile(member) if member.isreg() else None)
    with archive.open(tmp_path / "half.tar") as images:
        found = images.image(NAME)
        assert [layer.diff_id for layer in found.layers] == [layer.diff_id for layer in image.layers]
        assert images.verify() == []


def test_podman_pulls_from_our_layout_and_pushes_into_it(tmp_path: Path, podman: Program) -> None:
    image = made()
    ociworks.copy(image, f"oci:{tmp_path}/l:{NAME}")
    podman("pull", f"oci:{tmp_path}/l:{NAME}")
    podman("push", image.manifest.config.digest.encoded, f"oci:{tmp_path}/l:theirs")
    with layout.open(tmp_path / "l") as store:
        assert store.image("theirs").raw_config == image.raw_config
        assert store.image(NAME).digest == image.digest
        assert store.verify() == []
        assert set(store.gc().removed) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_we_read_what_buildah_commits(tmp_path: Path, buildah: Program, kind: str) -> None:
    (tmp_path / "file").write_text("from buildah")
    container = buildah("from", "scratch").strip()
    buildah("copy", container, str(tmp_path / "file"), "/file")
    buildah("commit", container, place(kind, tmp_path))
    with layout.open(tmp_path / "seen", create=True) as store:
        ociworks.copy(place(kind, tmp_path), store)
        (layer,) = store.image().layers
        with layer.uncompressed() as stream:
            content = stream.read()
        assert b"from buildah" in content
        layer.diff_id.verify(content)
        assert store.verify() == []


@pytest.mark.parametrize("kind", KINDS)
def test_buildah_builds_on_what_we_wrote(tmp_path: Path, buildah: Program, kind: str) -> None:
    image = made()
    ociworks.copy(image, place(kind, tmp_path))
    identity = buildah("pull", "--quiet", place(kind, tmp_path)).strip()
    assert identity == image.manifest.config.digest.encoded
    container = buildah("from", identity).strip()
    buildah("config", "--label", "by=buildah", container)
    buildah("commit", container, f"oci:{tmp_path}/l:derived")
    with layout.open(tmp_path / "l") as store:
        derived = store.image("derived")
        assert derived.config.config is not None
        assert derived.config.config.labels["by"] == "buildah"
        assert [layer.diff_id for layer in derived.layers[:2]] == [layer.diff_id for layer in image.layers]
        ociworks.verify(derived)


def test_umoci_unpacks_what_came_through_an_archive_of_podman(tmp_path: Path, podman: Program) -> None:
    """Ours to podman, podman's docker-archive to us, ours to umoci: the road that people really go."""
    umoci = peers.peer("umoci")
    ociworks.copy(made(), f"oci-archive:{tmp_path}/ours.tar:{NAME}")
    podman("load", "-i", f"{tmp_path}/ours.tar")
    podman("save", "-o", f"{tmp_path}/theirs.tar", NAME)
    ociworks.copy(f"docker-archive:{tmp_path}/theirs.tar:{NAME}", f"oci:{tmp_path}/l:app")
    peers.run(umoci, "unpack", "--rootless", "--image", f"{tmp_path}/l:app", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle/rootfs/etc/motd").read_bytes() == b"from ociworks"
    peers.run(umoci, "gc", "--layout", str(tmp_path / "l"))
    with layout.open(tmp_path / "l") as store:
        assert store.verify() == []


def test_our_collection_leaves_what_umoci_needs(tmp_path: Path) -> None:
    umoci = peers.peer("umoci")
    where = str(tmp_path / "l")
    ociworks.copy(made(), f"oci:{where}:app")
    (tmp_path / "file").write_text("hello")
    image = f"{where}:app"
    peers.run(umoci, "insert", "--rootless", "--image", image, str(tmp_path / "file"), "/file")
    with layout.open(where) as store:
        report = store.gc()
        assert report.removed, "the old manifest and configuration"
        assert store.verify() == []
    peers.run(umoci, "unpack", "--rootless", "--image", image, str(tmp_path / "bundle"))
    assert (tmp_path / "bundle/rootfs/file").read_text() == "hello"


def test_registries_in_between(tmp_path: Path) -> None:
    """All platforms from our layout into docker-registry, by us, and from there by skopeo, and the reverse."""
    index = testing.random_index(["linux/amd64", "linux/arm64"])
    with peers.docker_registry(tmp_path) as host:
        ociworks.copy(index, f"docker://{host}/app:1", platforms=ociworks.ALL)
        skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{host}/app:1", f"oci:{tmp_path}/l:app")
        ociworks.copy(f"oci:{tmp_path}/l:app", f"docker://{host}/team/app:2", platforms=ociworks.ALL)
        ociworks.copy(f"{host}/team/app:2", f"oci-archive:{tmp_path}/a.tar:app", platforms=ociworks.ALL)
    with archive.open(tmp_path / "a.tar") as images:
        assert images.index("app").raw_index == index.raw_index
        assert images.verify() == []


def test_referrers_in_a_registry_without_a_list_of_them(tmp_path: Path) -> None:
    """Debian's docker-registry has no referrers API: the fallback tag stands in, on both ways."""
    image = testing.random_image(1)
    with layout.open(tmp_path / "l", create=True) as store:
        subject = store.put(image, "app")
        blobs = MemoryBlobs()
        manifest = Manifest(
            media_type=mediatypes.OCI_MANIFEST,
            artifact_type="application/vnd.example.sbom",
            config=blobs.add(b"{}", mediatypes.OCI_EMPTY),
            layers=(blobs.add(b"an SBOM", "text/plain"),),
            subject=subject.descriptor,
        )
        sbom = store.put(partial.image(to_json(manifest), b"{}", blobs))
        store.put(testing.random_image(1, seed=4), f"sha256-{image.digest.encoded}.sig")
    with peers.docker_registry(tmp_path) as host:
        there = ociworks.copy(f"oci:{tmp_path}/l:app", f"{host}/app:1", referrers=True)
        tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{host}/app"))["Tags"]
        assert set(tags) == {
            "1",
            f"sha256-{image.digest.encoded}",
            f"sha256-{image.digest.encoded}.sig",
        }
        back = ociworks.copy(f"{host}/app:1", f"oci:{tmp_path}/back:app", referrers=True)
    assert {each.digest for each in there.referrers} == {each.digest for each in back.referrers}
    with layout.open(tmp_path / "back") as store:
        assert [each.digest for each in store.referrers(image.descriptor)] == [sbom.digest]
        assert store.verify() == []


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_crane_reads_and_writes(tmp_path: Path, format: str) -> None:
    """Crane's tarballs hold compressed layers, as ours do: digests survive both ways."""
    crane = peers.peer("crane")
    image = testing.random_image(3)
    with testing.Registry() as registry:
        ociworks.copy(image, f"{registry.host}/app:1")
        kind = "tarball" if format == "docker" else "oci"
        peers.run(
            crane, "pull", "--insecure", f"--format={kind}", f"{registry.host}/app:1", f"{tmp_path}/theirs"
        )
        where = f"docker-archive:{tmp_path}/theirs" if format == "docker" else f"oci:{tmp_path}/theirs"
        assert ociworks.copy(where, f"oci:{tmp_path}/l:app").digest == image.digest
        ours = f"docker-archive:{tmp_path}/ours:app:1" if format == "docker" else f"oci:{tmp_path}/ours:app"
        ociworks.copy(image, ours)
        peers.run(crane, "push", "--insecure", f"{tmp_path}/ours", f"{registry.host}/back:1")
        found = ociworks.copy(f"{registry.host}/back:1", f"oci:{tmp_path}/m:app")
        with layout.open(tmp_path / "m") as store:
            back = store.image(found.digest)
            assert back.raw_config == image.raw_config
            assert [layer.digest for layer in back.layers] == [layer.digest for layer in image.layers]
    if format == "docker":
        peers.run(crane, "validate", "--tarball", f"{tmp_path}/ours")
