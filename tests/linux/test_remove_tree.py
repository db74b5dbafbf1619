"""Removing trees by descriptor: any depth, any mode, nothing outside."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from pathlib import Path

import pytest

from ociworks._linux.path import remove_tree_at


def remove(path: Path) -> None:
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        remove_tree_at(fd, path.name)
    finally:
        os.close(fd)


def dig(top: Path, depth: int) -> None:
    """Directories too deep for any path, with a file in each."""
    top.mkdir()
    current = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=current)
        os.close(os.open("f", os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=current))
        below = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)


def test_deeper_than_descriptors_and_paths(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    dig(tmp_path / "deep", 3000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        remove(tmp_path / "deep")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(tmp_path) == []
    assert set(os.listdir("/proc/self/fd")) == before


def test_locked_directories(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "none" / "x").mkdir(parents=True)
    (top / "readonly").mkdir()
    (top / "readonly" / "f").touch()
    for name in ("none/x", "none", "readonly"):
        (top / name).chmod(0o555 if name == "readonly" else 0)
    remove(top)
    assert not top.exists()


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    keep, top = tmp_path / "keep", tmp_path / "top"
    keep.mkdir(mode=0o500)
    top.mkdir()
    (top / "l").symlink_to(keep)
    (top / ".removed-1").symlink_to(keep)
    dig(top / "deep", 100)
    remove(top)
    assert keep.stat().st_mode & 0o777 == 0o500


@pytest.mark.root
@pytest.mark.parametrize("depth", [1, 80])
def test_mounts_end_the_removal(tmp_path: Path, depth: int) -> None:
    top = tmp_path / "top"
    mounted = top.joinpath(*["d"] * depth)
    mounted.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mounted)], check=False).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        (mounted / "keep").touch()
        with pytest.raises(OSError) as caught:
            remove(top)
        assert caught.value.errno == errno.EXDEV
        assert (mounted / "keep").exists() or depth > 60
    finally:
        found = subprocess.run(
            ["findmnt", "-n", "-l", "-o", "TARGET", "-t", "tmpfs"],
            capture_output=True,
            text=True,
            check=False,
        )
        for line in found.stdout.splitlines():
            if line.startswith(str(tmp_path)):
                assert (Path(line) / "keep").exists()
                subprocess.run(["umount", line], check=True)
    remove(top)
    assert not top.exists()
