"""CR-13: checkpoint archives: nothing in one is believed, and writing one follows no links.

Of an archive regular files are taken, by their known names, into a private directory; what they say is compared with
the request. Writing copies regular files alone, to a name that nobody else can have placed something behind. What
criu's images make of a process is held to the configuration in ``tests/runtime/test_restored.py``.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from ociworks.cri.checkpoints import saved as reading
from ociworks.cri.checkpoints.saved import Saved, unpack_archive
from ociworks.cri.container.restoring import apply_changes, check_same, continue_log
from ociworks.cri.images import ContainerRoot
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, PodError
from ociworks.image.store import Snapshots
from ociworks.runtime import CheckpointOptions
from ociworks.runtime.overlay import RootfsOverlay
from ociworks.spec import to_json
from ociworks.spec.defaults import default_spec
from ociworks.spec.runtime import Mount, Spec
from ociworks.testing import File, image_from_files
from tests.cri.test_checkpoints import Dumped, content, dump, dumped, left

__all__ = ["dumped"]


def test_cr_13_a_pod_s_checkpoint_that_is_none(dumped: Dumped, tmp_path: Path) -> None:
    """A FIFO that nobody writes to does not hold the call, names that lead away are none, and no pod is made."""
    place = tmp_path / "saved"
    place.mkdir()
    request = api.RestorePodRequest(
        checkpoint_path=str(place),
        config=api.PodSandboxConfig(annotations={"io.kubernetes.cri-o.Devices": "/dev/sda"}),
    )
    os.mkfifo(place / "pod.dump")
    with pytest.raises(InvalidRequest):
        dumped.checkpoints.restore_pod(request)
    (place / "pod.dump").unlink()
    (place / "pod.dump").symlink_to("/etc/shadow")
    with pytest.raises(InvalidRequest):
        dumped.checkpoints.restore_pod(request)
    (place / "pod.dump").unlink()
    wrong: tuple[object, ...] = (
        {"x": "../x.tar"},
        {"x": "/x.tar"},
        {"x": ".."},
        {"x": ""},
        {"x": 7},
        [],
        "x",
    )
    for names in wrong:
        (place / "pod.dump").write_text(json.dumps({"containers": names}))
        with pytest.raises(InvalidRequest, match="pod.dump"):
            dumped.checkpoints.restore_pod(request)
    assert not dumped.containers.steps


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_cr_13_a_log_that_is_no_file(dumped: Dumped, tmp_path: Path, kind: str) -> None:
    """A link to somebody's secret, or what would hang a reader, does not get into the archive."""
    log = tmp_path / "app.log"
    if kind == "link":
        log.symlink_to("/etc/shadow")
    elif kind == "fifo":
        os.mkfifo(log)
    else:
        log.mkdir()
    container = dumped.node.container(dumped.node.pod("web"), "main", log_path=str(log))
    with pytest.raises(PodError):
        dumped.write(container, tmp_path / "x.tar")
    assert left(tmp_path) == {"app.log"}


