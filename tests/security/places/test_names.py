"""RG-07 for layouts and archives: digests and names used as paths."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import ociworks
from ociworks import testing
from ociworks.errors import (
    ArchiveError,
    ImageError,
    ImageNotFound,
    InvalidDigest,
    InvalidLocation,
    InvalidReference,
    LayoutError,
    SpecError,
)
from ociworks.image import archive, layout, partial
from ociworks.image.memory import MemoryBlobs
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes
from tests.security.places.members import HEX, members_of, tar

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


def tree(path: str | Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), path)
        for folder, folders, names in os.walk(path)
        for name in (*folders, *names)
    }


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
