"""The lifecycle, once for every kind of runtime: ours, and other people's programs behind the same calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import OCIRuntime, RunOptions, RuntimeBinary
from ociworks.runtime.binary import BinaryOptions
from ociworks.spec.runtime import Memory, Resources
from tests.interop.peers import peer
from tests.runtime.boxes import changed, nothing_left, with_process
from tests.runtime.conftest import Make

pytestmark = pytest.mark.root

FOREVER = ["sleep", "1000"]


@pytest.fixture
def runtime(make: Make, tmp_path: Path) -> Iterator[OCIRuntime]:
    with nothing_left(tmp_path / "state"), make() as made:
        yield made


def test_a_life(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """Created, running, paused, running, stopped, gone."""
    container = runtime.create("life", bundle, FOREVER)
    assert (container.id, container.status, container.bundle) == ("life", "created", str(bundle.path))
    assert runtime.get("life") is container
    assert [found.id for found in runtime.list()] == ["life"]
    assert container.exec(["echo", "early"]).stdout == b"early\n"
    container.start()
    assert container.status == "running"
    until_it_sleeps(container.pid)
    assert container.pid in container.processes()
    container.pause()
    assert container.status == "paused"
    container.resume()
    container.kill("KILL")
    assert container.wait(timeout=60) == -signal.SIGKILL
    assert container.wait() == -signal.SIGKILL
    assert (container.status, container.pid) == ("stopped", 0)
    container.delete()
    container.delete()
    assert container.status == "stopped"
    assert runtime.list() == ()
    with pytest.raises(errors.ContainerNotFound):
        runtime.get("life")


def until_it_sleeps(pid: int) -> None:
    """Until it is the program: runc's ``start`` ends when its init has only been told to go on."""
    deadline = time.monotonic() + 60
    while (found := Path(f"/proc/{pid}/cmdline").read_bytes()) != b"sleep\x001000\x00":
        assert time.monotonic() < deadline, found
        os.sched_yield()


