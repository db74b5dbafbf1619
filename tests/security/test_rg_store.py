"""Attacks on layouts, archives and the places between: RG-06, RG-07 and RG-21 of the catalogue."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import attrs
import pytest

import ociworks
from ociworks import testing
from ociworks.errors import (
    ArchiveError,
    BlobNotFound,
    ContentError,
    ImageError,
    ImageNotFound,
    InvalidDigest,
    InvalidImage,
    InvalidLocation,
    InvalidReference,
    LayoutError,
    LimitExceeded,
    OciworksError,
    SpecError,
)
from ociworks.image import archive, layout, partial
from ociworks.image.archive import _members
from ociworks.image.memory import MemoryBlobs
from ociworks.image.tar import Limits
from ociworks.image.types import Image
from ociworks.spec import Digest, to_json
from ociworks.spec.image import Descriptor, Index, mediatypes

HEX = "a" * 64
BAD_DIGESTS = [
    "sha256:../../../../../../etc/passwd",
    "sha256:%2e%2e%2f",
    "sha256:" + "a" * 63,
    "sha256:" + "a" * 65,
    "sha256:" + "A" * 64,
    ":",
    "",
    "sha256:",
    f"sha256:{HEX}\0",
    f"sha256:{HEX}\n",
    "sha256:aa/../../manifests/latest",
    f"sha256:{HEX}/../x",
    f"../sha256:{HEX}",
    f"SHA256:{HEX}",
    "sha256:" + "１" * 64,
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[layout.Layout]:
    with layout.open(tmp_path / "store", create=True) as opened:
        yield opened


def tree(path: str | Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), path)
        for folder, folders, names in os.walk(path)
        for name in (*folders, *names)
    }


def tar(path: Path, *members: tuple[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w") as out:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
            else:
                out.addfile(info)
    return path


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def members_of(image: Image, *, tag: str = "app") -> list[tuple[str, bytes | tarfile.TarInfo]]:
    """An honest oci-archive, to be made a hostile one."""
    named = attrs.evolve(image.descriptor, annotations={"org.opencontainers.image.ref.name": tag})
    blobs = [image.raw_manifest, image.raw_config]
    for layer in image.layers:
        with layer.open() as stream:
            blobs.append(stream.read())
    return [
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        *((f"blobs/sha256/{Digest.of(blob).encoded}", blob) for blob in blobs),
        ("index.json", to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=(named,)))),
    ]


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


# RG-07: digests used as paths and URLs


@pytest.mark.parametrize("text", BAD_DIGESTS)
def test_rg_07_digests_in_layouts(store: layout.Layout, text: str) -> None:
    """In descriptors, subjects and diff IDs: refused when the document is read; no path is made of them."""
    before = tree(store.path)
    for name in (text, f"{text}@x"):
        with pytest.raises((InvalidDigest, ImageNotFound)):
            store.image(name)
    digest = json.dumps(text).encode()
    entry = b'{"mediaType":"%s","digest":%s,"size":2}' % (mediatypes.OCI_MANIFEST.encode(), digest)
    Path(store.path, "index.json").write_bytes(b'{"schemaVersion":2,"manifests":[' + entry + b"]}")
    for ask in (store.images, store.tags, store.verify, store.gc, store.image):
        with pytest.raises(LayoutError):
            ask()
    assert tree(store.path) - before <= {".ociworks/leases"}


@pytest.mark.parametrize("text", BAD_DIGESTS)
def test_rg_07_digests_in_manifests(store: layout.Layout, text: str) -> None:
    image = testing.random_image(1)
    value = json.loads(image.raw_manifest)
    for change in (
        {"subject": {**value["layers"][0], "digest": text}},
        {"layers": [{**value["layers"][0], "digest": text}]},
        {"config": {**value["config"], "digest": text}},
    ):
        raw = json.dumps({**value, **change}).encode()
        with pytest.raises(SpecError):
            partial.document(raw, MemoryBlobs())
        blob = Descriptor.of(raw, mediatypes.OCI_MANIFEST)
        store.write_blob(blob, partial.stream_of(raw, blob))
        with pytest.raises(SpecError):
            store.image(blob.digest)


@pytest.mark.parametrize("text", BAD_DIGESTS)
def test_rg_07_digests_in_archives(tmp_path: Path, text: str) -> None:
    members = dict(members_of(testing.random_image(1)))
    digest = json.dumps(text).encode()
    members["index.json"] = b'{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":%s,"size":2}]}' % (
        mediatypes.OCI_MANIFEST.encode(),
        digest,
    )
    with pytest.raises(LayoutError):
        archive.open(tar(tmp_path / "a.tar", *members.items()))
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [text]}}
    )
    manifest = b'[{"Config":"c.json","Layers":["l.tar"]}]'
    path = tar(tmp_path / "b.tar", ("manifest.json", manifest), ("c.json", config.encode()), ("l.tar", b""))
    with pytest.raises(ArchiveError):
        archive.open(path)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "c.json/../../x", "", ".", "c\0"])
def test_rg_07_names_in_docker_archives_stay_inside(tmp_path: Path, name: str) -> None:
    """What the list calls a file is looked up in the archive and nowhere else."""
    for item in ({"Config": name, "Layers": []}, {"Config": "c.json", "Layers": [name]}):
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        if item["Layers"]:
            config["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{HEX}"]}
        path = tar(
            tmp_path / "a.tar",
            ("manifest.json", json.dumps([item]).encode()),
            ("c.json", json.dumps(config).encode()),
        )
        with pytest.raises(ArchiveError):
            archive.open(path)


@pytest.mark.parametrize("text", BAD_DIGESTS)
def test_rg_07_no_request_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A copy from or to such a digest ends before a registry is asked or a file is made."""
    monkeypatch.chdir(tmp_path)
    with testing.Registry() as registry:
        for source in (f"{registry.host}/app@{text}", f"oci:l@{text}", f"oci-archive:a.tar@{text}"):
            with pytest.raises((InvalidReference, InvalidLocation, ImageError, FileNotFoundError)):
                ociworks.copy(source, "oci:out:x")
        assert registry.requests == ()
    assert os.listdir(tmp_path) == []