def test_cr_13_a_link_at_the_place_is_replaced(dumped: Dumped, tmp_path: Path) -> None:
    """What it pointed to is not written."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (tmp_path / "x.tar").symlink_to(outside)
    dumped.write(dumped.node.container(dumped.node.pod("web"), "main"), tmp_path / "x.tar")
    assert outside.read_bytes() == b"mine"
    assert not (tmp_path / "x.tar").is_symlink()
    assert "config.dump" in content(tmp_path / "x.tar")


def test_cr_13_images_that_are_links(dumped: Dumped, tmp_path: Path) -> None:
    """Of what criu left, only regular files."""

    def linked(options: CheckpointOptions) -> None:
        dump(options)
        Path(options.image_path, "core-1.img").symlink_to("/etc/shadow")
        os.mkfifo(Path(options.image_path, "fifo"))

    dumped.containers.dump = linked
    dumped.write(dumped.node.container(dumped.node.pod("web"), "main"), tmp_path / "x.tar")
    names = {name for name in content(tmp_path / "x.tar") if name.startswith("checkpoint/")}
    assert names == {"checkpoint/pages-1.img"}


def test_cr_13_a_log_that_grows(dumped: Dumped, tmp_path: Path) -> None:
    """As much of it is copied as there was; the archive does not follow it."""
    log = tmp_path / "app.log"
    log.write_bytes(b"x" * 100)
    log.chmod(0o640)

    def growing(options: CheckpointOptions) -> None:
        dump(options)
        with log.open("ab") as stream:
            stream.write(b"y" * 100)

    dumped.containers.dump = growing
    container = dumped.node.container(dumped.node.pod("web"), "main", log_path=str(log))
    dumped.write(container, tmp_path / "x.tar")
    assert content(tmp_path / "x.tar")["container.log"] == b"x" * 100 + b"y" * 100


# --- reading --------------------------------------------------------------------------------------------

IDENTITY = "sha256:" + "ab" * 32
GOOD: Mapping[str, bytes] = {
    "config.dump": json.dumps({"rootfsImageRef": f"registry.example/app@{IDENTITY}"}).encode(),
    "spec.dump": to_json(Spec(oci_version="1.2.0")),
    "checkpoint/descriptors.json": b'["pipe:[1]"]',
    "checkpoint/pages-1.img": b"memory",
    "container.log": b"a line",
}


def packed(place: Path, *more: tarfile.TarInfo, files: Mapping[str, bytes] = GOOD, mode: str = "w") -> Path:
    """An archive."""
    made = place / "x.tar"
    with tarfile.open(made, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return made


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unpacked(
    place: Path, *more: tarfile.TarInfo, files: Mapping[str, bytes] = GOOD, mode: str = "w"
) -> Saved:
    return unpack_archive(str(packed(place, *more, files=files, mode=mode)), str(place / "saved"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_cr_13_what_is_taken(tmp_path: Path, mode: str) -> None:
    """Known files, for us alone; names that are ours, and directories, are not taken for what they are not."""
    more = special("checkpoint", tarfile.DIRTYPE)
    files = {**GOOD, "state.json": b"{}", "checkpoint/deep/er": b"x", "shim.json": b"{}", "restore.log": b""}
    found = unpacked(tmp_path, more, files=files, mode=mode)
    names = {str(path.relative_to(found.directory)) for path in Path(found.directory).rglob("*")}
    assert names == {*GOOD, "checkpoint"}
    for path in Path(found.directory).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) in (0o600, 0o700)
    assert found.image == f"registry.example/app@{IDENTITY}"
    assert (found.has_input, found.deleted, found.spec.oci_version) == (True, (), "1.2.0")


@pytest.mark.parametrize(
    "wrong",
    [
        special("checkpoint/pages-2.img", tarfile.SYMTYPE, "/etc/shadow"),
        special("container.log", tarfile.SYMTYPE, "/etc/shadow"),
        special("elsewhere", tarfile.LNKTYPE, "config.dump"),
        special("checkpoint/null", tarfile.CHRTYPE),
        special("checkpoint/sda", tarfile.BLKTYPE),
        special("fifo", tarfile.FIFOTYPE),
        special("../x", tarfile.REGTYPE),
        special("checkpoint/../../x", tarfile.REGTYPE),
        special("config.dump", tarfile.REGTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
def test_cr_13_what_is_refused(tmp_path: Path, wrong: tarfile.TarInfo) -> None:
    """Links, nodes, names that lead away, and a second file of a name; nothing appears outside."""
    with pytest.raises(InvalidRequest, match="checkpoint"):
        unpacked(tmp_path, wrong)
    assert set(os.listdir(tmp_path)) == {"x.tar", "saved"}


def test_cr_13_archives_that_are_none(tmp_path: Path) -> None:
    """Paths of something else: nothing is followed, and nothing hangs."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(packed(tmp_path))
    (tmp_path / "text").write_text("no archive")
    for name in ("fifo", "link", "none", ".", "text"):
        with pytest.raises(InvalidRequest):
            unpack_archive(str(tmp_path / name), str(tmp_path / f"saved-{name}"))


