"""The layout as a store: whole blobs or none, names only from the caller, damage treated as absence."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from attrs import frozen

from ociworks import testing
from ociworks.errors import (
    BlobNotFound,
    ContentError,
    DigestMismatch,
    ImageNotFound,
    InvalidDigest,
    LayoutError,
    LimitExceeded,
    NotSupported,
    SizeMismatch,
)
from ociworks.image import layout, partial
from ociworks.image.memory import MemoryBlobs
from ociworks.image.progress import Progress
from ociworks.image.reference import Reference
from ociworks.image.types import Image, Layer
from ociworks.spec import Digest, to_json
from ociworks.spec.image import Descriptor, ImageConfiguration, Index, Manifest, mediatypes
from tests.image.writers import WRITER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociworks.image.types import ByteStream


@pytest.fixture
def store(tmp_path: Path) -> Iterator[layout.Layout]:
    with layout.open(tmp_path / "store", create=True) as opened:
        yield opened


def blob_path(store: layout.Layout, digest: Digest) -> Path:
    return Path(store.path, "blobs", digest.algorithm, digest.encoded)


def files_below(path: str) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), path)
        for folder, _, names in os.walk(path)
        for name in names
    }


def at_work(path: str) -> list[str]:
    """What writers and holders have left: nothing, once they are done."""
    return [name for kind in ("ingest", "leases") for name in os.listdir(Path(path, ".ociworks", kind))]


def test_an_image_comes_back_as_it_was(store: layout.Layout) -> None:
    image = testing.random_image(layers=3)
    stored = store.put(image, tag="app:1.4")
    again = store.image("app:1.4")
    for found in (stored, again, store.image(image.digest), store.image(str(image.digest)), store.image()):
        assert found.digest == image.digest
        assert found.raw_manifest == image.raw_manifest
        assert found.config == image.config
    for mine, theirs in zip(again.layers, image.layers, strict=True):
        with mine.uncompressed() as left, theirs.uncompressed() as right:
            assert left.read() == right.read()
    assert store.verify() == []
    assert list(store.tags()) == ["app:1.4"]


def test_a_closed_layout_says_so(tmp_path: Path) -> None:
    with layout.open(tmp_path / "l", create=True) as store:
        image = store.put(testing.random_image(1))
    store.close()
    with pytest.raises(LayoutError, match="closed"):
        store.put(testing.random_image(1))
    with pytest.raises(LayoutError, match="closed"):
        image.layers[0].open()


def test_directories_are_private(store: layout.Layout) -> None:
    store.put(testing.random_image(1), tag="a")
    for folder, _, _ in os.walk(store.path):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700, folder


def test_an_index_is_stored_with_all_its_images(store: layout.Layout) -> None:
    index = testing.random_index(["linux/amd64", "linux/arm64"])
    stored = store.put(index, tag="multi")
    assert stored.raw_index == index.raw_index
    assert store.image("multi", platform="linux/arm64").config.architecture == "arm64"
    assert store.index("multi").digest == index.digest
    assert store.image(index.image("linux/amd64").digest).config.architecture == "amd64"
    assert store.verify() == []
    with pytest.raises(ImageNotFound, match="no image for linux/s390x"):
        store.image("multi", platform="linux/s390x")


def test_a_platform_that_was_asked_for_is_checked(store: layout.Layout) -> None:
    store.put(testing.random_image(1, platform="linux/arm64"), tag="a")
    assert store.image("a").config.architecture == "arm64"
    with pytest.raises(ImageNotFound, match="for linux/arm64"):
        store.image("a", platform="linux/amd64")


def test_tags_move_and_go(store: layout.Layout) -> None:
    first, second = testing.random_image(1, seed=1), testing.random_image(1, seed=2)
    store.put(first, tag="app")
    store.put(second, tag="app")
    assert store.image("app").digest == second.digest
    store.put(first)
    assert [entry.digest for entry in store.images()] == [second.digest, first.digest]
    store.untag("app")
    assert store.tags() == {}
    assert store.image(second.digest).digest == second.digest
    store.delete(second.digest)
    assert [entry.digest for entry in store.images()] == [first.digest]
    with pytest.raises(ImageNotFound):
        store.untag("app")
    with pytest.raises(ImageNotFound):
        store.delete(second.digest)
    with pytest.raises(ImageNotFound):
        store.image("app")


def test_only_what_is_missing_travels(store: layout.Layout) -> None:
    image = testing.random_image(layers=2)
    events: list[Progress] = []
    store.put(image, progress=events.append)
    assert [event.phase for event in events if event.digest == image.layers[0].digest] == [
        "start",
        "transfer",
        "done",
    ]
    events.clear()
    store.put(image, tag="x", progress=events.append)
    assert {event.phase for event in events} == {"skip"}


def test_unknown_members_of_the_index_survive(store: layout.Layout) -> None:
    path = Path(store.path, "index.json")
    path.write_bytes(b'{"schemaVersion":2,"manifests":[],"annotations":{"a":"b"},"x-mine":[1]}')
    store.put(testing.random_image(1), tag="a")
    assert b'"x-mine":[1]' in path.read_bytes()
    assert b'"annotations":{"a":"b"}' in path.read_bytes()


@pytest.mark.parametrize("name", ["", "../x", "a b", "/a", "a/", "a\n", "é", "a" * 256, "sha256:" + "a" * 64])
def test_tags_have_a_grammar(store: layout.Layout, name: str) -> None:
    with pytest.raises(LayoutError, match="expected a tag"):
        store.put(testing.random_image(1), tag=name)


def test_what_is_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="expected the directory"):
        layout.open(tmp_path / "missing")
    with pytest.raises(LayoutError, match="oci-layout"):
        layout.open(tmp_path)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(LayoutError, match="empty directory"):
        layout.open(tmp_path, create=True)
    assert os.listdir(tmp_path) == ["mine.txt"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(NotSupported, match=r"2\.0\.0"):
        layout.open(other)


@frozen
class Broken(Layer):
    """A layer whose stream gives other bytes than its descriptor says."""

    descriptor: Descriptor
    content: bytes
    error: Exception | None = None

    @property
    def diff_id(self) -> Digest:
        return self.descriptor.digest

    def open(self) -> ByteStream:
        return Failing(self.content, self.error)


class Failing:
    def __init__(self, content: bytes, error: Exception | None) -> None:
        self.content, self.error, self.closed = content, error, False

    def read(self, size: int = -1, /) -> bytes:
        if not self.content and self.error:
            raise self.error
        size = len(self.content) if size < 0 else size
        data, self.content = self.content[:size], self.content[size:]
        return data

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize(
    ("content", "error", "expected"),
    [
        (b"good conten", None, SizeMismatch),
        (b"good content!", None, SizeMismatch),
        (b"evil content", None, DigestMismatch),
        (b"", None, SizeMismatch),
        (b"good", RuntimeError("consumer"), RuntimeError),
    ],
)
def test_rg_09_nothing_unverified_gets_a_name(
    store: layout.Layout, content: bytes, error: Exception | None, expected: type[Exception]
) -> None:
    descriptor = Descriptor.of(b"good content", mediatypes.OCI_LAYER)
    before = files_below(store.path)
    stream = Failing(content, error)
    with pytest.raises(expected):
        store.write_blob(descriptor, stream)
    assert stream.closed
    assert not store.has(descriptor)
    assert files_below(store.path) == before


def test_rg_09_the_first_error_stops_the_others(store: layout.Layout) -> None:
    good = testing.random_image(layers=4)
    bad = Broken(good.layers[1].descriptor, b"x")
    image = Changed(good, (good.layers[0], bad, *good.layers[2:]))
    threads = threading.active_count()
    with pytest.raises(ContentError):
        store.put(image, tag="a")
    assert store.tags() == {}
    assert not store.has(bad.descriptor)
    assert at_work(store.path) == []
    assert threading.active_count() == threads


class Changed(Image):
    """An image with other layers than its manifest says."""

    def __init__(self, image: Image, layers: tuple[Layer, ...]) -> None:
        self._image, self._layers = image, layers

    @property
    def descriptor(self) -> Descriptor:
        return self._image.descriptor

    @property
    def digest(self) -> Digest:
        return self._image.digest

    @property
    def manifest(self) -> Manifest:
        return self._image.manifest

    @property
    def raw_manifest(self) -> bytes:
        return self._image.raw_manifest

    @property
    def config(self) -> ImageConfiguration:
        return self._image.config

    @property
    def raw_config(self) -> bytes:
        return self._image.raw_config

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self._layers


@pytest.mark.parametrize("damage", ["symlink", "fifo", "empty", "altered", "longer", "directory", "dangling"])
def test_rg_21_damaged_entries_are_missing_and_replaced(
    store: layout.Layout, tmp_path: Path, damage: str
) -> None:
    image = testing.random_image(layers=1)
    store.put(image, tag="a")
    layer = image.layers[0]
    path = blob_path(store, layer.digest)
    original = path.read_bytes()
    canary = tmp_path / "canary"
    canary.write_bytes(original)
    path.unlink()
    match damage:
        case "symlink":
            path.symlink_to(canary)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "fifo":
            os.mkfifo(path)
        case "empty":
            path.touch()
        case "altered":
            path.write_bytes(bytes([original[0] ^ 1]) + original[1:])
        case "longer":
            path.write_bytes(original + b"x")
        case "directory":
            path.mkdir()
    with pytest.raises((BlobNotFound, DigestMismatch)), store.open_blob(layer.descriptor) as stream:
        stream.read()
    assert [problem.path for problem in store.verify()] == [f"blobs/sha256/{layer.digest.encoded}"]
    if damage == "directory":
        with pytest.raises(LayoutError, match="directory in its place"):
            store.put(image, tag="a")
        return
    store.put(image, tag="a")
    assert path.read_bytes() == original
    assert not path.is_symlink()
    assert canary.read_bytes() == original
    assert store.verify() == []


def test_rg_21_a_linked_blob_directory_is_refused(store: layout.Layout, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(store.path, "blobs", "sha256").rmdir()
    Path(store.path, "blobs", "sha256").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LayoutError, match="to be a directory"):
        store.put(testing.random_image(1), tag="a")
    assert os.listdir(tmp_path / "elsewhere") == []


def test_rg_21_names_come_only_from_the_caller(store: layout.Layout) -> None:
    """An annotation that looks like a tag does not become one."""
    source = testing.random_image(1)
    blobs = MemoryBlobs()
    named = Descriptor(
        media_type=source.descriptor.media_type,
        digest=source.digest,
        size=source.descriptor.size,
        annotations={
            "org.opencontainers.image.ref.name": "docker.io/library/alpine:latest",
            "io.containerd.image.name": "docker.io/library/alpine:latest",
        },
    )
    for layer in source.layers:
        with layer.open() as stream:
            blobs.add(stream.read(), layer.media_type)
    blobs.add(source.raw_config, source.manifest.config.media_type)
    image = partial.document(source.raw_manifest, blobs, descriptor=named)
    store.put(image)
    assert store.tags() == {}
    assert b"alpine" not in Path(store.path, "index.json").read_bytes()


def test_rg_21_a_killed_writer_leaves_nothing_that_counts(store: layout.Layout) -> None:
    """Its temporary file stays while it works, and is removed by whoever opens the layout after it was killed."""
    before = files_below(store.path)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        layout.open(store.path).close()
        (temporary,) = files_below(store.path) - before
        process.kill()
    assert temporary in files_below(store.path)
    assert not store.has(Descriptor.of(b"half and half", "text/plain"))
    layout.open(store.path).close()
    assert files_below(store.path) == before


PUTTER = """
import sys
from ociworks import testing
from ociworks.image import layout
with layout.open(sys.argv[1], create=True) as store:
    for number in range(8):
        store.put(testing.random_image(2, seed=number), tag=f"{sys.argv[2]}-{number}")
