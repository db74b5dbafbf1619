"""Detached containers: they outlive whoever made them, and whoever finds them has everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Chunk, Detach, Exit, Runtime
from tests.runtime.boxes import nothing_left, with_process
from tests.runtime.shims import detached, read_until, shim_of, until_reaped


def test_a_life(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Found again: start, attach, exec, log, the exit status, twice; then nothing is left."""
    script = "echo out; echo err >&2; read line; echo got $line; exit 3"
    with detached(runtime, bundle, script, log=tmp_path / "log", stdin=True) as found:
        assert (found.status, found.exit) == ("created", None)
        with found.attach(stdin=True) as attached:
            found.start()
            assert found.status == "running"
            assert {attached.read(60), attached.read(60)} == {
                Chunk("stdout", b"out\n"),
                Chunk("stderr", b"err\n"),
            }
            assert found.exec(["echo", "inside"], timeout=60).stdout == b"inside\n"
            attached.write(b"hello\n")
            assert list(attached) == [Chunk("stdout", b"got hello\n")]
            assert attached.status == 3
        assert [found.wait(60), found.wait(60)] == [3, 3]
        assert isinstance(found.exit, Exit)
        assert (found.exit.status, found.exit.oom_killed, found.exit.log_lost) == (3, False, 0)
        assert found.status == "stopped"
        records = list(found.logs())
        assert sorted((record.stream, record.data) for record in records) == [
            ("stderr", b"err\n"),
            ("stdout", b"got hello\n"),
            ("stdout", b"out\n"),
        ]
        assert records == list(found.logs(follow=True))
        found.delete()
        with pytest.raises(errors.ContainerNotFound):
            runtime.get("far")


CALLER = """
import os, signal, sys
from ociworks import spec
from ociworks.runtime import Detach, Runtime
runtime = Runtime(sys.argv[1])
container = runtime.create("far", spec.Bundle.load(sys.argv[2]), ["sh", "-c", "read x; exit 7"],
                           detach=Detach(log=sys.argv[3], stdin=True))
container.start()
print("ready", flush=True)
{end}
"""


