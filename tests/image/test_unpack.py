"""Images to bundles: what appears, what does not, and whose it is."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ociworks import api, spec
from ociworks.errors import BundleExists, ImageError, InvalidSpec, LayerError, NotSupported, TarError
from ociworks.image import Mappings, Progress, remove_bundle, unpack
from ociworks.image._unpack import UnpackOptions, apply_layer
from ociworks.runtime import Runtime
from ociworks.spec.image import Config
from ociworks.testing.images import Compression, image_from_layers
from tests.image.archives import directory, entry, file, layer, listing, symlink
from tests.image.unpacking import GOOD, image

THREE = (layer(file(b"a", b"1"), file(b"d/b", b"2")), layer(file(b".wh.a")), layer(symlink(b"l", b"d/b")))


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_unpack(clean: Path, compression: Compression) -> None:
    bundle = unpack(image(*THREE, compression=compression), clean / "bundle")
    assert listing(bundle.rootfs) == {"d": "dir", "d/b": b"2", "l": "-> d/b"}
    assert bundle.path == clean / "bundle"
    assert bundle.spec == spec.Bundle.load(clean / "bundle").spec
    assert spec.validate(bundle.spec) == []
    assert bundle.spec.process is not None
    assert (bundle.spec.process.args, bundle.spec.process.cwd) == (("/bin/true",), "/srv")
    remove_bundle(bundle.path)
    assert not bundle.path.exists()


def test_no_layers(clean: Path) -> None:
    assert listing(unpack(image(), clean / "bundle").rootfs) == {}


def test_progress(clean: Path) -> None:
    events: list[Progress] = []
    img = image(*THREE)
    unpack(img, clean / "bundle", progress=events.append)
    for found in img.layers:
        own = [event for event in events if event.digest == found.digest]
        assert [event.phase for event in own if event.phase != "transfer"] == ["start", "done"]
        assert own[-1].done == own[-1].total == found.size


# --- UN-08 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_un_08_private_whatever_the_umask(clean: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        bundle = unpack(image(layer(entry(b"sh", mode=0o4755))), clean / "bundle")
    finally:
        os.umask(old)
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(bundle.rootfs.stat().st_mode) == 0o755
    assert stat.S_IMODE((bundle.rootfs / "sh").stat().st_mode) == 0o4755
    assert stat.S_IMODE((bundle.path / "config.json").stat().st_mode) == 0o600


@pytest.mark.root
def test_un_08_another_user_sees_nothing(clean: Path) -> None:
    bundle = unpack(image(layer(entry(b"sh", mode=0o4755))), clean / "bundle")
    for above in (clean, *clean.parents):
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & 0o001:
            above.chmod(0o711)
    command = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "cat",
        str(bundle.rootfs / "sh"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Permission denied" in done.stderr


def test_un_08_existing_places(clean: Path) -> None:
    place = clean / "bundle"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    with pytest.raises(BundleExists):
        unpack(image(*THREE), place)
    place.chmod(0o700)
    (place / "file").touch()
    with pytest.raises(BundleExists):
        unpack(image(*THREE), place)
    (place / "file").unlink()
    unpack(image(*THREE), place)
    with pytest.raises(BundleExists):
        unpack(image(*THREE), place)


@pytest.mark.root
def test_un_08_a_place_of_somebody_else(clean: Path) -> None:
    (clean / "bundle").mkdir(mode=0o700)
    os.chown(clean / "bundle", 65534, 65534)
    with pytest.raises(BundleExists):
        unpack(image(*THREE), clean / "bundle")


def test_un_08_a_link_is_no_place(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (clean / "bundle").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleExists):
        unpack(image(*THREE), clean / "bundle")
    assert os.listdir(tmp_path / "elsewhere") == []


# --- no place, no program -------------------------------------------------------------------------------


def test_no_parent(clean: Path) -> None:
    with pytest.raises(ImageError, match="cannot unpack into"):
        unpack(image(GOOD), clean / "missing" / "bundle")


@pytest.mark.parametrize(
    ("config", "rootless", "why"),
    [
        (Config(), False, "no program"),
        (Config(user="nobody", cmd=("x",)), False, "found none"),
        (Config(user="1000", cmd=("x",)), True, "mapping"),
    ],
)
def test_a_configuration_that_cannot_run(
    config: Config, rootless: bool, why: str, clean: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The files are there, config.json promises no process, and the log says why; ``configure`` gives it one."""
    img = image_from_layers([GOOD], config=config)
    bundle = unpack(img, clean / "bundle", rootless=rootless)
    assert bundle.spec.process is None
    assert why in caplog.text
    assert listing(bundle.rootfs) == {"x": b"1"}
    with Runtime(clean / "run") as runtime, pytest.raises(InvalidSpec, match="process"):
        runtime.plan(bundle)
    if rootless == (os.geteuid() != 0):
        configured = api.configure(bundle, img, ["sh"], api.RunOptions(user="0:0"))
        assert configured.spec.process is not None


