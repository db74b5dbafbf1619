"""SV-05 and SV-07: damaged or hostile files, shims that are killed, and what deleting again comes to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Detach, Runtime, _sealed, _shim
from ociworks.runtime._shim import Making
from ociworks.spec.runtime import Pids, Resources
from tests.runtime.boxes import box, nothing_left, with_linux
from tests.runtime.shims import detached, shim_of, until_ended


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime that must leave nothing behind."""
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as made:
        yield made


# --- SV-05: files -------------------------------------------------------------------------------------

GOOD = {"version": 1, "status": 0, "oomKilled": False, "exitedAt": "2026-01-01T00:00:00Z", "logLost": 0}
TEXTS = {
    "empty": b"",
    "cut": b'{"version":1,"sta',
    "no JSON": b"\0" * 100,
    "twice": b'{"version":1,"version":1,"status":0}',
    "future": json.dumps({**GOOD, "version": 2}).encode(),
    "a list": b"[]",
    "text for a number": json.dumps({**GOOD, "status": "0"}).encode(),
    "true for a number": json.dumps({**GOOD, "status": True}).encode(),
    "too long": json.dumps({**GOOD, "exitedAt": "x" * 70_000}).encode(),
    "deep": b"[" * 10_000,
    "no UTF-8": b'{"version":1,"exitedAt":"\xff"}',
}


def _file(raw: bytes, mode: int = 0o600) -> Callable[[Path], object]:
    def plant(path: Path) -> None:
        path.write_bytes(raw)
        path.chmod(mode)

    return plant


def _sparse(path: Path) -> None:
    with open(path, "wb") as stream:
        stream.truncate(5 << 30)
    path.chmod(0o600)


PLANTS: dict[str, Callable[[Path], object]] = {
    **{name: _file(raw) for name, raw in TEXTS.items()},
    "five gigabytes": _sparse,
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "fifo": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "for all to write": _file(json.dumps(GOOD).encode(), 0o666),
}


def look(runtime: Runtime) -> None:
    """Read all that is written down."""
    found = runtime.get("far")
    assert found.exit is None
    list(found.logs())


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
@pytest.mark.parametrize("name", ["exit.json", "shim.json", "state.json"])
def test_sv_05_hostile_files(
    runtime: Runtime, tmp_path: Path, name: str, plant: Callable[[Path], object]
) -> None:
    """A file that cannot be believed is reported with its container's name; the other containers are there."""
    bundle = box(tmp_path / "bundle")
    log = Detach(log=tmp_path / "log")
    held = [runtime.create(name, bundle, ["sleep", "1000"], detach=log) for name in ("far", "far-off")]
    path = Path(runtime.root, "far", name)
    saved = path.read_bytes() if path.exists() else None
    path.unlink(missing_ok=True)
    plant(path)
    try:
        with Runtime(runtime.root) as other:
            with pytest.raises(errors.ContainerError, match="far"):
                look(other)
            assert other.get("far-off").status == "created"
    finally:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        if saved is not None:
            path.write_bytes(saved)
            path.chmod(0o600)
        for one in held:
            one.delete()


def test_sv_05_a_log_elsewhere(runtime: Runtime, tmp_path: Path) -> None:
    """A forged path is only ever read, as a log, and never through a link or from something else."""
    with detached(runtime, box(tmp_path / "bundle"), "exec sleep 1000", log=tmp_path / "log") as found:
        found.start()
        path = Path(runtime.root, "far/shim.json")
        link = tmp_path / "link"
        link.symlink_to("/etc/passwd")
        for log in ("/etc/passwd", "/dev/zero", os.fspath(link), "relative"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "log": log}))
            with Runtime(runtime.root) as other, pytest.raises((errors.ContainerError, OSError)):
                list(other.get("far").logs())
        path.unlink()
        path.write_text("damaged")  # which does not keep anybody from deleting it


