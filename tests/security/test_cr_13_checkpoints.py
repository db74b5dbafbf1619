"""CR-13: checkpoint archives: nothing in one is believed, and writing one follows no links.

Restoring is refused before the archive is touched. Writing copies regular files alone, to a name that nobody else can
have placed something behind.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import NotSupported, PodError
from ociworks.runtime import CheckpointOptions
from tests.cri.test_checkpoints import Dumped, content, dump, dumped, left

__all__ = ["dumped"]


def test_cr_13_no_archive_is_opened(dumped: Dumped, tmp_path: Path) -> None:
    """Not even to look: a FIFO that nobody writes to does not hold the call, and its options change nothing."""
    trap = tmp_path / "trap"
    os.mkfifo(trap)
    request = api.RestorePodRequest(
        checkpoint_path=str(trap),
        config=api.PodSandboxConfig(annotations={"io.kubernetes.cri-o.Devices": "/dev/sda"}),
        options={"root": "/"},
    )
    with pytest.raises(NotSupported):
        dumped.checkpoints.restore_pod(request)
    assert not dumped.node.store.sandboxes.all()


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
