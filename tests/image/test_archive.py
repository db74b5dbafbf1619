"""Archives of images: what is written is read back, every kind and compression; what is no archive is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ociworks import testing
from ociworks.errors import (
    ArchiveError,
    ContentError,
    ImageNotFound,
    InvalidReference,
    LayoutError,
    NotSupported,
)
from ociworks.image import archive, layout
from ociworks.image.progress import Progress
from ociworks.spec.image import mediatypes

if TYPE_CHECKING:
    from ociworks.image.archive import Format
    from ociworks.image.types import Image

COMPRESSIONS = ["none", "gzip", "zstd"]


def compressed(path: Path, how: str) -> Path:
    raw = path.read_bytes()
    match how:
        case "gzip":
            path.write_bytes(gzip.compress(raw, 1))
        case "zstd":
            path.write_bytes(zstandard.compress(raw))
    return path


def make(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    """An archive with these members, in this order; a name may be given twice with a trailing ``#``."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name.rstrip("#"))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def saved(
    image: Image, *, tags: list[str], layout_of: str = "{id}/layer.tar"
) -> dict[str, bytes | tarfile.TarInfo]:
    """What an old ``docker save`` writes: plain layers in directories of their own."""
    members: dict[str, bytes | tarfile.TarInfo] = {}
    names = []
    for number, layer in enumerate(image.layers):
        names.append(layout_of.format(id=hashlib.sha256(b"%d" % number).hexdigest()))
        with layer.uncompressed() as stream:
            members[names[-1]] = stream.read()
    config = f"{image.manifest.config.digest.encoded}.json"
    members[config] = image.raw_config
    members["manifest.json"] = json.dumps([{"Config": config, "RepoTags": tags, "Layers": names}]).encode()
    members["repositories"] = b'{"app":{"1":"x"}}'
    return members


