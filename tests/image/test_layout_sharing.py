"""One layout, several threads and processes: one download, leases, garbage collection, what is known of a file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from ociworks import testing
from ociworks.errors import ImageNotFound, LayoutError
from ociworks.image import layout, mutate, partial
from ociworks.image.memory import MemoryBlobs
from ociworks.image.stream import VerifiedStream
from ociworks.spec import Digest, to_json
from ociworks.spec.image import Descriptor, Index, Manifest, mediatypes
from tests.image.writers import WRITER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociworks.image.types import ByteStream, Image

CONTENT = b"half and half"
BLOB = Descriptor.of(CONTENT, "text/plain")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[layout.Layout]:
    with layout.open(tmp_path / "store", create=True) as opened:
        yield opened


class Gated:
    """A stream that says when it is first read, and then waits until it may go on."""

    def __init__(self) -> None:
        self.reading, self.go_on = threading.Event(), threading.Event()
        self.left = [CONTENT[:4], CONTENT[4:]]

    def read(self, size: int = -1, /) -> bytes:
        if len(self.left) == 1:
            self.reading.set()
            self.go_on.wait(60)
        return self.left.pop(0) if self.left else b""

    def close(self) -> None:
        self.left.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def never() -> ByteStream:
    raise AssertionError("this source must not be opened")


def ignore(*_: object) -> None:
    pass


def test_threads_that_want_one_blob_read_one_source(store: layout.Layout) -> None:
    """The second waits for the first and then finds the blob; its own source is never opened."""
    slow, waiting = Gated(), threading.Event()
    first = threading.Thread(target=store.write_blob, args=(BLOB, slow))
    first.start()
    assert slow.reading.wait(60)
    outcome: list[bool] = []
    second = threading.Thread(
        target=lambda: outcome.append(store._blobs.ingest(BLOB, never, ignore, waiting.set))
    )
    second.start()
    assert waiting.wait(60)
    assert not outcome
    slow.go_on.set()
    first.join()
    second.join()
    assert outcome == [False]
    assert store.verify() == []
    assert os.listdir(Path(store.path, ".ociworks/ingest")) == []


def test_a_wait_can_be_stopped(store: layout.Layout) -> None:
    slow = Gated()
    first = threading.Thread(target=store.write_blob, args=(BLOB, slow))
    first.start()
    assert slow.reading.wait(60)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store._blobs.ingest(BLOB, never, ignore, stop)
    slow.go_on.set()
    first.join()
    assert store.has(BLOB)


def test_a_writer_that_dies_is_taken_over(store: layout.Layout) -> None:
    """Another process has written half of a blob and is killed: the one that waits for it writes all of it."""
    waiting, outcome = threading.Event(), list[bool]()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        second = threading.Thread(
            target=lambda: outcome.append(
                store._blobs.ingest(BLOB, lambda: partial.stream_of(CONTENT, BLOB), ignore, waiting.set)
            )
        )
        second.start()
        assert waiting.wait(60)
        process.kill()
    second.join()
    assert outcome == [True]
    with store.open_blob(BLOB) as stream:
        assert stream.read() == CONTENT
    assert os.listdir(Path(store.path, ".ociworks/ingest")) == []


PULLER = """
import sys
from ociworks.image import layout, remote
with remote.Client() as client, layout.open(sys.argv[1], create=True) as store:
    sys.stdin.readline()
    store.put(client.image(sys.argv[2]), tag=sys.argv[3])