def test_sv_05_debris(tmp_path: Path) -> None:
    """What a killed maker left aside goes; what is being made stays."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    root.joinpath("@new-0123456789abcdef").mkdir(mode=0o700)
    root.joinpath("@new-0123456789abcdef", "state.json").write_text("{}")
    with Runtime(root) as runtime:
        assert runtime.list() == ()
        runtime.create("far", box(tmp_path / "bundle"), detach=Detach()).delete()
        assert os.listdir(root) == []


def test_sv_05_a_shim_that_was_killed(runtime: Runtime, tmp_path: Path) -> None:
    """The kernel ends its container; the status is unknown, which is said, and everything can be removed."""
    with detached(runtime, box(tmp_path / "bundle"), "exec sleep 1000", log=tmp_path / "log") as found:
        found.start()
        pid = found.pid
        os.kill(shim_of(found), signal.SIGKILL)
        with pytest.raises(errors.ExitStatusUnknown, match="its shim was killed"):
            found.wait(60)
        until_ended(pid)
        assert (found.status, found.exit) == ("stopped", None)
        assert list(found.logs(follow=True)) == []
        with pytest.raises(errors.ContainerError):
            found.attach()


# --- SV-07: kill -9 at every step, then delete again ---------------------------------------------------

CRASH = """
import os, sys
def count(event, arguments, launcher=os.getpid(), steps=[0]):
    if os.getppid() == launcher:
        steps[0] += 1
        if steps[0] == {step}:
            os.kill(os.getpid(), 9)
sys.addaudithook(count)
"""
STRIDE = 3


def a_life(root: Path, bundle: spec.Bundle, log: Path) -> bool:
    """Create, start, end and delete; False when somebody was killed meanwhile."""
    with Runtime(root) as runtime:
        try:
            container = runtime.create("far", bundle, ["sleep", "1000"], detach=Detach(log=log))
            container.start()
            container.kill("KILL")
            container.wait(60)
            container.delete()
        except errors.ContainerError:
            return False
        return True


def remove_twice(root: Path) -> None:
    """What an administrator, or a server that starts again, does."""
    with Runtime(root) as runtime:
        runtime.create("far-after", spec.Bundle.load(root.parent / "bundle"), detach=Detach()).delete()
        for _ in range(2):
            for container in runtime.list():
                container.delete(force=True)


@pytest.mark.parametrize("first", range(STRIDE))
def test_sv_07_the_shim_is_killed_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Each file that it opens, makes, renames, each socket that it binds: killed just before."""
    bundle = box(tmp_path / "bundle")
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    survived = 0
    for step in range(1 + first, 1000, STRIDE):
        with nothing_left(root):
            with monkeypatch.context() as patch:
                patch.setattr(_sealed, "_BOOT", CRASH.replace("{step}", str(step)) + _sealed._BOOT)
                survived += a_life(root, bundle, tmp_path / "log")
            remove_twice(root)
        if survived == 2:
            break
    assert step > 30


def test_sv_07_caller_and_shim_are_killed_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody left to tidy up, what is found later can be deleted; a step in four."""
    bundle = box(tmp_path / "bundle")
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    monkeypatch.setattr(Making, "undo", lambda *_: None)
    for step in range(1, 1000, 4):
        with nothing_left(root):
            with monkeypatch.context() as patch:
                patch.setattr(_sealed, "_BOOT", CRASH.replace("{step}", str(step)) + _sealed._BOOT)
                survived = a_life(root, bundle, tmp_path / "log")
            remove_twice(root)
        if survived:
            break
    assert step > 30


CALLER = """
import os, sys
from pathlib import Path
from ociworks import spec
from ociworks.runtime import Detach, Runtime
steps = 0
def count(event, arguments):
    global steps
    steps += 1
    if steps == {step}:
        os.kill(os.getpid(), 9)