"""


def test_rg_21_several_processes_write_one_layout(tmp_path: Path) -> None:
    path = str(tmp_path / "shared")
    with (
        subprocess.Popen([sys.executable, "-c", PUTTER, path, "a"]) as one,
        subprocess.Popen([sys.executable, "-c", PUTTER, path, "b"]) as two,
    ):
        assert one.wait() == 0
        assert two.wait() == 0
    with layout.open(path) as store:
        assert len(store.tags()) == 16
        assert store.verify() == []
        assert at_work(path) == []


def test_rg_07_only_digests_become_names(store: layout.Layout) -> None:
    before = files_below(store.path)
    for text in [
        "sha256:../../../x",
        "sha256:" + "a" * 63,
        "sha256:" + "A" * 64,
        "sha256:",
        ":",
        "sha256:%2e%2e%2f",
    ]:
        with pytest.raises((InvalidDigest, ImageNotFound)):
            store.image(text)
    index = Path(store.path, "index.json")
    index.write_bytes(
        b'{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        b'"digest":"sha256:../../../../etc/passwd","size":7}]}'
    )
    with pytest.raises(LayoutError, match="expected a digest|expected 64"):
        store.images()
    assert files_below(store.path) == before


def test_rg_06_a_huge_index_file_is_not_read(store: layout.Layout) -> None:
    os.truncate(Path(store.path, "index.json"), 5 << 30)
    with pytest.raises(LimitExceeded):
        store.images()


def test_rg_13_indexes_are_walked_within_bounds(store: layout.Layout) -> None:
    blobs = MemoryBlobs()
    entry = Descriptor.of(b"{}", mediatypes.OCI_MANIFEST)
    raw = b""
    for _ in range(6):
        raw = to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=(entry, entry)))
        entry = blobs.add(raw, mediatypes.OCI_INDEX)
    with pytest.raises((LimitExceeded, BlobNotFound)):
        store.put(partial.index(raw, blobs))
    with pytest.raises(LimitExceeded):
        partial.index(raw, blobs).image("linux/amd64")
    many = tuple(Descriptor.of(b"%d" % number, mediatypes.OCI_MANIFEST) for number in range(1001))
    wide = to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=many))
    with pytest.raises(LimitExceeded):
        partial.index(wide, blobs).image("linux/amd64")


def test_what_is_brought_has_no_name_until_it_is_put(store: layout.Layout) -> None:
    image = testing.random_image(layers=2)
    before = store.revision()
    with store.lease() as lease:
        brought = store.bring(image, lease)
        assert brought.digest == image.digest
        assert store.images() == ()
        assert store.revision() == before
        assert store.gc().removed == ()
    assert len(store.gc().removed) == 4
    assert list(store.blobs()) == []
    store.put(image, "app:1")
    assert store.revision() != before
    assert len(list(store.blobs())) == 4


def test_references_are_tags() -> None:
    for text in (
        "docker.io/library/app:1",
        f"registry.example:5000/a__b/c@sha256:{'a' * 64}",
        "[::1]:5000/a:v",
    ):
        name = layout.name_of(Reference.parse(text))
        assert layout.reference_in(name) == Reference.parse(text)
    for text in ("hex+zz", "hex+ff", "NO", "hex+"):
        assert layout.reference_in(text) is None