def test_rg_07_names_of_files_are_not_trusted(store: layout.Layout) -> None:
    """Files under other names than digests are neither read nor removed; wrong ones under a digest are damage."""
    folder = Path(store.path, "blobs/sha256")
    for name in ("README", "A" * 64, "a" * 63, "..a", "-rf"):
        (folder / name).write_bytes(b"x")
    (folder / HEX).write_bytes(b"x")
    assert store.gc().removed == (Digest(f"sha256:{HEX}"),)
    assert {path.name for path in folder.iterdir()} == {"README", "A" * 64, "a" * 63, "..a", "-rf"}


@pytest.mark.parametrize("line", ["sha256:../x", "x", "\xff", "sha256:" + "a" * 64 + " y"])
def test_rg_07_leases_are_parsed(store: layout.Layout, line: str) -> None:
    with store.lease():
        (name,) = os.listdir(Path(store.path, ".ociworks/leases"))
        with Path(store.path, ".ociworks/leases", name).open("a", encoding="latin-1") as file:
            file.write(line + "\n")
        with pytest.raises(LayoutError, match="lease"):
            store.gc()


# RG-21: local layouts, archives and names


def in_a_cycle() -> list[tuple[str, bytes | tarfile.TarInfo]]:
    return [
        ("manifest.json", special(tarfile.SYMTYPE, "x")),
        ("x", special(tarfile.SYMTYPE, "manifest.json")),
    ]


HOSTILE: dict[str, Callable[[], list[tuple[str, bytes | tarfile.TarInfo]]]] = {
    "cycle": in_a_cycle,
    "to itself": lambda: [("manifest.json", special(tarfile.SYMTYPE, "manifest.json"))],
    "hard to itself": lambda: [("manifest.json", special(tarfile.LNKTYPE, "manifest.json"))],
    "hard cycle": lambda: [
        ("manifest.json", special(tarfile.LNKTYPE, "x")),
        ("x", special(tarfile.LNKTYPE, "manifest.json")),
    ],
    "long chain": lambda: [
        ("manifest.json", special(tarfile.SYMTYPE, "l0")),
        *((f"l{number}", special(tarfile.SYMTYPE, f"l{number + 1}")) for number in range(20)),
        ("l20", b"[]"),
    ],
    "absolute": lambda: [("manifest.json", special(tarfile.SYMTYPE, "/etc/passwd"))],
    "outside": lambda: [("manifest.json", special(tarfile.SYMTYPE, "../../etc/passwd"))],
    "outside by a folder": lambda: [("manifest.json", special(tarfile.SYMTYPE, "a/../../etc/passwd"))],
    "dangling": lambda: [("manifest.json", special(tarfile.SYMTYPE, "nothing"))],
    "pipe": lambda: [("manifest.json", special(tarfile.FIFOTYPE))],
    "device": lambda: [("manifest.json", special(tarfile.CHRTYPE))],
    "directory": lambda: [("manifest.json", special(tarfile.DIRTYPE))],
    "twice": lambda: [("manifest.json", b"[]"), ("manifest.json", b"[]")],
    "twice, as file and link": lambda: [
        ("manifest.json", b"[]"),
        ("x", b"[]"),
        ("./manifest.json", special(tarfile.SYMTYPE, "x")),
    ],
    "dot dot": lambda: [("a/../manifest.json", b"[]")],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_rg_21_links_and_kinds_in_archives(tmp_path: Path, kind: str) -> None:
    path = tar(tmp_path / "a.tar", *HOSTILE[kind]())
    with pytest.raises(ArchiveError):
        archive.open(path)


@pytest.mark.parametrize("kind", HOSTILE)
def test_rg_21_the_same_for_a_layer_of_a_docker_archive(tmp_path: Path, kind: str) -> None:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{HEX}"]},
    }
    hostile = [
        (name.replace("manifest.json", "layer.tar"), _pointed(content)) for name, content in HOSTILE[kind]()
    ]
    listed = b'[{"Config":"c.json","Layers":["layer.tar"]}]'
    path = tar(
        tmp_path / "a.tar", ("manifest.json", listed), ("c.json", json.dumps(config).encode()), *hostile
    )
    with (
        pytest.raises(OciworksError),
        archive.open(path) as images,
        images.image().layers[0].open() as stream,
    ):
        stream.read()


