"""Containers that outlive whoever made them, once for every kind of runtime: ours, and other people's programs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Chunk, Detach, OCIContainer, OCIRuntime, RuntimeBinary
from ociworks.runtime.stdio import PIPE
from ociworks.spec.runtime import Linux, Memory, Namespace, Process, Resources
from tests.runtime.boxes import changed, nothing_left, with_process
from tests.runtime.conftest import Make
from tests.runtime.shims import parent, read_until, until_ended

pytestmark = pytest.mark.root


@pytest.fixture
def runtime(make: Make, tmp_path: Path) -> Iterator[OCIRuntime]:
    with nothing_left(tmp_path / "state"), make() as made:
        yield made
    assert shims_below(tmp_path) == []


def shims_below(place: Path) -> list[str]:
    """What is left of shims that held other programs' containers."""
    directory = place / "state@shims"
    return os.listdir(directory) if directory.exists() else []


@contextmanager
def detached(make: Make, bundle: spec.Bundle, script: str, options: Detach) -> Iterator[OCIContainer]:
    """A created container whose creator is gone already, as another one finds it."""
    with make() as creator:
        creator.create("far", bundle, ["sh", "-c", script], detach=options)
    with make() as other:
        found = other.get("far")
        try:
            yield found
        finally:
            found.delete(force=True)
        with pytest.raises(errors.ContainerNotFound):
            other.get("far")


