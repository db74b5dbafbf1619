"""Containers that outlive the process that made them, without a supervisor: whoever is next of kin adopts them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from tests.runtime.boxes import nothing_left

CREATE = """
import sys
from subprocess import DEVNULL
from ociworks.runtime import Runtime
from ociworks.spec import Bundle

with Runtime(sys.argv[1]) as runtime:
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), DEVNULL)
    container = runtime.create("kept", Bundle.load(sys.argv[2]), sys.argv[3:], **streams, detach=True)
    print(container.pid, flush=True)
    {then}
"""
_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Make this process the next of kin of every orphan below it."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def create(root: Path, bundle: spec.Bundle, *args: str, then: str = "") -> int:
    """Make a detached container in a process that is gone afterwards; its pid."""
    command = [sys.executable, "-c", CREATE.format(then=then), str(root), str(bundle.path), *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=not then)
    return int(done.stdout)


def reap_all() -> None:
    """Wait for every child; ChildProcessError when there is none any more."""
    while True:
        os.wait()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_it_outlives_its_creator(tmp_path: Path, bundle: spec.Bundle, subreaper: None) -> None:
    """The creator and its launcher are gone; we are the parent now, start it, and learn how it ends."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    with nothing_left(root):
        pid = create(root, bundle, "sh", "-c", "exit 7")
        with Runtime(root) as runtime:
            container = runtime.get("kept")
            assert (container.pid, container.status, parent(pid)) == (pid, "created", os.getpid())
            container.start()
            assert container.wait(timeout=60) == 7
            assert container.status == "stopped"
            container.delete()


def test_it_has_no_descriptor_of_the_runtime(tmp_path: Path, bundle: spec.Bundle, subreaper: None) -> None:
    """RT-07: while it waits only the streams and the gate are open; when it runs, the streams."""
    root = tmp_path / "root"
    with Runtime(root) as runtime:
        pid = create(root, bundle, "sleep", "1000")
        descriptors = Path(f"/proc/{pid}/fd")
        opened = {entry.name: os.readlink(entry) for entry in descriptors.iterdir()}
        assert sorted(opened) == ["0", "1", "2", "5"] or sorted(opened) == ["0", "1", "2", "4"]
        assert sum(target.startswith("socket:") for target in opened.values()) == 1
        container = runtime.get("kept")
        container.start()
        assert {entry.name for entry in descriptors.iterdir()} == {"0", "1", "2"}
        container.delete(force=True)
        assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


def test_the_creator_dies_before_it_is_done(tmp_path: Path, bundle: spec.Bundle, subreaper: None) -> None:
    """Until it was handed over a container goes with its creator, whatever ends that."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    source = (
        "import os, signal; from ociworks.runtime._host import Host\n"
        "Host.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with nothing_left(root):
        command = [sys.executable, "-c", source + CREATE.format(then=""), str(root), str(bundle.path), "true"]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL
        # Its launcher is our child now, and ends when it has cleaned up.
        with pytest.raises(ChildProcessError):
            reap_all()


def test_killed_after_it_was_handed_over(tmp_path: Path, bundle: spec.Bundle, subreaper: None) -> None:
    """Kill -9 of the creator changes nothing any more."""
    root = tmp_path / "root"
    pid = create(root, bundle, "sleep", "1000", then="import os; os.kill(os.getpid(), 9)")
    with Runtime(root) as runtime:
        container = runtime.get("kept")
        container.start()
        assert container.status == "running"
        container.delete(force=True)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "KILL"])
def test_a_signal_while_it_waits(tmp_path: Path, bundle: spec.Bundle, subreaper: None, name: str) -> None:
    """The first process of a PID namespace ignores what it does not handle; this one ends all the same."""
    with Runtime(tmp_path / "root") as runtime:
        create(tmp_path / "root", bundle, "true")
        container = runtime.get("kept")
        container.kill(name)
        number = signal.Signals[f"SIG{name}"]
        assert container.wait(timeout=60) == (-number if name == "KILL" else 128 + number)
        container.delete()


def test_its_launcher_reaps_it(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A Runtime that goes on leaves no zombies of the containers that it let go."""
    container = runtime.create("kept", bundle, ["true"], detach=True)
    container.start()
    with pytest.raises(errors.ContainerError, match="only the parent"):
        container.wait(timeout=60)
    assert container.status == "stopped"
    container.delete()