@pytest.mark.parametrize("how", COMPRESSIONS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_oci_archive_keeps_everything(tmp_path: Path, how: str, compression: str) -> None:
    image = testing.random_image(3, compression=compression)  # type: ignore[arg-type]
    archive.write(tmp_path / "a.tar", image, "app:1.4")
    with archive.open(compressed(tmp_path / "a.tar", how)) as images:
        assert images.format == "oci"
        assert list(images.tags()) == ["app:1.4"]
        for found in (images.image("app:1.4"), images.image(), images.image(image.digest)):
            assert found.raw_manifest == image.raw_manifest
            assert found.raw_config == image.raw_config
        assert images.verify() == []
        with pytest.raises(ImageNotFound):
            images.image("other")


@pytest.mark.parametrize("how", COMPRESSIONS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_docker_archive_keeps_configuration_and_layers(tmp_path: Path, how: str, compression: str) -> None:
    image = testing.random_image(3, compression=compression)  # type: ignore[arg-type]
    archive.write(tmp_path / "a.tar", image, "app:1.4", format="docker")
    with archive.open(compressed(tmp_path / "a.tar", how)) as images:
        assert images.format == "docker"
        assert list(images.tags()) == ["app:1.4"]
        for name in ("app:1.4", "docker.io/library/app:1.4", "index.docker.io/app:1.4"):
            found = images.image(name)
            assert found.raw_config == image.raw_config
            assert [layer.descriptor for layer in found.layers] == [
                layer.descriptor for layer in image.layers
            ]
        # Nothing else was in this manifest, so that even its digest is the same.
        assert found.digest == image.digest
        assert images.verify() == []


def test_an_index_goes_into_an_oci_archive(tmp_path: Path) -> None:
    index = testing.random_index()
    archive.write(tmp_path / "a.tar", index, "multi")
    with archive.open(tmp_path / "a.tar") as images:
        assert images.index("multi").raw_index == index.raw_index
        assert images.image("multi", "linux/arm64").config.architecture == "arm64"
        assert images.verify() == []
    with pytest.raises(NotSupported, match="choose one"):
        archive.write(tmp_path / "b.tar", index, "multi", format="docker")
    assert os.listdir(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_several_images_share_what_they_share(tmp_path: Path, format: Format) -> None:
    one, two = testing.random_image(2, seed=1), testing.random_image(2, seed=2)
    with archive.create(tmp_path / "a.tar", format=format) as images:
        images.put(one, "one:1")
        images.put(one, "same:1")
        images.put(two, "two:1")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert len(tar.getnames()) == len(set(tar.getnames()))
    with archive.open(tmp_path / "a.tar") as read:
        assert {tag: entry.digest for tag, entry in read.tags().items()} == {
            "one:1": one.digest,
            "same:1": one.digest,
            "two:1": two.digest,
        }
        with pytest.raises(ImageNotFound, match="expected one"):
            read.image()


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_an_image_with_one_layer_twice_or_none(tmp_path: Path, format: Format) -> None:
    twice = testing.image_from_layers([{"a": b"x"}, {"b": b"y"}, {"a": b"x"}])
    empty = testing.image_from_layers([])
    with archive.create(tmp_path / "a.tar", format=format) as images:
        images.put(twice, "twice:1")
        images.put(empty, "empty:1")
    with archive.open(tmp_path / "a.tar") as read:
        assert [layer.digest for layer in read.image("twice:1").layers] == [
            layer.digest for layer in twice.layers
        ]
        assert read.image("empty:1").layers == ()
        assert read.verify() == []


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_a_tag_that_is_given_again_moves(tmp_path: Path, format: Format) -> None:
    one, two = testing.random_image(1, seed=1), testing.random_image(1, seed=2)
    with archive.create(tmp_path / "a.tar", format=format) as images:
        images.put(one, "app:1")
        images.put(two, "app:1")
    with archive.open(tmp_path / "a.tar") as read:
        assert read.image("app:1").digest == two.digest


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_the_same_images_give_the_same_bytes(tmp_path: Path, format: Format) -> None:
    for name in "ab":
        archive.write(tmp_path / name, testing.random_image(3), "app:1", format=format)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_an_old_docker_save_wrote(tmp_path: Path) -> None:
    """Plain layers under any names become layers of an OCI manifest whose digests are their diff IDs."""
    image = testing.random_image(2)
    make(tmp_path / "a.tar", saved(image, tags=["app:1", "registry.example/team/app:2"]))
    with archive.open(tmp_path / "a.tar") as images:
        assert list(images.tags()) == ["app:1", "registry.example/team/app:2"]
        found = images.image("app:1")
        assert found.descriptor.media_type == mediatypes.OCI_MANIFEST
        assert [layer.media_type for layer in found.layers] == [mediatypes.OCI_LAYER] * 2
        assert [layer.digest for layer in found.layers] == [layer.diff_id for layer in image.layers]
        assert images.verify() == []
        with layout.open(tmp_path / "l", create=True) as store:
            store.put(found, tag="app")
            assert store.verify() == []


def legacy(image: Image) -> dict[str, bytes | tarfile.TarInfo]:
    """The same image as Docker wrote it before 1.10."""
    members: dict[str, bytes | tarfile.TarInfo] = {}
    parent = None
    for number, layer in enumerate(image.layers):
        identity = hashlib.sha256(b"%d" % number).hexdigest()
        about: dict[str, object] = {"id": identity, "os": "linux", "architecture": "arm64"}
        about["created"] = f"2014-01-0{number + 1}T00:00:00Z"
        about["container_config"] = {"Cmd": ["/bin/sh", "-c", f"step {number}"]}
        about["config"] = {"Env": [f"STEP={number}"], "Cmd": ["sh"]}
        if parent:
            about["parent"] = parent
        with layer.uncompressed() as stream:
            members[f"{identity}/layer.tar"] = stream.read()
        members[f"{identity}/json"] = json.dumps(about).encode()
        members[f"{identity}/VERSION"] = b"1.0"
        parent = identity
    members["repositories"] = json.dumps({"app": {"1": parent, "latest": parent}}).encode()
    return members


def test_what_docker_wrote_before_manifests(tmp_path: Path) -> None:
    image = testing.random_image(3)
    make(tmp_path / "a.tar", legacy(image))
    with archive.open(tmp_path / "a.tar") as images:
        assert list(images.tags()) == ["app:1", "app:latest"]
        found = images.image("app")
        assert found.config.config is not None
        assert found.config.config.env == ("STEP=2",)
        assert found.config.architecture == "arm64"
        assert [step.created_by for step in found.config.history] == [
            f"/bin/sh -c step {number}" for number in range(3)
        ]
        assert [layer.diff_id for layer in found.layers] == [layer.diff_id for layer in image.layers]
        assert images.verify() == []


@pytest.mark.parametrize(
    "change",
    [
        {"repositories": b"{"},
        {"repositories": b'{},"x":{}'},
        {"repositories": b'{"app":{"1":"../x"}}'},
        {"repositories": b'{"app":{"1":7}}'},
        {
            f"{hashlib.sha256(b'1').hexdigest()}/json": b'{"parent":"%s"}'
            % hashlib.sha256(b"2").hexdigest().encode()
        },
        {f"{hashlib.sha256(b'0').hexdigest()}/json": b'{"parent":"x"}'},
        {f"{hashlib.sha256(b'0').hexdigest()}/json": b"[]"},
    ],
)
def test_chains_that_are_none_are_refused(tmp_path: Path, change: dict[str, bytes]) -> None:
    make(tmp_path / "a.tar", {**legacy(testing.random_image(3)), **change})
    with pytest.raises(ArchiveError):
        archive.open(tmp_path / "a.tar")


def test_names_as_docker_and_containerd_write_them(tmp_path: Path) -> None:
    """Newer docker save is both formats at once; the whole name is in an annotation of containerd's."""
    image = testing.random_image(1)
    archive.write(tmp_path / "plain.tar", image, "1.4")
    members: dict[str, bytes | tarfile.TarInfo] = {}
    with tarfile.open(tmp_path / "plain.tar") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            members[member.name] = file.read()
    index = json.loads(members["index.json"])  # type: ignore[arg-type]
    index["manifests"][0]["annotations"]["io.containerd.image.name"] = "docker.io/library/app:1.4"
    members["index.json"] = json.dumps(index).encode()
    blob = "blobs/sha256/{}"
    members["manifest.json"] = json.dumps(
        [
            {
                "Config": blob.format(image.manifest.config.digest.encoded),
                "RepoTags": ["app:1.4"],
                "Layers": [blob.format(layer.digest.encoded) for layer in image.layers],
            }
        ]
    ).encode()
    make(tmp_path / "a.tar", members)
    kinds: tuple[Format, ...] = ("oci", "docker")
    for kind in kinds:
        with archive.open(tmp_path / "a.tar", format=kind) as images:
            assert images.image("app:1.4").digest == image.digest
            assert images.image("docker.io/library/app:1.4").digest == image.digest
            with pytest.raises(ImageNotFound):
                images.image("other:1.4")


def test_links_between_layers_are_followed(tmp_path: Path) -> None:
    image = testing.random_image(2)
    members = saved(image, tags=[])
    first, second = (name for name in members if name.endswith("layer.tar"))
    members["shared/real.tar"] = members.pop(first)
    members[first] = link(first, "../shared/soft.tar")
    members["shared/soft.tar"] = link("shared/soft.tar", "./real.tar")
    content = members.pop(second)
    members["other.tar"] = content
    members[second] = link(second, "other.tar", tarfile.LNKTYPE)
    make(tmp_path / "a.tar", members)
    with archive.open(tmp_path / "a.tar") as images:
        assert images.tags() == {}
        assert images.verify() == []
        assert [layer.digest for layer in images.image().layers] == [layer.diff_id for layer in image.layers]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    image = testing.random_image(2)
    path = tmp_path / "a.tar"
    path.write_bytes(b"before")

    def cancel(event: Progress) -> None:
        if event.phase == "done" and event.digest == image.layers[0].digest:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.write(path, image, "app", progress=cancel)
    assert os.listdir(tmp_path) == ["a.tar"]
    assert path.read_bytes() == b"before"
    archive.write(path, image, "app")
    assert os.listdir(tmp_path) == ["a.tar"]
    with archive.open(path) as images:
        assert images.verify() == []


def test_every_byte_is_reported(tmp_path: Path) -> None:
    image, events = testing.random_image(2, size=600_000), list[Progress]()
    archive.write(tmp_path / "a.tar", image, progress=events.append)
    for blob in (*image.manifest.layers, image.manifest.config, image.descriptor):
        mine = [event for event in events if event.digest == blob.digest]
        assert [mine[0].phase, mine[-1].phase] == ["start", "done"]
        assert mine[-2].done == blob.size


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_bad_names_are_refused_before_anything_is_written(tmp_path: Path, format: Format) -> None:
    with pytest.raises((LayoutError, InvalidReference)):
        archive.write(tmp_path / "a.tar", testing.random_image(1), "../x", format=format)
    assert os.listdir(tmp_path) == []


def test_threads_read_one_archive(tmp_path: Path) -> None:
    image = testing.random_image(4, size=700_000)
    archive.write(tmp_path / "a.tar", image)
    problems: list[object] = []
    with archive.open(tmp_path / "a.tar") as images:
        threads = [threading.Thread(target=lambda: problems.extend(images.verify())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []


def test_a_closed_archive_says_so(tmp_path: Path) -> None:
    archive.write(tmp_path / "a.tar", testing.random_image(1))
    with archive.open(tmp_path / "a.tar") as images:
        image = images.image()
    with pytest.raises(ArchiveError, match="closed"):
        image.layers[0].open()
    writer = archive.create(tmp_path / "b.tar")
    writer.close()
    with pytest.raises(ArchiveError, match="closed"):
        writer.close()


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"hello" * 1000)
    (tmp_path / "empty").touch()
    make(tmp_path / "other.tar", {"a": b"b"})
    for name in ("text", "empty", "other.tar"):
        with pytest.raises(ArchiveError):
            archive.open(tmp_path / name)
    archive.write(tmp_path / "oci.tar", testing.random_image(1))
    with pytest.raises(ArchiveError, match=r"manifest\.json"):
        archive.open(tmp_path / "oci.tar", format="docker")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="regular file"):
        archive.open(tmp_path / "pipe")
    with pytest.raises((ArchiveError, OSError)):
        archive.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        archive.open(tmp_path / "missing")


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b"[",
        b'[{"Config":"c.json","Layers":null},]',
        b'[],"items":[]',
        b'[],"x":[]',
        b'[{"Layers":[]}]',
        b'[{"Config":"missing.json","Layers":[]}]',
        b'[{"Config":7,"Layers":[]}]',
    ],
)
def test_lists_of_images_are_read_strictly(tmp_path: Path, manifest: bytes) -> None:
    make(tmp_path / "a.tar", {"manifest.json": manifest, "c.json": b"{}"})
    with pytest.raises(ArchiveError):
        archive.open(tmp_path / "a.tar")


def test_a_layer_that_is_not_its_diff_id_is_found_when_it_is_read(tmp_path: Path) -> None:
    image = testing.random_image(1)
    members = saved(image, tags=["a:1"])
    (name,) = (name for name in members if name.endswith("layer.tar"))
    content = members[name]
    assert isinstance(content, bytes)
    members[name] = content[:600] + b"x" + content[601:]
    make(tmp_path / "a.tar", members)
    with archive.open(tmp_path / "a.tar") as images:
        with pytest.raises(ContentError), images.image().layers[0].open() as stream:
            stream.read()
        assert len(images.verify()) == 1


@settings(max_examples=20)
@given(
    files=st.lists(
        st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.binary(max_size=2000)), max_size=4
    ),
    format=st.sampled_from(["oci", "docker"]),
    compression=st.sampled_from(COMPRESSIONS),
)
def test_any_image_survives(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[dict[str, bytes]],
    format: Format,
    compression: str,
) -> None:
    image = testing.image_from_layers(files, compression=compression)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("any") / "a.tar"
    archive.write(path, image, "app:1", format=format)
    with archive.open(path) as images:
        assert images.image("app:1").raw_config == image.raw_config
        assert images.verify() == []