"""


def test_processes_that_pull_one_image_download_it_once(tmp_path: Path) -> None:
    image = testing.random_image(3, size=2_000_000)
    with testing.Registry() as registry:
        from ociworks.image import remote

        with remote.Client() as client:
            client.push(image, f"{registry.host}/app:1")
        pullers = [
            subprocess.Popen(
                [sys.executable, "-c", PULLER, str(tmp_path / "l"), f"{registry.host}/app:1", name],
                stdin=subprocess.PIPE,
            )
            for name in ("a", "b", "c")
        ]
        for puller in pullers:
            assert puller.stdin is not None
            puller.stdin.write(b"\n")
            puller.stdin.flush()
        for puller in pullers:
            puller.communicate(timeout=120)
            assert puller.returncode == 0
        for layer in image.layers:
            gets = [
                request
                for request in registry.requests
                if request.method == "GET" and request.path.endswith(f"/blobs/{layer.digest}")
            ]
            assert len(gets) == 1
    with layout.open(tmp_path / "l") as store:
        assert set(store.tags()) == {"a", "b", "c"}
        assert store.verify() == []


# What is known of a file


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Digest]:
    """The digests of the streams that are made from now on."""
    seen: list[Digest] = []
    make = VerifiedStream.__init__

    def spy(self: VerifiedStream, source: object, descriptor: Descriptor, what: str = "") -> None:
        seen.append(descriptor.digest)
        make(self, source, descriptor, what)  # type: ignore[arg-type]

    monkeypatch.setattr(VerifiedStream, "__init__", spy)
    return seen


def test_what_was_verified_is_not_read_again(store: layout.Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    image = testing.random_image(2)
    store.put(image)
    seen = hashed(monkeypatch)
    store.put(image, tag="again")
    assert not set(seen) & {layer.digest for layer in image.layers}


@pytest.mark.parametrize("how", ["in place", "replaced", "touched"])
def test_a_file_that_was_touched_is_read_again(store: layout.Layout, how: str) -> None:
    """Nobody can hide a change: not by keeping the size, not by setting the modification time back."""
    image = testing.random_image(1)
    store.put(image, tag="a")
    path = Path(store.path, "blobs/sha256", image.layers[0].digest.encoded)
    before, original = path.stat(), path.read_bytes()
    damaged = bytes([original[0] ^ 1]) + original[1:]
    match how:
        case "in place":
            path.write_bytes(damaged)
        case "replaced":
            path.with_name("other").write_bytes(damaged)
            path.with_name("other").rename(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    store.put(image, tag="a")
    assert path.read_bytes() == original


def test_a_layout_of_others_is_read_once(store: layout.Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs that ociworks did not write have no record: they are hashed when they are first relied on."""
    image = testing.random_image(1)
    store.put(image)
    for record in Path(store.path, ".ociworks/seen").iterdir():
        record.unlink()
    seen = hashed(monkeypatch)
    store.put(image)
    assert image.layers[0].digest in seen
    seen.clear()
    store.put(image)
    assert image.layers[0].digest not in seen


# Leases and garbage


def digests_on_disk(store: layout.Layout) -> set[str]:
    return set(os.listdir(Path(store.path, "blobs/sha256")))


def needs(image: Image) -> set[str]:
    blobs = [image.descriptor, image.manifest.config, *image.manifest.layers]
    return {blob.digest.encoded for blob in blobs}


def test_what_nothing_names_is_collected(store: layout.Layout) -> None:
    kept, gone = testing.random_image(2, seed=1), testing.random_image(2, seed=2)
    index = testing.random_index(["linux/amd64", "linux/arm64"], seed=7)
    store.put(kept, tag="kept")
    store.put(gone, tag="gone")
    store.put(index, tag="multi")
    store.put(testing.random_image(1, seed=3))
    before = digests_on_disk(store)
    assert store.gc().removed == ()
    store.delete(gone.digest)
    planned = store.gc(dry_run=True)
    assert digests_on_disk(store) == before
    report = store.gc()
    assert report == planned
    assert {digest.encoded for digest in report.removed} == needs(gone)
    assert before - digests_on_disk(store) == needs(gone)
    sizes = gone.descriptor.size + gone.manifest.config.size + sum(layer.size for layer in gone.layers)
    assert report.freed == sizes
    assert report.kept == len(digests_on_disk(store))
    assert store.verify() == []
    records = {name.rpartition("-")[2] for name in os.listdir(Path(store.path, ".ociworks/seen"))}
    assert records == digests_on_disk(store)


def test_records_of_blobs_that_others_removed_go_too(store: layout.Layout) -> None:
    image = store.put(testing.random_image(2), tag="a")
    Path(store.path, "blobs/sha256", image.layers[0].digest.encoded).unlink()
    Path(store.path, ".ociworks/seen/new-left").symlink_to("by a killed writer")
    assert store.gc().removed == ()
    records = {name.rpartition("-")[2] for name in os.listdir(Path(store.path, ".ociworks/seen"))}
    assert records == digests_on_disk(store)


def test_a_lease_holds_what_nothing_names(store: layout.Layout) -> None:
    image = store.put(testing.random_image(2), tag="a")
    index = store.put(testing.random_index(["linux/amd64", "linux/arm64"], seed=5), tag="b")
    with store.lease() as lease, layout.open(store.path) as other:
        lease.hold(image, index)
        store.delete(image.digest)
        store.delete(index.digest)
        assert other.gc().removed == ()
        with image.layers[0].open() as stream:
            assert stream.read()
    assert needs(image) <= {digest.encoded for digest in store.gc().removed}
    assert digests_on_disk(store) == set()
    with pytest.raises(LayoutError, match="released"):
        lease.hold(image)


def test_one_blob_can_be_held_before_it_is_there(store: layout.Layout) -> None:
    with store.lease() as lease:
        lease.hold(BLOB)
        store.write_blob(BLOB, partial.stream_of(CONTENT, BLOB))
        assert store.gc().removed == ()
    assert store.gc().removed == (BLOB.digest,)


