"""SV-02 and SV-03: how a shim comes into being, and what a pid in a state file is worth."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ociworks import errors
from ociworks.runtime import Detach, Runtime, _sealed
from ociworks.runtime._shim import Making
from ociworks.runtime.console import Console
from ociworks.runtime.launcher import Spawned
from tests.runtime.boxes import box, nothing_left
from tests.runtime.shims import detached, open_files, parent, shim_of, until_ended

SECRET = "correct-horse-battery-staple"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime that must leave nothing behind."""
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as made:
        yield made


def test_sv_02_from_a_busy_server(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, locks, connections, variables and arguments of the caller are not the shim's."""
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("LD_PRELOAD_LATER", "/nowhere.so")
    stop = threading.Event()
    lock = threading.Lock()

    def spin() -> None:
        while not stop.is_set():
            with lock:
                sum(range(1000))

    threads = [threading.Thread(target=spin) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            server.set_inheritable(True)
            held = os.readlink(f"/proc/self/fd/{server.fileno()}")
            with detached(
                runtime, box(tmp_path / "bundle"), "exec sleep 1000", log=tmp_path / "log"
            ) as found:
                shim = shim_of(found)
                assert held not in open_files(shim)
                assert len(os.listdir(f"/proc/{shim}/task")) == 1
                for name in ("environ", "cmdline"):
                    assert SECRET.encode() not in Path(f"/proc/{shim}/{name}").read_bytes()
                assert b"LD_PRELOAD" not in Path(f"/proc/{shim}/environ").read_bytes()
                assert (os.getsid(shim), os.getpgid(shim)) == (shim, shim)
                assert os.readlink(f"/proc/{shim}/cwd") == "/"
                written = [
                    path.read_bytes() for path in Path(runtime.root, "far").iterdir() if path.is_file()
                ]
                assert not any(SECRET.encode() in raw for raw in written)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


STOPPED = """
import os, sys
def stop(event, arguments, launcher=os.getpid(), seen=[0]):
    if os.getppid() == launcher and event == "{event}":
        seen[0] += 1
        if seen[0] == {nth}:
            os.kill(os.getpid(), {signal})
sys.addaudithook(stop)
"""


@pytest.mark.parametrize(
    ("event", "nth"),
    [
        ("os.mkdir", 1),  # before there is anything
        ("open", 4),
        ("socket.bind", 2),
        ("os.chmod", 1),  # complete, but under another name
        pytest.param(
            "os.mkdir", 9, marks=pytest.mark.root
        ),  # among control groups, and the first process is there
        ("socket.sendmsg", 1),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_sv_02_a_shim_that_never_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str, nth: int, number: int
) -> None:
    """Stopped or killed on its way: it is ended after the deadline, the error says so, nothing is left."""
    text = STOPPED.replace("{event}", event).replace("{nth}", str(nth)).replace("{signal}", str(int(number)))
    monkeypatch.setattr(_sealed, "_BOOT", text + _sealed._BOOT)
    bundle = box(tmp_path / "bundle")
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        for _ in range(2):
            with pytest.raises(errors.LauncherError, match=r"did not report|was killed"):
                runtime.create("far", bundle, ["sleep", "1000"], detach=Detach(start_timeout=0.5))
            assert runtime.list() == ()
            launcher = runtime._host.launcher().pid
            assert Path(f"/proc/{launcher}/task/{launcher}/children").read_text() == ""
        assert runtime.run(bundle, ["true"]).returncode == 0


def test_sv_02_a_shim_that_hangs_after_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container is there, but nobody would look after it: both are ended."""
    keep = Making.keep
    pids: list[int] = []

    def stopped(self: Making, spawned: Spawned, console: Console | None) -> None:
        pids.extend((spawned.pid, parent(spawned.pid)))
        os.kill(pids[1], signal.SIGSTOP)
        keep(self, spawned, console)

    monkeypatch.setattr(Making, "keep", stopped)
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        with pytest.raises(errors.LauncherError, match="did not answer within 5 seconds"):
            runtime.create("far", box(tmp_path / "bundle"), detach=Detach(start_timeout=5.0))
        for pid in pids:
            until_ended(pid)
        assert runtime.list() == ()


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_sv_02_no_time_at_all(timeout: float) -> None:
    """A deadline is in the future."""
    with pytest.raises(ValueError, match="start_timeout"):
        Detach(start_timeout=timeout)


@pytest.mark.parametrize(
    "log",
    [
        "binary:///bin/touch?/tmp/x",
        "file:///etc/passwd",
        "fd://0",
        "|touch x",
        "relative/log",
        "",
        "/",
        "/tmp/",
        "/tmp/a\0b",
    ],
)
def test_sv_02_log_destinations(log: str) -> None:
    """A log is a file with an absolute path, never a program, a descriptor or a URI."""
    if not log:
        assert Detach(log=log).log == ""
        return
    with pytest.raises(ValueError, match="absolute path"):
        Detach(log=log)


def test_sv_02_log_files_that_are_none(runtime: Runtime, tmp_path: Path) -> None:
    """A link, a FIFO, a device, a directory: nothing is written through them, nothing is made."""
    bundle = box(tmp_path / "bundle")
    outside = tmp_path / "outside"
    outside.write_bytes(b"before")
    names = {name: tmp_path / name for name in ("link", "fifo", "device", "folder", "dangling")}
    names["link"].symlink_to(outside)
    names["dangling"].symlink_to(tmp_path / "made")
    os.mkfifo(names["fifo"])
    names["folder"].mkdir()
    if os.geteuid() == 0:
        os.mknod(names["device"], 0o20666, os.makedev(1, 3))
    for path in names.values():
        if path.is_symlink() or path.exists():
            with pytest.raises(errors.CreateFailed):
                runtime.create("far", bundle, detach=Detach(log=path))
    with pytest.raises(FileNotFoundError):
        runtime.create("far", bundle, detach=Detach(log=tmp_path / "nowhere" / "log"))
    assert outside.read_bytes() == b"before"
    assert not (tmp_path / "made").exists()


def test_sv_02_a_hundred_at_once(runtime: Runtime, tmp_path: Path) -> None:
    """A hundred launches from sixteen threads: each is there once, works, and goes."""
    bundle = box(tmp_path / "bundle")

    def live(number: int) -> int:
        container = runtime.create(f"far{number}", bundle, ["sh", "-c", f"exit {number}"], detach=Detach())
        container.start()
        status = container.wait(60)
        container.delete()
        return status

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(live, range(100))) == list(range(100))
    assert runtime.list() == ()


def test_sv_02_the_same_name_at_once(runtime: Runtime, tmp_path: Path) -> None:
    """Of many that want one name, one gets it; the others leave it alone."""
    bundle = box(tmp_path / "bundle")

    def make(_: int) -> bool:
        try:
            runtime.create("far", bundle, ["sleep", "1000"], detach=Detach())
        except errors.ContainerExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(8))) == [False] * 7 + [True]
    with runtime.get("far") as found:
        found.start()
        assert found.status == "running"


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 1},
        {"pid": 2},
        {"pid": "own"},
        {"pid": 0},
        {"startTime": 1},
        {"pid": 0, "startTime": 0},
        {"bootId": "00000000-0000-0000-0000-000000000000"},
        {"pid": 2**31 - 1},
    ],
    ids=str,
)
def test_sv_03_another_process(runtime: Runtime, tmp_path: Path, change: dict[str, object]) -> None:
    """A pid that is not provably the container's is nobody: reported stopped, never signalled."""
    with detached(runtime, box(tmp_path / "bundle"), "exec sleep 1000") as found:
        found.start()
        pid, shim = found.pid, shim_of(found)
        path = Path(runtime.root, "far/state.json")
        changed = {name: os.getpid() if value == "own" else value for name, value in change.items()}
        forged = json.dumps({**json.loads(path.read_text()), **changed})
        path.unlink()
        path.write_text(forged)
        path.chmod(0o600)
        with Runtime(runtime.root) as other:
            seen = other.get("far")
            assert (seen.status, seen.pid) == ("stopped", 0)
            for refused in (seen.kill, seen.start, seen.pause, lambda: seen.exec(["true"])):
                with pytest.raises(errors.IllegalTransition):
                    refused()
            assert parent(pid) == shim
            if seen.state().status == "stopped" and os.geteuid() == 0:
                seen.delete()  # what is in its control groups is the container's, whatever the pid says
                until_ended(pid)
                until_ended(shim)


def test_sv_03_ended_between(runtime: Runtime, tmp_path: Path) -> None:
    """A process that ends between look and signal is no error, and nobody else gets the signal."""
    with detached(runtime, box(tmp_path / "bundle"), "exec sleep 1000") as found:
        found.start()
        found.kill("KILL")
        assert found.wait(60) == -9
        with pytest.raises(errors.IllegalTransition):
            found.kill("KILL")