def test_cr_13_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, sizes that are only claimed, and documents are bounded."""
    claimed = special("checkpoint/pages-9.img", tarfile.REGTYPE)
    claimed.size = 1 << 45
    with pytest.raises(InvalidRequest):
        unpacked(tmp_path, claimed)
    monkeypatch.setattr(reading, "_MAX_DOCUMENT", 100)
    with pytest.raises(InvalidRequest, match="larger than"):
        unpack_archive(str(packed(tmp_path)), str(tmp_path / "second"))
    monkeypatch.undo()
    monkeypatch.setattr(reading, "_MAX_FILES", 3)
    with pytest.raises(InvalidRequest, match="more than 3 files"):
        unpack_archive(str(packed(tmp_path)), str(tmp_path / "third"))


@pytest.mark.parametrize("name", ["registry.example/app:1", "app", "", 7, f"{IDENTITY}x"])
def test_cr_13_image_names(tmp_path: Path, name: object) -> None:
    """What a name leads to may have changed: only a digest says which image was meant."""
    document = json.dumps({"rootfsImageRef": name, "rootfsImage": name}).encode()
    with pytest.raises(InvalidRequest, match="names no image"):
        _ = unpacked(tmp_path, files={**GOOD, "config.dump": document}).image


@pytest.mark.parametrize("name", ["config.dump", "spec.dump", "deleted.files", "checkpoint/descriptors.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[7]"])
def test_cr_13_documents_that_are_none(tmp_path: Path, name: str, content: bytes) -> None:
    found = unpacked(tmp_path, files={**GOOD, name: content})
    if (name, content) == ("checkpoint/descriptors.json", b"[7]"):
        assert not found.has_input
        return
    with pytest.raises(InvalidRequest, match="checkpoint"):
        assert (found.image, found.spec, found.deleted, found.has_input) is None


def test_cr_13_mounts_are_those_of_the_request(tmp_path: Path) -> None:
    """Neither a host's directory that only the checkpoint has, nor one that would silently be missing."""
    root = Mount(destination="/host", type="bind", source="/", options=("rbind",))
    asked = attrs.evolve(default_spec(), mounts=(root,))
    there = {**GOOD, "spec.dump": to_json(asked)}
    found = unpacked(tmp_path, files=there)
    check_same(found, asked, stdin=True)
    with pytest.raises(InvalidRequest, match="the checkpoint has also '/host'"):
        check_same(found, default_spec(), stdin=True)
    other = attrs.evolve(root, destination="/data")
    with pytest.raises(InvalidRequest, match="the checkpoint has not '/data'"):
        check_same(found, attrs.evolve(asked, mounts=(root, other)), stdin=True)
    assert asked.linux is not None
    unmasked = attrs.evolve(asked.linux, masked_paths=())
    with pytest.raises(InvalidRequest, match="masked_paths: the checkpoint has also"):
        check_same(found, attrs.evolve(asked, linux=unmasked), stdin=True)
    writable = attrs.evolve(asked.linux, readonly_paths=())
    with pytest.raises(InvalidRequest, match="readonly_paths: the checkpoint has also"):
        check_same(found, attrs.evolve(asked, linux=writable), stdin=True)
    with pytest.raises(InvalidRequest, match="stdin"):
        check_same(found, asked, stdin=False)
    assert asked.process is not None
    with pytest.raises(InvalidRequest, match="tty"):
        check_same(found, attrs.evolve(asked, process=attrs.evolve(asked.process, terminal=True)), stdin=True)


def test_cr_13_the_log_goes_on(tmp_path: Path) -> None:
    """Into a new file only: neither a link nor what is there is written to."""
    found = unpacked(tmp_path)
    continue_log(found, str(tmp_path / "log"))
    assert (tmp_path / "log").read_bytes() == b"a line"
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(outside)
    continue_log(found, str(tmp_path / "link"))
    assert outside.read_bytes() == b"mine"


def changed(place: Path, files: Mapping[str, bytes]) -> Path:
    """A root filesystem with what a checkpoint had changed: its upper directory."""
    base = image_from_files({"etc/passwd": b"root", "etc/group": File(b"root"), "bin/sh": b"#!"})
    upper = place / "upper"
    upper.mkdir()
    with Snapshots(place / "snapshots") as snapshots, snapshots.prepare(base) as snapshot:
        layers = RootfsOverlay(lowers=snapshot.directories, upper=str(upper), work=str(place / "work"))
        root = ContainerRoot(path=str(place), overlay=layers, snapshot=snapshot)
        apply_changes(unpacked(place, files={**GOOD, **files}), root)
    return upper


def layer(place: Path, *more: tarfile.TarInfo, files: Mapping[str, bytes]) -> bytes:
    return packed(place, *more, files=files).read_bytes()


@pytest.mark.root
def test_cr_13_changes_of_the_root(tmp_path: Path) -> None:
    """What was changed and deleted; devices are left out; set-id bits and links are the container's own affair."""
    if os.geteuid() != 0:
        pytest.skip("whiteouts need root")
    device = special("dev/sda", tarfile.BLKTYPE)
    changes = layer(tmp_path, device, files={"etc/new": b"new", "bin/.wh.sh": b""})
    deleted = json.dumps(["etc/group", "/etc/passwd"]).encode()
    upper = changed(tmp_path, {"rootfs-diff.tar": changes, "deleted.files": deleted})
    assert (upper / "etc/new").read_bytes() == b"new"
    for name in ("etc/group", "etc/passwd", "bin/sh"):
        info = (upper / name).lstat()
        assert stat.S_ISCHR(info.st_mode)
        assert info.st_rdev == 0
    assert not (upper / "dev/sda").exists()


@pytest.mark.root
@pytest.mark.parametrize("name", ["../../x", "/..", "", ".", "a/../../b", "a\0b"])
def test_cr_13_deleted_files(tmp_path: Path, name: str) -> None:
    """Names that lead out of the root filesystem are refused."""
    with pytest.raises(InvalidRequest):
        changed(tmp_path, {"deleted.files": json.dumps([name]).encode()})


@pytest.mark.root
def test_cr_13_changes_that_lead_away(tmp_path: Path) -> None:
    """As a layer of an image is refused that names something outside."""
    changes = layer(tmp_path, special("../x", tarfile.REGTYPE), files={})
    with pytest.raises(InvalidRequest):
        changed(tmp_path, {"rootfs-diff.tar": changes})
