"""Nothing stays behind, however the end comes: kill -9 of the caller or of the launcher, an exception, an exit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from tests.runtime.boxes import nothing_left, with_linux
from tests.runtime.shims import until_ended

# What callers do when they are killed. Each says what it made, then waits for its end.
PROLOGUE = """
import json, os, signal, sys, threading
from ociworks import spec
from ociworks.runtime import Runtime
runtime = Runtime(sys.argv[1])
runtime._host.launcher()
bundle = spec.Bundle.load(sys.argv[2])
def tell(**facts):
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    print(json.dumps({**facts, "launcher": int(children[0])}), flush=True)
"""
CALLERS = {
    "created": """
container = runtime.create("left", bundle, ["sleep", "1000"])
tell(pid=container.pid)
signal.pause()
""",
    "running": """
container = runtime.create("left", bundle, ["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
container.start()
tell(pid=container.pid)
signal.pause()
""",
    "in exec": """
container = runtime.create("left", bundle, ["sleep", "1000"])
container.start()
os.mkfifo(bundle.rootfs / "up")
threading.Thread(target=lambda: container.exec(["sh", "-c", "echo > /up; exec sleep 1000"]), daemon=True).start()
(bundle.rootfs / "up").read_bytes()
tell(pid=container.pid)
signal.pause()
""",
    "in run": """
os.mkfifo(bundle.rootfs / "up")
threading.Thread(target=lambda: runtime.run(bundle, ["sh", "-c", "echo > /up; exec sleep 1000"]), daemon=True).start()
(bundle.rootfs / "up").read_bytes()
tell()
signal.pause()
""",
    "with scratch": """
scratch = runtime.scratch()
place = scratch.__enter__()
os.makedirs(place + "/a/b")
tell(place=place)
signal.pause()
""",
    "with a fork of itself": """
container = runtime.create("left", bundle, ["sleep", "1000"])
container.start()
if os.fork() == 0:
    os.setsid()
    sys.stdout.close()
    os.close(1)
    sys.stdin.buffer.read()  # the fork lives on with every descriptor until the test lets it go
    os._exit(0)
tell(pid=container.pid)
signal.pause()
""",
}


@contextmanager
def caller(
    script: str, root: Path, bundle: spec.Bundle
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that uses ociworks, and what it said."""
    with subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + script, root, bundle.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("script", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_caller_is_killed(bundle: spec.Bundle, tmp_path: Path, script: str, number: int) -> None:
    """Without a word from it: processes, control groups, mounts and files are gone when its launcher is."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    with nothing_left(root), caller(script, root, bundle) as (process, said):
        assert list(root.iterdir())
        os.kill(process.pid, number)
        process.wait(60)
        until_ended(said["launcher"])
        if "pid" in said:
            until_ended(said["pid"])
        assert list(root.iterdir()) == []


def test_an_exception_in_the_caller(bundle: spec.Bundle, tmp_path: Path) -> None:
    """The with block removes the container whatever goes wrong in it."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)

    def work() -> None:
        with Runtime(root) as runtime, runtime.create("raises", bundle, ["sleep", "1000"]) as container:
            container.start()
            raise ZeroDivisionError

    with nothing_left(root):
        with pytest.raises(ZeroDivisionError):
            work()
        runtime = Runtime(root)
        runtime.create("dropped", bundle, ["sleep", "1000"]).start()
        runtime.close()


def test_a_caller_that_just_ends(bundle: spec.Bundle, tmp_path: Path) -> None:
    """No with, no close: the interpreter's exit is enough."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    with (
        nothing_left(root),
        caller("runtime.create('x', bundle, ['sleep', '1']).start(); tell()", root, bundle) as (
            process,
            said,
        ),
    ):
        assert process.wait(60) == 0
        until_ended(said["launcher"])


def launcher_of(runtime: Runtime) -> int:
    return runtime._host.launcher().pid


def test_the_launcher_is_killed(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Its containers end with it; the caller learns it, removes what is left, and goes on with a new one."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    with nothing_left(root), Runtime(root) as runtime:
        container = runtime.create("orphan", bundle, ["sleep", "1000"])
        container.start()
        pid = container.pid
        with runtime.scratch() as place:
            os.kill(launcher_of(runtime), signal.SIGKILL)
            until_ended(pid)
            with pytest.raises(errors.LauncherError):
                container.wait(timeout=60)
            assert container.status == "stopped"
            Path(place, "file").touch()
        assert not Path(place).exists()
        container.delete()
        assert runtime.run(bundle, ["echo", "on"], capture_output=True, timeout=60).stdout == b"on\n"


def test_the_launcher_is_killed_during_a_run(bundle: spec.Bundle, tmp_path: Path) -> None:
    """The run fails with what happened, and cleans up itself."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    os.mkfifo(bundle.rootfs / "up")
    with nothing_left(root), Runtime(root) as runtime:
        pid = launcher_of(runtime)

        def shoot() -> None:
            (bundle.rootfs / "up").read_bytes()
            os.kill(pid, signal.SIGKILL)

        thread = threading.Thread(target=shoot)
        thread.start()
        with pytest.raises(errors.LauncherError):
            runtime.run(bundle, ["sh", "-c", "echo > /up; exec sleep 1000"], timeout=60)
        thread.join()
        assert list(root.iterdir()) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only then processes of others can be in the group")
def test_processes_that_left_the_pid_namespace_alone(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Without a PID namespace of its own, what the first process started goes too: by the control group."""
    kinds = ("network", "ipc", "uts", "mount", "cgroup")
    shared = with_linux(bundle, namespaces=tuple(spec.runtime.Namespace(type=kind) for kind in kinds))
    done = runtime.run(shared, ["sh", "-c", "sleep 1000 & echo $!"], capture_output=True, timeout=60)
    until_ended(int(done.stdout))
    with runtime.create("shared", shared, ["sh", "-c", "sleep 1000 & sleep 1000"]) as container:
        container.start()


def test_a_fork_of_the_caller_leaves_containers_alone(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A fork that leaves the blocks and closes the Runtime ends nothing that is its parent's."""
    with runtime.create("parent", bundle, ["sleep", "1000"]) as container:
        container.start()
        child = os.fork()
        if child == 0:
            try:
                container.__exit__()
                runtime.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert container.exec(["true"], timeout=60).returncode == 0