def test_a_life(runtime: OCIRuntime, make: Make, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Found again: start, attach, exec, spawn, log, the exit status, twice; then nothing is left."""
    script = "echo out; echo err >&2; read line; echo got $line; exit 3"
    with detached(make, bundle, script, Detach(log=tmp_path / "log", stdin=True)) as found:
        assert (found.status, found.exit, found.bundle) == ("created", None, str(bundle.path))
        with found.attach(stdin=True) as attached:
            found.start()
            assert found.status == "running"
            assert {attached.read(60), attached.read(60)} == {
                Chunk("stdout", b"out\n"),
                Chunk("stderr", b"err\n"),
            }
            assert found.exec(["echo", "inside"], timeout=60).stdout == b"inside\n"
            with found.spawn(["cat"], stdin=PIPE, stdout=PIPE) as running:
                assert running.communicate(b"through", 60).stdout == b"through"
            attached.write(b"hello\n")
            assert list(attached) == [Chunk("stdout", b"got hello\n")]
            assert attached.status == 3
        assert [found.wait(60), found.wait(60)] == [3, 3]
        assert found.exit is not None
        assert (found.exit.status, found.exit.oom_killed, found.exit.log_lost) == (3, False, 0)
        assert found.status == "stopped"
        assert sorted((record.stream, record.data) for record in found.logs()) == [
            ("stderr", b"err\n"),
            ("stdout", b"got hello\n"),
            ("stdout", b"out\n"),
        ]
        with pytest.raises(errors.ContainerError):
            found.attach()


def test_a_terminal(runtime: OCIRuntime, make: Make, bundle: spec.Bundle) -> None:
    """Typed and read through the shim; its size is set."""
    on_terminal = with_process(bundle, terminal=True)
    with detached(make, on_terminal, "read x; stty size; exit 4", Detach(stdin=True)) as found:
        found.start()
        found.resize(91, 17)
        with found.attach(stdin=True) as attached:
            attached.write(b"\n")
            read_until(attached, b"17 91")
        assert found.wait(60) == 4


def test_an_exec_on_a_terminal(runtime: OCIRuntime, make: Make, bundle: spec.Bundle) -> None:
    """Begun, resized, typed into."""
    process = bundle.spec.process
    assert isinstance(process, Process)
    shell = with_process(bundle, args=("sh", "-c", "read x; stty size"), terminal=True).spec.process
    assert shell is not None
    with detached(make, bundle, "sleep 1000", Detach()) as found:
        found.start()
        with found.spawn(shell) as running:
            assert running.console is not None
            running.console.resize(70, 20)
            running.console.write(b"\n")
            text = b""
            while b"20 70" not in text:
                part = running.console.read()
                assert part, text
                text += part
            assert running.wait(60) == 0


def test_reopening_the_log(runtime: OCIRuntime, make: Make, bundle: spec.Bundle, tmp_path: Path) -> None:
    """What comes after it is in a new file of the same name."""
    log = tmp_path / "log"
    script = "while read x; do echo $x; done"
    with detached(make, bundle, script, Detach(log=log, stdin=True)) as found:
        found.start()
        with found.attach(stdin=True) as attached:
            for word in (b"before", b"after"):
                attached.write(word + b"\n")
                read_until(attached, word)
                if word == b"before":
                    log.rename(tmp_path / "old")
                    found.reopen_log()
    assert b"before" in (tmp_path / "old").read_bytes()
    assert log.read_bytes().endswith(b"after\n")


def test_watching_many_ends(runtime: OCIRuntime, make: Make, bundle: spec.Bundle) -> None:
    """One descriptor says when; then the status is there."""
    with detached(make, bundle, "read x; kill -USR1 $$", Detach(stdin=True)) as found:
        found.start()
        with found.watch_exit() or pytest.fail("no shim") as watch:
            poller = select.poll()
            poller.register(watch.fileno(), select.POLLIN)
            assert not poller.poll(0)
            with found.attach(stdin=True) as attached:
                attached.write(b"\n")
                assert poller.poll(60_000)
                assert found.exit is not None
                assert found.exit.status in (
                    -signal.SIGUSR1,
                    0,
                )  # the first of a PID namespace ignores its own
                assert attached.read(60) is None
        assert found.wait(60) == found.exit.status
        with found.watch_exit() or nullcontext():
            assert found.wait(60) == found.exit.status


CALLER = """
import os, signal, sys
from ociworks import spec
from ociworks.runtime import Detach, Runtime, RuntimeBinary
runtime = {runtime}
container = runtime.create("far", spec.Bundle.load({bundle!r}), ["sh", "-c", "read x; exit 7"],
                           detach=Detach(log={log!r}, stdin=True))
container.start()
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_caller_is_killed(make: Make, bundle: spec.Bundle, tmp_path: Path) -> None:
    """The container goes on, and its status is there for the next one; nothing is left."""
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    with nothing_left(tmp_path / "state"), make() as runtime:
        kind = f"Runtime({runtime.root!r})"
        if isinstance(runtime, RuntimeBinary):
            kind = f"RuntimeBinary({runtime.program.path!r}, {runtime.root!r})"
        script = CALLER.format(runtime=kind, bundle=str(bundle.path), log=str(tmp_path / "log"))
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as caller:
            assert caller.stdout is not None
            assert caller.stdout.readline() == b"ready\n"
            caller.wait(60)
        found = runtime.get("far")
        assert found.status == "running"
        with found.attach(stdin=True) as attached:
            attached.write(b"x\n")
            assert list(attached) == []
        assert found.wait(60) == 7
        found.delete()
    assert shims_below(tmp_path) == []


def test_out_of_memory(runtime: OCIRuntime, make: Make, bundle: spec.Bundle) -> None:
    """The exit says so."""
    small = changed(bundle, linux=_with(bundle, resources=Resources(memory=Memory(limit=24 << 20))))
    hungry = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"
    with detached(make, small, hungry, Detach()) as found:
        if found.stats().memory is None:
            pytest.skip("no memory controller here")
        found.start()
        assert found.wait(60) != 0
        assert found.exit is not None
        assert found.exit.oom_killed


def test_what_is_left_in_a_shared_namespace(runtime: OCIRuntime, make: Make, bundle: spec.Bundle) -> None:
    """The end of the first process is the end of all, also where no PID namespace sees to it."""
    linux = bundle.spec.linux
    assert linux is not None
    spaces = tuple(space for space in linux.namespaces or () if space.type != "pid")
    shared = changed(bundle, linux=_with(bundle, namespaces=spaces))
    with detached(make, shared, "sleep 1000 & read x", Detach(stdin=True)) as found:
        found.start()
        with found.attach(stdin=True, stdout=False, stderr=False) as attached:
            rest = _until_two(found)
            attached.write(b"\n")
            assert found.wait(60) == 0
        until_ended(rest)


def test_what_cannot_be_created(runtime: OCIRuntime, make: Make, bundle: spec.Bundle, tmp_path: Path) -> None:
    """By the same errors as without a shim; nothing is left, and another container is not touched."""
    options = Detach(log=tmp_path / "log")
    with runtime.create("near", bundle, ["sleep", "1000"]) as near:
        with pytest.raises(errors.ContainerExists, match="near"):
            runtime.create("near", bundle, detach=options)
        assert near.status == "created"
    with detached(make, bundle, "sleep 1000", options) as found:
        with pytest.raises(errors.ContainerExists, match="far"):
            runtime.create("far", bundle, detach=options)
        assert found.status == "created"
    wrong = changed(bundle, linux=_with(bundle, namespaces=(Namespace(type="network", path="/no/such"),)))
    with pytest.raises(errors.ContainerError):
        runtime.create("wrong", wrong, detach=options)
    for name in ("/no/such", "/etc/passwd"):
        with pytest.raises(errors.CommandNotFound):  # by create or by start
            _begin(runtime, bundle, [name], options)
    assert runtime.list() == ()


def test_a_shim_that_is_killed(make: Make, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Its container's status is not known; deleting leaves nothing."""
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    with nothing_left(tmp_path / "state"), detached(make, bundle, "sleep 1000", Detach()) as found:
        found.start()
        pid = found.pid
        os.kill(parent(pid), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while (watch := found.watch_exit()) is not None:
            watch.close()
            assert time.monotonic() < deadline
        with suppress(errors.ContainerError):  # ours has ended with its shim
            found.kill("KILL")
        until_ended(pid)
        with pytest.raises(errors.ExitStatusUnknown):
            found.wait(60)
        assert found.exit is None
    assert shims_below(tmp_path) == []


def _begin(runtime: OCIRuntime, bundle: spec.Bundle, args: list[str], options: Detach) -> None:
    container = runtime.create("absent", bundle, args, detach=options)
    try:
        container.start()
    finally:
        container.delete(force=True)


def _with(
    bundle: spec.Bundle,
    *,
    namespaces: tuple[Namespace, ...] | None = None,
    resources: Resources | None = None,
) -> Linux:
    linux = bundle.spec.linux
    assert linux is not None
    spaces = linux.namespaces if namespaces is None else namespaces
    return attrs.evolve(linux, namespaces=spaces, resources=resources or linux.resources)


def _until_two(container: OCIContainer) -> int:
    """Wait for a second process; its pid."""
    deadline = time.monotonic() + 60
    while True:
        others = [pid for pid in container.processes() if pid != container.pid]
        if others:
            return others[0]
        assert time.monotonic() < deadline