HOLDER = """
import sys
from ociworks.image import layout
with layout.open(sys.argv[1]) as store, store.lease() as lease:
    lease.hold(store.image("a"))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lease_of_a_killed_process_lapses(store: layout.Layout) -> None:
    image = testing.random_image(2)
    store.put(image, tag="a")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        store.delete(image.digest)
        assert store.gc().removed == ()
        process.kill()
    assert {digest.encoded for digest in store.gc().removed} == needs(image)
    assert os.listdir(Path(store.path, ".ociworks/leases")) == []


def test_an_image_that_is_being_stored_is_not_collected(store: layout.Layout) -> None:
    """In the middle of a put its first layer is there and nothing names it: a collection leaves it."""
    image = testing.random_image(3)
    collected: list[tuple[Digest, ...]] = []

    def collect(*_: object) -> None:
        with layout.open(store.path) as other:
            collected.append(other.gc().removed)

    store.put(image, tag="a", progress=collect, workers=1)
    assert collected
    assert not any(collected)
    assert store.verify() == []


def test_collections_and_writers_at_once(store: layout.Layout) -> None:
    """Images come and go while another thread collects: what has a name is always whole."""
    stop = threading.Event()

    def collect() -> None:
        with layout.open(store.path) as other:
            while not stop.is_set():
                other.gc()

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for round_ in range(12):
            image = testing.random_image(2, seed=round_ % 3, size=10_000)
            store.put(image, tag="a")
            assert store.verify() == []
            store.delete(image.digest)
    finally:
        stop.set()
        collector.join()


def test_a_damaged_document_stops_the_collection(store: layout.Layout) -> None:
    """What it needs is not known, so nothing is removed."""
    image = testing.random_image(1)
    store.put(image, tag="a")
    store.write_blob(BLOB, partial.stream_of(CONTENT, BLOB))
    path = Path(store.path, "blobs/sha256", image.digest.encoded)
    path.write_bytes(b"{" + path.read_bytes()[1:].replace(b"layers", b"Layers"))
    with pytest.raises(LayoutError, match="nothing was collected"):
        store.gc()
    assert store.has(BLOB)
    path.unlink()
    assert BLOB.digest in store.gc().removed


def test_documents_of_unknown_types_keep_what_they_name(store: layout.Layout) -> None:
    raw = b'{"blobs":[{"digest":"%s"}]}' % str(BLOB.digest).encode()
    entry = Descriptor.of(raw, "application/vnd.oci.artifact.manifest.v1+json")
    store.write_blob(BLOB, partial.stream_of(CONTENT, BLOB))
    store.write_blob(entry, partial.stream_of(raw, entry))
    index = Path(store.path, "index.json")
    index.write_bytes(to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=(entry,))))
    assert store.gc().removed == ()


# Referrers, tags


def signature_of(image: Image, by: str = "me") -> Image:
    blobs = MemoryBlobs()
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        artifact_type="application/vnd.example.signature",
        config=blobs.add(b"{}", mediatypes.OCI_EMPTY),
        layers=(blobs.add(b"signed", "application/octet-stream"),),
        subject=image.descriptor,
        annotations={"by": by},
    )
    return partial.image(to_json(manifest), b"{}", blobs)


def test_referrers_are_found_by_their_subject(store: layout.Layout) -> None:
    image = store.put(testing.random_image(1), tag="a")
    attached = store.put(signature_of(image))
    (found,) = store.referrers(image.descriptor)
    assert found.digest == attached.digest
    assert found.artifact_type == "application/vnd.example.signature"
    assert found.annotations == {"by": "me"}
    assert store.referrers(image.digest, "application/vnd.example.sbom") == ()
    assert store.referrers(attached.digest) == ()
    assert store.gc().removed == ()


def test_referrers_in_the_list_of_the_tag_schema(store: layout.Layout) -> None:
    """Other programs keep the list of referrers in the layout as a registry without the API does."""
    image = store.put(testing.random_image(1), tag="a")
    attached = signature_of(image)
    listing = mutate.index([attached])
    store.put(listing, tag=f"sha256-{image.digest.encoded}")
    assert [each.digest for each in store.referrers(image.digest)] == [attached.digest]


def test_what_is_attached_is_no_second_image(store: layout.Layout) -> None:
    """Without a name the only image is meant, whatever is attached to it."""
    image = store.put(testing.random_image(1))
    store.put(signature_of(image))
    store.put(testing.random_image(1, seed=4), tag=f"sha256-{image.digest.encoded}.sig")
    assert store.image().digest == image.digest
    store.put(testing.random_image(1, seed=5))
    with pytest.raises(ImageNotFound, match="found 2"):
        store.image()


def test_a_tag_is_given_to_what_is_here(store: layout.Layout) -> None:
    index = store.put(testing.random_index(), tag="multi")
    image = index.image("linux/arm64")
    store.tag(image.digest, "arm")
    assert store.image("arm").digest == image.digest
    store.tag("multi", "arm")
    assert store.index("arm").digest == index.digest
    with pytest.raises(ImageNotFound):
        store.tag("nothing", "x")
    assert os.listdir(Path(store.path, ".ociworks/leases")) == []
