"""RG-21: layouts and archives whose files are links, forged or half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import ociworks
from ociworks import testing
from ociworks.errors import ArchiveError, BlobNotFound, ContentError, InvalidImage, LayoutError, OciworksError
from ociworks.image import archive, layout, partial
from ociworks.spec import to_json
from ociworks.spec.image import Descriptor
from tests.security.places.members import HEX, members_of, tar


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


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