def test_state(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """A value of the specification."""
    noted = changed(bundle, annotations={"org.example.note": "x"})
    with runtime.create("stated", noted, FOREVER) as container:
        state = container.state()
        assert (state.id, state.status, state.pid) == ("stated", "created", container.pid)
        assert state.annotations["org.example.note"] == "x"
        assert not spec.validate(state)


@pytest.mark.parametrize("status", [0, 7, 255])
def test_exit_status(runtime: OCIRuntime, bundle: spec.Bundle, status: int) -> None:
    """The status that the program chose, by wait and by run."""
    script = ["sh", "-c", f"exit {status}"]
    with runtime.create("status", bundle, script) as container:
        container.start()
        assert container.wait(timeout=60) == status
    assert runtime.run(bundle, script, timeout=60).returncode == status


def test_a_signal(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """By number and name; the program's own end by it."""
    for name in (10, "USR1", "SIGUSR1"):
        script = "trap 'exit 3' USR1; echo ready; while :; do sleep 1; done"
        with runtime.create("signals", bundle, ["sh", "-c", script], stdout=-1) as container:
            container.start()
            assert container.stdout is not None
            assert os.read(container.stdout, 6) == b"ready\n"
            container.kill(name)
            assert container.wait(timeout=60) == 3


def test_run(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """Output apart, input, environment, and nothing left of it."""
    script = "cat; echo $ADDED; echo bad >&2; exit 4"
    done = runtime.run(
        bundle, ["sh", "-c", script], capture_output=True, input=b"in\n", env={"ADDED": "yes"}, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (4, b"in\nyes\n", b"bad\n")
    with pytest.raises(errors.CommandFailed):
        runtime.run(bundle, ["false"], timeout=60, check=True)
    with pytest.raises(errors.ContainerTimeout) as caught:
        runtime.run(bundle, ["sh", "-c", "echo early; sleep 1000"], capture_output=True, timeout=2)
    assert caught.value.stdout == b"early\n"
    assert runtime.list() == ()


def test_exec(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """Output, status, input, another user, a timeout; and what is not there."""
    with runtime.create("exec", bundle, FOREVER) as container:
        container.start()
        done = container.exec(["sh", "-c", "cat; exit 5"], input=b"through", timeout=60)
        assert (done.returncode, done.stdout) == (5, b"through")
        assert bundle.spec.process is not None
        user = attrs.evolve(
            bundle.spec.process, args=("id", "-u"), user=spec.runtime.User(uid=1000, gid=1000), terminal=None
        )
        assert container.exec(user, timeout=60).stdout == b"1000\n"
        with pytest.raises(errors.ContainerTimeout):
            container.exec(FOREVER, timeout=1)
        for missing in ("/no/such", "nowhere", "/etc/passwd"):
            with pytest.raises(errors.CommandNotFound):
                container.exec([missing], timeout=60)
        assert container.status == "running"


def test_a_terminal(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """A console for a container, and captured for run and exec."""
    there = with_process(bundle, terminal=True)
    with runtime.create("console", there, ["sh", "-c", "read x; echo got $x; tty"]) as container:
        container.start()
        assert container.console is not None
        container.console.write(b"abc\n")
        text = b""
        while part := container.console.read():
            text += part
        assert b"got abc" in text
        assert b"/dev/" in text
        assert container.wait(timeout=60) == 0
    assert b"/dev/" in runtime.run(there, ["tty"], capture_output=True, timeout=60).stdout


def test_what_may_not_be(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """A verb that the state does not allow is refused by the same error, and changes nothing."""
    with runtime.create("table", bundle, FOREVER) as container:
        container.start()
        verbs: tuple[Callable[[], object], ...] = (container.start, container.resume, container.delete)
        for verb in verbs:
            with pytest.raises(errors.IllegalTransition):
                verb()
        assert container.status == "running"
        container.kill("KILL")
        container.wait(timeout=60)
        verbs = (container.start, container.pause, lambda: container.exec(["true"]))
        for verb in verbs:
            with pytest.raises(errors.IllegalTransition, match="it is stopped"):
                verb()


def test_an_id_is_taken_once(runtime: OCIRuntime, make: Make, bundle: spec.Bundle) -> None:
    """Also by another runtime of the kind; the first is not touched."""
    with runtime.create("taken", bundle, FOREVER) as container, make() as other:
        for each in (runtime, other):
            with pytest.raises(errors.ContainerExists, match="taken"):
                each.create("taken", bundle)
        assert container.status == "created"
    for name in ("", "..", "a/b", "../x", "a\0b"):
        with pytest.raises(errors.ContainerError, match="container ID"):
            runtime.create(name, bundle)


@pytest.mark.parametrize("missing", ["/no/such", "nowhere", "/etc/passwd"])
def test_a_program_that_is_not_there(runtime: OCIRuntime, bundle: spec.Bundle, missing: str) -> None:
    """By create or by start, but by the same error; nothing is left."""
    with pytest.raises(errors.CommandNotFound):
        runtime.run(bundle, [missing], timeout=60)
    assert runtime.list() == ()


def test_seen_by_another(runtime: OCIRuntime, make: Make, bundle: spec.Bundle) -> None:
    """Found by its ID; all but the exit status."""
    with runtime.create("seen", bundle, FOREVER) as container, make() as other:
        container.start()
        found = other.get("seen")
        assert (found.pid, found.status) == (container.pid, "running")
        assert found.exec(["echo", "there"], timeout=60).stdout == b"there\n"
        with pytest.raises(errors.ContainerTimeout):
            found.wait(timeout=0.01)
        found.kill("KILL")
        assert container.wait(timeout=60) == -signal.SIGKILL


def test_limits(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """Update changes what stats reports."""
    with runtime.create("limits", bundle, FOREVER) as container:
        container.start()
        before = container.stats()
        assert before.pids is not None
        assert before.pids.current >= 1
        if before.memory is None:
            pytest.skip("no memory controller here")
        container.update(Resources(memory=Memory(limit=64 << 20)))
        after = container.stats()
        assert after.memory is not None
        assert after.memory.limit == 64 << 20
        assert after.cpu is not None
        assert after.cpu.usage > 0


def test_close_takes_everything(make: Make, bundle: spec.Bundle, tmp_path: Path) -> None:
    """The end of a runtime is the end of the containers that it created; it can be used again."""
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    with nothing_left(tmp_path / "state"):
        runtime = make()
        runtime.create("one", bundle, FOREVER).start()
        runtime.create("two", bundle, FOREVER)
        runtime.close()
        runtime.close()
        assert runtime.list() == ()
        assert runtime.run(bundle, ["true"], timeout=60).returncode == 0
        runtime.close()


def test_the_end_of_the_caller(make: Make, bundle: spec.Bundle, tmp_path: Path) -> None:
    """SIGKILL to the process that made them takes its containers, by whichever runtime."""
    with make() as watching:
        kind = type(watching).__name__
        given = f"{watching.program.path!r}, " if isinstance(watching, RuntimeBinary) else ""
        script = (
            "import sys\nfrom ociworks import spec\n"
            f"from ociworks.runtime import {kind}\n"
            f"runtime = {kind}({given}{watching.root!r})\n"
            f"made = runtime.create('orphan', spec.Bundle.load({str(bundle.path)!r}), ['sleep', '1000'])\n"
            "made.start(); print(made.pid, flush=True); sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as caller:
            assert caller.stdout is not None
            pid = int(caller.stdout.readline())
            pidfd = os.pidfd_open(pid)
            caller.kill()
        try:
            os.set_blocking(pidfd, True)
            import select

            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            assert poller.poll(60_000)
        finally:
            os.close(pidfd)


def test_run_with_a_filter_by_name(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """The program has the filter that the options name; what a kind cannot pass on, it refuses."""
    shown = runtime.run(
        bundle,
        ["grep", "Seccomp:", "/proc/self/status"],
        capture_output=True,
        options=RunOptions(seccomp="default"),
    )
    assert shown.stdout.split() == [b"Seccomp:", b"2"]
    if isinstance(runtime, RuntimeBinary):
        with pytest.raises(errors.NotSupported, match="seccomp only"):
            runtime.run(bundle, ["true"], options=RunOptions(new_keyring=False))


@pytest.mark.interop
def test_other_flags_and_other_programs(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Global flags are passed on; a program that is not there or fails is one clear error."""
    with RuntimeBinary(
        peer("runc"), tmp_path / "flags", options=BinaryOptions(flags=("--debug",))
    ) as runtime:
        assert runtime.run(bundle, ["true"], timeout=60).returncode == 0
        features = runtime.features()
        assert "bind" in (features.mount_options or ())
    with pytest.raises(errors.MissingDependency, match="no-such-runtime"):
        RuntimeBinary("no-such-runtime")
    with RuntimeBinary("/bin/false", tmp_path / "false") as runtime:
        with pytest.raises(errors.ContainerError, match="ended with status 1"):
            runtime.list()
        with pytest.raises(errors.ContainerError):
            runtime.create("x", bundle)
    with RuntimeBinary("/bin/true", tmp_path / "true") as runtime, pytest.raises(errors.ContainerError):
        runtime.create("x", bundle)
