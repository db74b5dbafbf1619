"""Bundles with mapped owners: what runs in them is root inside, and an ordinary user on the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ociworks.image import Mappings, unpack
from ociworks.runtime import Runtime
from ociworks.spec import Bundle
from ociworks.spec.image import Config
from ociworks.testing.images import File, image_from_files
from tests.interop.peers import busybox, peer, run

pytestmark = [
    pytest.mark.interop,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners are mapped"),
]
COMMANDS = "busybox id -u; busybox stat -c %u:%g /f /bin/busybox; busybox touch /made; busybox cat /proc/self/uid_map"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    files = {
        "bin/busybox": File(busybox().read_bytes(), 0o755),
        "bin/sh": File(link="busybox"),
        "f": File(b"x", uid=1000, gid=1001),
    }
    img = image_from_files(files, config=Config(cmd=("/bin/sh", "-c", COMMANDS)))
    return unpack(img, tmp_path / "bundle", mappings=Mappings.of(100_000, 65_536))


def check(bundle: Bundle, output: str) -> None:
    assert output.split() == ["0", "1000:1001", "0:0", "0", "100000", "65536"]
    assert (bundle.rootfs / "made").stat().st_uid == 100_000


def test_by_ociworks(bundle: Bundle, tmp_path: Path) -> None:
    done = Runtime(root=tmp_path / "state").run(bundle, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    check(bundle, done.stdout.decode())


def test_by_runc(bundle: Bundle, tmp_path: Path) -> None:
    check(bundle, run(peer("runc"), "--root", tmp_path / "state", "run", "-b", bundle.path, "mapped"))
