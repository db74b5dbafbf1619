"""Containers of images on their layers: unpacked once, started often, nothing on the host to undo."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

import ociworks
from ociworks import api
from ociworks.api import _roots
from ociworks.api.options import RunOptions
from ociworks.image import Image, layout
from ociworks.image.store import Snapshots
from ociworks.runtime import OverlayBundle, RootfsOverlay
from ociworks.spec.image import Config
from ociworks.testing import image_from_layers
from tests.image.archives import directory, file, layer, symlink
from tests.interop.peers import busybox
from tests.ordinary import NOBODY, interpreter, readable_copy

pytestmark = pytest.mark.root


def image() -> Image:
    """Busybox below, users and a whiteout above."""
    applets = [
        symlink(f"bin/{name}".encode(), b"busybox")
        for name in ("sh", "cat", "id", "ls", "rm", "stat", "grep")
    ]
    base = layer(
        directory(b"bin"),
        file(b"bin/busybox", busybox().read_bytes(), mode=0o755),
        *applets,
        directory(b"etc"),
        file(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
        file(b"etc/old", b"old\n"),
        *(directory(name) for name in (b"dev", b"proc", b"sys", b"usr")),
    )
    top = layer(
        file(b"etc/.wh.old"),
        symlink(b"etc/passwd", b"../usr/passwd"),
        file(b"usr/passwd", b"root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"),
        file(b"etc/group", b"extra:x:7:user\n"),
    )
    return image_from_layers((base, top), config=Config(cmd=("/bin/sh",), env=("PATH=/bin",)))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A default store of the test's own; the directory where layers go."""
    monkeypatch.setenv("OCIWORKS_STORE", str(tmp_path / "store" / "layout"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(_roots, "_seen", {})
    return tmp_path / "store" / "snapshots"


SCRIPT = "ls /etc; id -u; echo new > /etc/new; rm /etc/group; cat /etc/new"


def test_unpacked_once_and_started_often(store: Path, tmp_path: Path) -> None:
    """Every container starts from the image; layers stay, changes and mounts do not."""
    img = image()
    runs = [ociworks.run(img, ["/bin/sh", "-c", SCRIPT], capture_output=True) for _ in range(3)]
    assert [done.stdout for done in runs] == [b"group\npasswd\n0\nnew\n"] * 3, runs[0].stderr
    with Snapshots(store) as snapshots:
        assert len(snapshots.chain_ids()) == 2
    assert sorted(os.listdir(tmp_path)) == ["store"]
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_users_of_the_layers(store: Path) -> None:
    """Names are looked up in what the layers show together, also when the container is configured anew."""
    img = image()
    with api.prepare(img, ["-c", "id -u; id -G"], RunOptions(user="user")) as (runtime, bundle):
        assert isinstance(bundle, OverlayBundle)
        for each in (bundle, api.configure(bundle, img, ["-c", "id -u; id -G"], RunOptions(user="user"))):
            assert isinstance(each, OverlayBundle)
            done = runtime.run(each, ["/bin/sh", "-c", "id -u; id -G"], capture_output=True, timeout=60)
            assert done.stdout.split() == [b"1000", b"1000", b"7"]
    with Snapshots(store) as snapshots, snapshots.prepare(img) as snapshot:
        assert snapshot.read("etc/old", 100) is None
        assert snapshot.read("etc/../usr/./passwd", 1000) == snapshot.read("/etc/passwd", 1000)
        assert snapshot.read("usr", 10) is None
        assert snapshot.read("no/such", 10) is None


def test_a_read_only_root(store: Path) -> None:
    """An option like any other."""
    script = ["/bin/sh", "-c", "echo x > /new || echo no"]
    done = ociworks.run(image(), script, capture_output=True, options=RunOptions(read_only=True))
    assert done.stdout == b"no\n"


def test_where_no_overlay_can_be(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers are unpacked for the container alone."""
    monkeypatch.setattr(_roots, "_try", lambda *_: False)
    with api.prepare(image(), None, RunOptions(user="user")) as (runtime, bundle):
        assert not isinstance(bundle, OverlayBundle)
        assert (bundle.rootfs / "bin/busybox").exists()
        assert not (bundle.rootfs / "etc/old").exists()
        assert runtime.run(bundle, ["/bin/id", "-u"], capture_output=True, timeout=60).stdout == b"1000\n"


def test_the_trial(store: Path) -> None:
    """It says whether the kernel mounts these layers, without a program."""
    img = image()
    with api.prepare(img) as (runtime, bundle):
        assert isinstance(bundle, OverlayBundle)
        assert _roots._works(runtime, bundle)
        for name in ("upper", "work"):
            subprocess.run(["rm", "-r", bundle.path / f"try-{name}"], check=True)
        broken = OverlayBundle(
            bundle.path,
            bundle.spec,
            overlay=RootfsOverlay(lowers=("/no/such/layer",), upper="/tmp", work="/tmp"),
        )
        assert not _roots._try(runtime, broken)


PROGRAM = """
import json, os, sys
from pathlib import Path
from ociworks import api
from ociworks.image import layout
from ociworks.runtime import OverlayBundle
if __name__ == "__main__":
    facts = {}
    with layout.open(os.environ["OCIWORKS_STORE"]) as images:
        img = images.image("x")
        for turn in ("first", "second"):
            with api.prepare(img) as (runtime, bundle):
                done = runtime.run(bundle, ["/bin/sh", "-c", sys.argv[1]], capture_output=True, timeout=60)
                facts[turn] = [isinstance(bundle, OverlayBundle), done.stdout.decode(), done.stderr.decode()]
    print(json.dumps([facts, sorted(os.listdir(os.environ["TMPDIR"]))]))
"""


@pytest.mark.userns
def test_an_ordinary_user() -> None:
    """In the user's own namespace, with the user's own marks; nothing but the layers is left."""
    with tempfile.TemporaryDirectory(prefix="ociworks-tests-") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "tmp").mkdir()
        (place / "run").mkdir(mode=0o700)
        readable_copy(place / "library", "ociworks", "attr", "attrs", "pyseccomp")
        with layout.open(place / "store/layout", create=True) as images:
            images.put(image(), tag="x")
        for path in (place, *place.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": name,
            "TMPDIR": str(place / "tmp"),
            "XDG_RUNTIME_DIR": str(place / "run"),
            "OCIWORKS_STORE": str(place / "store/layout"),
            "PYTHONPATH": str(place / "library"),
        }
        done = subprocess.run(
            [
                interpreter(NOBODY),
                "-c",
                PROGRAM,
                "ls /etc; id -u; rm /etc/group; echo new > /etc/new; ls /etc",
            ],
            user=NOBODY,
            group=NOBODY,
            extra_groups=(),
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    facts, left = json.loads(done.stdout)
    expected = [True, "group\npasswd\n0\nnew\npasswd\n", ""]
    assert facts == {"first": expected, "second": expected}
    assert left == []