def _pointed(content: bytes | tarfile.TarInfo) -> bytes | tarfile.TarInfo:
    if isinstance(content, tarfile.TarInfo):
        content.linkname = content.linkname.replace("manifest.json", "layer.tar")
    return content


def test_rg_21_other_content_under_a_digest_in_an_archive(tmp_path: Path) -> None:
    """Altered, or a link to another blob: found when it is read, and never stored."""
    image = testing.random_image(2)
    one, two = (f"blobs/sha256/{layer.digest.encoded}" for layer in image.layers)
    for change in (b"x" * image.layers[0].size, special(tarfile.SYMTYPE, two.rpartition("/")[2])):
        members = dict(members_of(image))
        members[one] = change
        with archive.open(tar(tmp_path / "a.tar", *members.items())) as images:
            assert len(images.verify()) == 1
            with pytest.raises((ContentError, BlobNotFound)):
                ociworks.copy(images, f"oci:{tmp_path}/l:app")
    with layout.open(tmp_path / "l") as store:
        assert store.images() == ()
        assert not store.has(image.layers[0].descriptor)


@pytest.mark.parametrize("tag", ["../../x", "docker.io/library/alpine:latest", "a\nb", "--help"])
def test_rg_21_names_in_an_archive_stay_in_it(tmp_path: Path, tag: str) -> None:
    """What an archive calls its image never becomes a name in a store or layout."""
    members = members_of(testing.random_image(1), tag=tag)
    tar(tmp_path / "a.tar", *members)
    ociworks.copy(f"oci-archive:{tmp_path}/a.tar", f"oci:{tmp_path}/l")
    ociworks.copy(f"oci-archive:{tmp_path}/a.tar", f"oci:{tmp_path}/l:mine")
    with layout.open(tmp_path / "l") as store:
        assert list(store.tags()) == ["mine"]
    assert b"alpine" not in (tmp_path / "l/index.json").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "l"]


@pytest.mark.parametrize("part", ["", "ingest", "leases", "seen"])
def test_rg_21_our_own_directory_as_a_link(store: layout.Layout, tmp_path: Path, part: str) -> None:
    """Nothing is written through a link in place of the directories that ociworks keeps."""
    image = testing.random_image(1)
    store.put(testing.random_image(1, seed=5))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = Path(store.path, ".ociworks", part)
    place.rename(tmp_path / "moved")
    place.symlink_to(elsewhere)
    if part == "seen":
        store.put(image, tag="a")  # records are a convenience
        assert store.verify() == []
    else:
        with pytest.raises(LayoutError, match="to be a directory"):
            store.put(image, tag="a")
    assert os.listdir(elsewhere) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_rg_21_ingest_files_that_are_none(store: layout.Layout, tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"alive")
    blob = Descriptor.of(b"content", "text/plain")
    store.put(testing.random_image(1))
    path = Path(store.path, ".ociworks/ingest", f"sha256-{blob.digest.encoded}")
    match kind:
        case "link":
            path.symlink_to(canary)
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
    with pytest.raises(LayoutError, match="regular file"):
        store.write_blob(blob, partial.stream_of(b"content", blob))
    assert canary.read_bytes() == b"alive"
    assert not store.has(blob)