root, bundle, log = sys.argv[1:]
bundle = spec.Bundle.load(bundle)
with Runtime(root) as runtime:
    runtime.create("far-warm", bundle, ["true"], detach=Detach()).delete()
    sys.addaudithook(count)
    container = runtime.create("far", bundle, ["sleep", "1000"], detach=Detach(log=log))
    container.start()
    container.kill("KILL")
    container.wait(60)
    container.delete()
"""


def test_sv_07_the_caller_is_killed_at_every_step(tmp_path: Path) -> None:
    """Of create, start, kill, wait and delete; a step in seven, since each is a process of its own."""
    bundle = box(tmp_path / "bundle")
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    arguments = [os.fspath(path) for path in (root, bundle.path, tmp_path / "log")]
    for step in range(1, 2000, 7):
        with nothing_left(root):
            script = CALLER.replace("{step}", str(step))
            ended = subprocess.run([sys.executable, "-c", script, *arguments], check=False, timeout=120)
            remove_twice(root)
        if ended.returncode == 0:
            break
    assert step > 30


def test_sv_07_deleted_again_and_by_many(runtime: Runtime, tmp_path: Path) -> None:
    """Eight who delete at once: it is gone, and nobody fails."""
    bundle = box(tmp_path / "bundle")
    for _ in range(3):
        runtime.create("far", bundle, ["sleep", "1000"], detach=Detach()).start()
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(Runtime(runtime.root)) for _ in range(4)]
            found = [other.get("far") for other in others for _ in range(2)]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda one: one.delete(force=True), found))
            assert runtime.list() == ()
            for one in found:
                one.delete(force=True)


STUBBORN = {
    "ignores signals": "trap '' TERM INT HUP QUIT USR1; while true; do sleep 1; done",
    "forks as fast as it can": "f() { f | f & }; f; while true; do :; done",
    "has many children": "for i in $(seq 50); do sleep 1000 & done; wait",
}


@pytest.mark.root
@pytest.mark.parametrize("script", STUBBORN.values(), ids=STUBBORN)
def test_sv_07_stubborn_containers(runtime: Runtime, tmp_path: Path, script: str) -> None:
    """Whatever a container does, one call ends it, and its shim was never in its reach."""
    limited = with_linux(box(tmp_path / "bundle"), resources=Resources(pids=Pids(limit=64)))
    with detached(runtime, limited, script, log=tmp_path / "log") as found:
        found.start()
        shim = shim_of(found)
        groups = Path(f"/proc/{shim}/cgroup").read_text()
        assert "far" not in groups
        assert shim not in found.processes()
        found.kill("TERM")
        found.delete(force=True)
        until_ended(shim)


@pytest.mark.root
def test_sv_07_frozen(runtime: Runtime, tmp_path: Path) -> None:
    """A paused container is deleted as any other."""
    with detached(runtime, box(tmp_path / "bundle"), "exec sleep 1000") as found:
        found.start()
        found.pause()
        assert found.status == "paused"
        found.delete(force=True)


def test_sv_07_a_stopped_shim(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a container could signal does not answer any more: to delete the container ends both."""
    monkeypatch.setattr(_shim, "_PATIENCE", 0.5)
    container = runtime.create("far", box(tmp_path / "bundle"), ["sleep", "1000"], detach=Detach())
    container.start()
    pid, shim = container.pid, shim_of(container)
    os.kill(shim, signal.SIGSTOP)
    container.delete(force=True)
    until_ended(pid)
    until_ended(shim)
    container.delete(force=True)
    assert runtime.list() == ()


def test_sv_07_signals_to_the_shim(runtime: Runtime, tmp_path: Path) -> None:
    """What a terminal or a service manager sends to everybody does not end a shim."""
    with detached(runtime, box(tmp_path / "bundle"), "read x; exit 4", stdin=True) as found:
        found.start()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            os.kill(shim_of(found), number)
        with found.attach(stdin=True) as attached:
            attached.write(b"\n")
            assert list(attached) == []
        assert found.wait(60) == 4