@pytest.mark.parametrize(
    "end", ["pass", "runtime.close()", "os.kill(os.getpid(), signal.SIGKILL)", "os.killpg(0, signal.SIGHUP)"]
)
def test_the_caller_ends(bundle: spec.Bundle, tmp_path: Path, end: str) -> None:
    """In whatever way it does, the container goes on, and its status is there for the next one."""
    root = tmp_path / "root"
    with nothing_left(root):
        command = [
            sys.executable, "-c", CALLER.replace("{end}", end), str(root), str(bundle.path), str(tmp_path / "log")
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as caller:
            assert caller.stdout is not None
            assert caller.stdout.readline() == b"ready\n"
            caller.wait(60)
        with Runtime(root) as runtime, runtime.get("far") as found:
            assert found.status == "running"
            with found.attach(stdin=True) as attached:
                attached.write(b"x\n")
                assert list(attached) == []
            assert found.wait(60) == 7


def test_a_terminal(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Typed and read through the shim; its size is set at once and while attached; it is not hung up meanwhile."""
    on_terminal = with_process(bundle, terminal=True)
    with detached(runtime, on_terminal, "read x; stty size; read x; stty size; exit 4", stdin=True) as found:
        found.start()
        found.resize(91, 17)
        with found.attach(stdin=True) as attached:
            attached.write(b"\n")
            assert b"17 91" in read_until(attached, b"17 91")
        with found.attach(stdin=True) as attached:
            attached.resize(80, 25)
            attached.write(b"\n")
            assert b"25 80" in read_until(attached, b"25 80")
        assert found.wait(60) == 4


def test_input_that_ends(runtime: Runtime, bundle: spec.Bundle) -> None:
    """At the end of the first attachment with ``stdin_once``; otherwise only when it is asked for."""
    for once in (True, False):
        with detached(runtime, bundle, "cat; exit 5", stdin=True, stdin_once=once) as found:
            found.start()
            with found.attach(stdin=True) as attached:
                attached.write(b"one\n")
                assert read_until(attached, b"one\n") == b"one\n"
            if not once:
                with pytest.raises(errors.ContainerTimeout):
                    found.wait(0.2)
                with found.attach(stdin=True) as attached:
                    attached.write(b"two\n")
                    assert read_until(attached, b"two\n") == b"two\n"
                    attached.close_stdin()
                    assert list(attached) == []
            assert found.wait(60) == 5


def test_what_a_container_without_it_cannot(runtime: Runtime, bundle: spec.Bundle) -> None:
    """No standard input, no terminal, no log, no shim: said clearly."""
    with detached(runtime, bundle, "sleep 1000") as found:
        for action in (
            lambda: found.attach(stdin=True),
            lambda: found.resize(80, 25),
            found.reopen_log,
            found.logs,
        ):
            with pytest.raises(errors.NotSupported):
                action()
    with runtime.create("near", bundle) as near:
        for refused in (near.attach, near.logs, lambda: near.exit):
            with pytest.raises(errors.NotSupported, match="has no shim"):
                refused()


@pytest.mark.parametrize("form", ["cri", "json"])
def test_every_byte_is_logged(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, form: str) -> None:
    """Long lines, no lines, bytes that are no text, what looks like a record: all come back as they were."""
    data = (
        os.urandom(100_000)
        + b"2026-01-01T00:00:00Z stdout F fake\n\r\n\0\n"
        + b'{"log":"x\\n","stream":"stdout","time":"y"}\n' * 3
        + b"x" * 200_000
        + b"\n\n\nlast without a line feed"
    )
    bundle.rootfs.joinpath("data").write_bytes(data)
    with detached(
        runtime, bundle, "cat /data", log=tmp_path / "log", log_format=form, log_size=150_000, log_files=9
    ) as found:
        found.start()
        assert found.wait(60) == 0
        assert b"".join(record.data for record in found.logs()) == data
        assert all(path.stat().st_size <= 150_000 for path in tmp_path.glob("log*"))
        assert len(list(tmp_path.glob("log*"))) >= 3


def test_following_through_rotation(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """``logs(follow=True)`` begins before the program does and ends with it; no line is lost, none comes twice."""
    with detached(
        runtime, bundle, "seq 1 3000", log=tmp_path / "log", log_size=20_000, log_files=50
    ) as found:
        following = found.logs(follow=True)
        found.start()
        assert [record.data for record in following] == [b"%d\n" % number for number in range(1, 3001)]


def test_a_launcher_reaps_a_shim_at_once(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Also when nobody asks it for anything else: an end that was not heard would keep it busy for ever."""
    with detached(runtime, bundle, "sleep 1000") as found:
        shim = shim_of(found)
        found.delete(force=True)
    until_reaped(shim)


def test_a_failed_creation_leaves_nothing(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """A program that is not there, a log that cannot be, a name that is taken."""
    with pytest.raises(errors.CommandNotFound):
        runtime.create("far", bundle, ["nowhere"], detach=Detach())
    tmp_path.joinpath("folder").mkdir()
    with pytest.raises(errors.CreateFailed):
        runtime.create("far", bundle, detach=Detach(log=tmp_path / "folder"))
    with runtime.create("far", bundle, detach=Detach()) as first:
        with pytest.raises(errors.ContainerExists):
            runtime.create("far", bundle, detach=Detach())
        assert first.status == "created"
    with pytest.raises(ValueError, match="streams of its Detach"):
        runtime.create("far", bundle, stdin=0, detach=Detach())


def test_limits_hold(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A container of a shim is in its control groups, and the shim is not."""
    with detached(runtime, bundle, "sleep 1000") as found:
        found.start()
        assert found.pid in found.processes()
        assert shim_of(found) not in found.processes()
