"""RG-06 for layouts and archives: documents and declarations without bounds."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Self

import pytest

from ociworks import testing
from ociworks.errors import (
    ArchiveError,
    BlobNotFound,
    ContentError,
    ImageNotFound,
    LayoutError,
    LimitExceeded,
)
from ociworks.image import archive, layout, partial
from ociworks.image.archive import _members
from ociworks.image.tar import Limits
from ociworks.spec.image import Descriptor
from tests.security.places.members import HEX, tar

# RG-06: oversized manifests and metadata
HUGE = 5 << 30


def sparse_archive(path: Path, name: str, size: int = HUGE) -> Path:
    """An archive whose one file claims, and has, this size; it takes no room."""
    info = tarfile.TarInfo(name)
    info.size = size
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    end = 512 + size + -size % 512
    os.truncate(path, end + 1024)
    return path


@pytest.mark.parametrize("name", ["index.json", "oci-layout", "manifest.json"])
def test_rg_06_huge_documents_in_archives(tmp_path: Path, name: str) -> None:
    """Five gigabytes under the name of a document are not read: the pass moves over them, and the size is refused."""
    path = sparse_archive(tmp_path / "a.tar", name)
    kind = "docker" if name == "manifest.json" else "oci"
    if name == "index.json":
        with path.open("r+b") as file, tarfile.open(fileobj=file, mode="a") as out:
            info = tarfile.TarInfo("oci-layout")
            content = b'{"imageLayoutVersion":"1.0.0"}'
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded):
            archive.open(path, format="oci" if kind == "oci" else "docker")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_rg_06_huge_documents_in_layouts(store: layout.Layout, name: str) -> None:
    os.truncate(Path(store.path, name), HUGE)
    with pytest.raises(LimitExceeded), layout.open(store.path) as again:
        again.images()


def entry_of_size(size: int) -> bytes:
    return (
        b'{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        b'"digest":"sha256:%s","size":%d}]}' % (HEX.encode(), size)
    )


@pytest.mark.parametrize("size", [2**62, HUGE, partial.MAX_DOCUMENT + 1])
def test_rg_06_declared_sizes_allocate_nothing(store: layout.Layout, size: int) -> None:
    Path(store.path, "index.json").write_bytes(entry_of_size(size))
    with pytest.raises((LimitExceeded, ImageNotFound)):
        store.image()
    assert len(store.verify()) == 1
    with pytest.raises((LimitExceeded, LayoutError)):
        store.gc()


def test_rg_06_bodies_larger_and_smaller_than_declared(store: layout.Layout) -> None:
    """A file that is longer or shorter than its descriptor says is no such blob."""
    image = store.put(testing.random_image(1), tag="a")
    for path in (Path(store.path, "blobs/sha256", layer.digest.encoded) for layer in image.layers):
        for content in (path.read_bytes() + b"x", path.read_bytes()[:-1]):
            path.write_bytes(content)
            with pytest.raises(BlobNotFound):
                image.layers[0].open()
    blob = Descriptor.of(b"short", "text/plain")
    with pytest.raises(ContentError):
        store.write_blob(blob, _Endless())
    assert not store.has(blob)


class _Endless:
    """A body without end; it counts what was taken of it."""

    taken = 0

    def read(self, size: int = -1, /) -> bytes:
        self.taken += size
        assert self.taken < 64 << 20
        return bytes(size)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_rg_06_a_million_entries(store: layout.Layout, tmp_path: Path) -> None:
    one = b'{"mediaType":"a/b","digest":"sha256:%s","size":1}' % HEX.encode()
    raw = b'{"schemaVersion":2,"manifests":[' + b",".join([one] * 80_000) + b"]}"
    Path(store.path, "index.json").write_bytes(raw)
    with pytest.raises((LayoutError, LimitExceeded)):
        store.images()
    images = b"[" + b",".join([b'{"Config":"c","Layers":[]}'] * 1001) + b"]"
    with pytest.raises(ArchiveError, match="at most 1000"):
        archive.open(tar(tmp_path / "a.tar", ("manifest.json", images), ("c", b"{}")))


def test_rg_06_a_layer_asked_for_as_a_manifest(store: layout.Layout) -> None:
    image = store.put(testing.random_image(1, size=9 << 20, compression="none"), tag="a")
    with pytest.raises(ImageNotFound):
        store.get(image.layers[0].digest)


def test_rg_06_archives_with_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_members, "_ENTRIES", 10)
    path = tar(tmp_path / "a.tar", *((f"f{number}", b"") for number in range(11)))
    with pytest.raises(LimitExceeded):
        archive.open(path)


def test_rg_06_archives_that_decompress_without_end(tmp_path: Path) -> None:
    """The bound is on what comes out, and the temporary file is gone."""
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(4 << 20)))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(LimitExceeded):
        archive.open(path, limits=Limits(unpacked_bytes_per_image=1 << 20))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_rg_06_oversized_leases(store: layout.Layout) -> None:
    """A lease that is too long to be read stops the collection: what it holds is not known."""
    with store.lease():
        (name,) = os.listdir(Path(store.path, ".ociworks/leases"))
        os.truncate(Path(store.path, ".ociworks/leases", name), HUGE)
        with pytest.raises(LimitExceeded):
            store.gc()
    store.gc()
