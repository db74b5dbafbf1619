"""The ways of a further process into its container, from below: what comes of one that is ended on the way."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociworks._linux import calls
from ociworks._linux.calls import CallList
from ociworks._linux.process import CLONE_NEWUTS, clone
from ociworks.runtime import cgroups
from ociworks.runtime._init import entry, spawn
from ociworks.runtime._init.context import StepError

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not calls.SUPPORTED, reason="there is no program for lists on this architecture"),
]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[str]:
    """A control group of version 2."""
    unified = cgroups.detect().unified
    if unified is None:
        pytest.skip("this host has no unified hierarchy")
    path = Path(unified.mount_point, f"test-{tmp_path.name}")
    path.mkdir()
    yield str(path)
    path.rmdir()


@pytest.fixture
def target() -> Iterator[int]:
    """A pidfd of a process in a UTS namespace of its own."""
    pid, pidfd = clone(CLONE_NEWUTS)
    if pid == 0:
        signal.pause()
        os._exit(0)
    yield pidfd
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(pidfd)


def test_a_second_process_that_is_killed(group: str, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of memory, or with the container: it is an error, and nothing of it stays."""
    real = entry._become_second

    def killed(calls_: CallList, unified: bytes, told: int) -> None:
        real(calls_, unified, told)
        calls_.call("exit_group", 0)  # without a word, as one that is killed

    monkeypatch.setattr(entry, "_become_second", killed)
    before = children()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    null = os.open("/dev/null", os.O_RDWR)
    try:
        with ours, theirs, pytest.raises(StepError, match="ended early"):
            entry.spawn(request(group), (theirs.fileno(), null, null, null, target), 40)
    finally:
        os.close(null)
    assert children() == before


@pytest.mark.parametrize("ended", [True, False])
def test_a_parent_that_ended_before_its_child_asked(ended: bool) -> None:
    """No signal comes of its death any more, so the child looks once, and does nothing."""
    parent = ended_process() if ended else os.pidfd_open(os.getpid())
    reader, writer = os.pipe()
    child = spawn._Child.__new__(spawn._Child)
    child.parent, child.tasks = parent, [writer]
    try:
        pid, pidfd = clone(0)
        if pid == 0:
            child.run()
        os.close(writer)
        assert os.read(reader, 1) == (b"" if ended else b"0")
        os.waitpid(pid, 0)
        os.close(pidfd)
    finally:
        os.close(reader)
        os.close(parent)


def ended_process() -> int:
    """A pidfd of one that is no more."""
    pid, pidfd = clone(0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pidfd


def request(group: str) -> dict[str, Any]:
    """As little as can be asked for."""
    nothing = dict.fromkeys(("joins", "affinity", "sources", "tasks"), ())
    return {
        **nothing,
        "claim": "",
        "flags": 0,
        "join_kinds": CLONE_NEWUTS,
        "maps": None,
        "oom_score_adj": None,
        "ops": (("execute", (b"/bin/true",), (b"A=b",), b"/bin"),),
        "outlives": False,
        "passed": 0,
        "time_offsets": "",
        "unified": group,
    }


def children() -> set[str]:
    """Those of this thread, ended ones too."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
