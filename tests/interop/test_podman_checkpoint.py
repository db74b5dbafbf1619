"""Podman and conmon checkpoint and restore containers of ``ociworks-runtime``; where criu works."""

from __future__ import annotations

import functools
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import spec
from tests.interop.peers import peer
from tests.interop.podman import Podman
from tests.runtime.boxes import box

SCRIPT = 'read x < /token; rm /token; trap "echo $x > /said; exit 3" TERM; while :; do sleep 1; done'


@pytest.fixture
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if said := check(peer("criu")):
        pytest.skip(f"criu does not work on this kernel: {said}")
    made = Podman(tmp_path_factory.mktemp("podman"))
    yield made
    made("rm", "--all", "--force", "--time", "0")


@functools.cache
def check(program: str) -> str:
    """Empty, or why criu cannot work here."""
    done = subprocess.run([program, "check"], capture_output=True, text=True, check=False)
    return done.stderr.strip()[-200:] if done.returncode else ""


@pytest.mark.interop
@pytest.mark.root
def test_a_container_with_a_terminal(podman: Podman, tmp_path: Path) -> None:
    """Container checkpoint, container restore, where criu works: with a terminal; its memory, its status."""
    bundle: spec.Bundle = box(tmp_path / "bundle")
    token, said = bundle.rootfs / "token", bundle.rootfs / "said"
    token.write_text("known\n")
    podman.run("--detach", "--tty", "--name", "box", "--rootfs", str(bundle.rootfs), "sh", "-c", SCRIPT)
    deadline = time.monotonic() + 60
    while token.exists():
        assert time.monotonic() < deadline
        os.sched_yield()
    podman("container", "checkpoint", "--tcp-established", "--file-locks", "box")
    state = podman("inspect", "--format", "{{.State.Status}} {{.State.Checkpointed}}", "box")
    assert state == "exited true\n"
    podman("container", "restore", "--tcp-established", "--file-locks", "box")
    podman("stop", "--time", "60", "box")
    assert podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "box") == "exited 3\n"
    assert said.read_text() == "known\n"


@pytest.mark.interop
@pytest.mark.root
def test_an_archive_and_another_name(podman: Podman, tmp_path: Path) -> None:
    """Checkpoint --export, restore --import: another container, in a control group of its own, with its changes."""
    bundle: spec.Bundle = box(tmp_path / "bundle")
    (bundle.rootfs / "token").write_text("known\n")
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.add(bundle.rootfs, ".")
    podman("import", tmp_path / "root.tar", "box")
    podman.run("--detach", "--name", "box", "box", "sh", "-c", SCRIPT)
    deadline = time.monotonic() + 60
    while "/token" not in podman("diff", "box"):
        assert time.monotonic() < deadline
    podman("container", "checkpoint", "--export", tmp_path / "saved.tar", "--compress", "gzip", "box")
    podman("rm", "box")
    podman("container", "restore", "--import", tmp_path / "saved.tar", "--name", "again")
    podman("stop", "--time", "60", "again")
    assert podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "again") == "exited 3\n"
    podman("cp", "again:/said", tmp_path / "said")
    assert (tmp_path / "said").read_text() == "known\n"