def test_rg_21_a_forged_record_is_worth_nothing_when_reading(store: layout.Layout) -> None:
    """Whoever can write into the store can say that a damaged file was verified; reading it proves otherwise."""
    image = store.put(testing.random_image(1), tag="a")
    digest = image.layers[0].digest
    path = Path(store.path, "blobs/sha256", digest.encoded)
    path.write_bytes(bytes(image.layers[0].size))
    found = path.stat()
    record = Path(store.path, ".ociworks/seen", f"sha256-{digest.encoded}")
    record.unlink()
    record.symlink_to(f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}")
    with pytest.raises(ContentError), image.layers[0].open() as stream:
        stream.read()
    assert len(store.verify()) == 1
    with pytest.raises(InvalidImage):
        ociworks.verify(image)


def test_rg_21_an_archive_does_not_follow_a_link_in_its_place(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"alive")
    (tmp_path / "a.tar").symlink_to(canary)
    archive.write(tmp_path / "a.tar", testing.random_image(1), "app")
    assert canary.read_bytes() == b"alive"
    assert not (tmp_path / "a.tar").is_symlink()


CRASH = """
import os, sys
from ociworks import testing
from ociworks.image import _files, _cas, layout
at = sys.argv[2]
def die(*_, **__):
    os.kill(os.getpid(), 9)
if at == "rename":
    os.rename = die
elif at == "fsync":
    os.fsync = die
elif at == "index":
    _cas.BlobDirectory.replace = die
with layout.open(sys.argv[1]) as store:
    store.put(testing.random_image(2), tag="new")
"""


@pytest.mark.parametrize("at", ["rename", "fsync", "index"])
def test_rg_21_a_crash_at_any_step(store: layout.Layout, at: str) -> None:
    """A writer that is killed between writing and naming leaves no name and no lock, and its work can be done again."""
    store.put(testing.random_image(1, seed=9), tag="old")
    before = store.tags()
    done = subprocess.run([sys.executable, "-c", CRASH, store.path, at], check=False)
    assert done.returncode == -9
    with layout.open(store.path) as again:
        assert again.tags() == before
        assert again.verify() == []
        assert os.listdir(Path(store.path, ".ociworks/ingest")) == []
        image = testing.random_image(2)
        again.put(image, tag="new")
        again.gc()
        assert again.image("new").digest == image.digest
        assert again.verify() == []
        assert os.listdir(Path(store.path, ".ociworks/leases")) == []


def test_rg_21_nothing_is_named_before_it_is_durable(
    store: layout.Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blobs are synced before their renames, their directory before index.json, and that before its own."""
    steps: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.rename

    def note_sync(fd: int) -> None:
        steps.append(("fsync", os.readlink(f"/proc/self/fd/{fd}").rpartition("/")[2]))
        sync(fd)

    def note_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if not os.readlink(f"/proc/self/fd/{dst_dir_fd}").endswith("/seen"):
            steps.append((old, new))
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    image = testing.random_image(3)
    store.put(image, tag="a")
    renames = [place for place, step in enumerate(steps) if step[0] != "fsync"]
    assert [steps[place][1] for place in renames][-1] == "index.json"
    assert len(renames) == 6
    for place in renames:
        assert ("fsync", steps[place][0]) in steps[:place]
    last_blob, named = renames[-2], renames[-1]
    assert ("fsync", "sha256") in steps[last_blob:named]
    assert steps[named + 1 :] == [("fsync", "store")]


TWO = """
import sys
from ociworks.image import layout, partial
from ociworks.spec.image import Descriptor
content = bytes(3_000_000)
blob = Descriptor.of(content, "text/plain")
with layout.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(20):
        store.write_blob(blob, partial.stream_of(content, blob))
        store.gc()
"""


def test_rg_21_two_processes_write_and_remove_one_digest(store: layout.Layout) -> None:
    """However writers and collectors interleave, what is under the digest is whole or nothing."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.communicate(b"\n", timeout=120)
        assert writer.returncode == 0
    blob = Descriptor.of(bytes(3_000_000), "text/plain")
    if store.has(blob):
        with store.open_blob(blob) as stream:
            while stream.read(1 << 20):
                pass
    assert os.listdir(Path(store.path, ".ociworks/ingest")) == []


def test_rg_21_an_image_inside_an_image_names_nothing(store: layout.Layout) -> None:
    """The annotations of a manifest are the image's business; the store's list keeps none of them."""
    image = testing.random_image(1)
    named = partial.from_layers(
        to_json(
            attrs.evolve(
                image.manifest, annotations={"org.opencontainers.image.ref.name": "docker.io/library/alpine"}
            )
        ),
        image.raw_config,
        image.layers,
    )
    store.put(named)
    assert store.tags() == {}
    assert b"alpine" not in Path(store.path, "index.json").read_bytes()