# --- removal --------------------------------------------------------------------------------------------


def test_remove_bundle_looks_first(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters").touch()
    for path in (tmp_path / "home", tmp_path / "home" / "letters"):
        with pytest.raises(ImageError):
            remove_bundle(path)
    with pytest.raises(FileNotFoundError):
        remove_bundle(tmp_path / "missing")
    remove_bundle(tmp_path / "missing", missing_ok=True)
    assert (tmp_path / "home" / "letters").exists()


def test_remove_bundle_follows_nothing(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "file").touch()
    unpack(
        image(layer(symlink(b"out", os.fsencode(keep)), directory(b"locked", mode=0))), tmp_path / "bundle"
    )
    remove_bundle(tmp_path / "bundle")
    assert (keep / "file").exists()


# --- an ordinary user -----------------------------------------------------------------------------------

ROOTLESS = """
import os, stat, sys
from pathlib import Path
from ociworks.errors import NotSupported
from ociworks.image import unpack, remove_bundle
from ociworks.testing.images import image_from_layers
from ociworks.spec.image import Config
sys.path.insert(0, sys.argv[2])
from tests.image.archives import layer, file, directory, entry, listing
lower = layer(directory(b"ro", mode=0o555), file(b"ro/f", b"1"), directory(b"none", mode=0), file(b"none/f", b"2"),
              entry(b"owned", uid=1000, mode=0o4711), entry(b"dev", b"3", device=(1, 3)))
upper = layer(file(b"ro/g", b"3"), file(b"none/g", b"4"), file(b"none/.wh.f"))
img = image_from_layers([lower, upper], config=Config(cmd=("/x",)))
path = Path(sys.argv[1]) / "bundle"
bundle = unpack(img, path)
root = bundle.rootfs
mode = lambda name: stat.S_IMODE((root / name).stat().st_mode)
assert (mode("ro"), mode("none"), mode("owned")) == (0o555, 0, 0o4711), (mode("ro"), mode("none"), mode("owned"))
assert (root / "owned").stat().st_uid == os.getuid()
(root / "none").chmod(0o700)
assert set(listing(root)) == {"ro", "ro/f", "ro/g", "none", "none/g", "owned"}, listing(root)
(root / "none").chmod(0)
assert [n.type for n in bundle.spec.linux.namespaces][0] == "user"
remove_bundle(path)
assert os.listdir(sys.argv[1]) == []
try:
    unpack(img, path, rootless=False)
except NotSupported:
    sys.exit(0)
sys.exit("expected NotSupported")
"""


def test_an_ordinary_user(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    drop: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        os.chown(place, 65534, 65534)
        for above in tmp_path.parents:
            if above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
                above.chmod(0o711)
        tmp_path.chmod(0o711)
        drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    checkout = Path(__file__).parents[2]
    command = [*drop, sys.executable, "-c", ROOTLESS, str(place), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode in {126, 127} or "Permission denied: '" + str(checkout) in done.stderr:
        pytest.skip("the checkout cannot be read by others")
    assert done.returncode == 0, done.stderr


def test_rootless_is_explicit_for_root(clean: Path) -> None:
    if os.geteuid() != 0:
        with pytest.raises(NotSupported):
            unpack(image(GOOD), clean / "bundle", rootless=False)
        return
    bundle = unpack(image(layer(entry(b"f", uid=1000))), clean / "bundle", rootless=True)
    assert (bundle.rootfs / "f").stat().st_uid == 0


def test_errors_name_the_disk(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ociworks.image._unpack.extractor.os.write", full)
    with pytest.raises(LayerError, match="No space left"):
        unpack(image(GOOD), clean / "bundle")


# --- identities -----------------------------------------------------------------------------------------


@pytest.mark.root
def test_un_09_mapped_owners(clean: Path) -> None:
    capability = b"\x01\0\0\x02" + b"\0\x04\0\0" + bytes(12)
    records = {b"SCHILY.xattr.security.capability": capability}
    img = image(
        layer(
            entry(b"root", uid=0),
            entry(b"user", uid=1000, mode=0o4755),
            entry(b"cap", uid=3, records=records),
            symlink(b"link", b"x"),
            entry(b"implicit/pipe", b"6", uid=7),
        )
    )
    bundle = unpack(img, clean / "bundle", mappings=Mappings.of(100_000, 65_536))
    owners = {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in bundle.rootfs.rglob("*")}
    assert owners == {
        "root": (100_000,) * 2,
        "user": (101_000,) * 2,
        "cap": (100_003,) * 2,
        "link": (100_000,) * 2,
        "implicit": (100_000,) * 2,
        "pipe": (100_007,) * 2,
    }
    assert stat.S_IMODE((bundle.rootfs / "user").stat().st_mode) == 0o4755
    raw = (100_000).to_bytes(4, "little")
    assert os.getxattr(bundle.rootfs / "cap", "security.capability") == b"\1\0\0\3" + capability[4:] + raw
    assert (bundle.rootfs.stat().st_uid, bundle.path.stat().st_gid) == (100_000, 100_000)
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o710
    assert bundle.spec.linux is not None
    assert [found.host_id for found in bundle.spec.linux.uid_mappings] == [100_000]
    assert "user" in [found.type for found in bundle.spec.linux.namespaces]
    assert spec.validate(bundle.spec) == []


@pytest.mark.root
@pytest.mark.parametrize("entries", [entry(b"f", uid=70_000), entry(b"l", b"2", link=b"x", uid=70_000)])
def test_un_09_outside_of_the_mapping(clean: Path, entries: bytes) -> None:
    with pytest.raises(TarError, match="in no mapping"):
        unpack(image(layer(entries)), clean / "bundle", mappings=Mappings.of(100_000, 65_536))


def test_un_09_mappings_that_make_no_sense(clean: Path) -> None:
    with pytest.raises(NotSupported):
        unpack(image(GOOD), clean / "bundle", mappings=Mappings.of(100_000, 10), rootless=True)
    half = Mappings(uids=Mappings.of(5, 5).uids)
    with pytest.raises(NotSupported):
        unpack(image(GOOD), clean / "bundle", mappings=half)


def test_owners_are_recorded_when_asked_for(tmp_path: Path) -> None:
    """The bytes are those of umoci: a protobuf message with the fields 1 and 2."""
    options = UnpackOptions(rootless=True, record_owners=True)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        records = {b"uid": b"1000", b"gid": b"100"}
        archive = layer(entry(b"f", uid=0, records=records), entry(b"root", uid=0), directory(b"d"))
        report = apply_layer(io.BytesIO(archive), fd, options)
    finally:
        os.close(fd)
    if report.skipped:
        pytest.skip("the file system of the temporary directory has no user attributes")
    assert os.getxattr(tmp_path / "f", "user.rootlesscontainers") == b"\x08\xe8\x07\x10\x64"
    assert os.listxattr(tmp_path / "root") == []
