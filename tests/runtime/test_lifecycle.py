"""Create, start, state, kill, wait, delete: what each verb does, and when it may not (runtime-spec runtime.md)."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from tests.runtime.boxes import nothing_left, with_process

FOREVER = ["sleep", "1000"]


def test_from_created_to_gone(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The whole life of one container."""
    container = runtime.create("life", bundle, FOREVER)
    assert container.status == "created"
    assert container.pid > 0
    assert runtime.get("life") is container
    assert [found.id for found in runtime.list()] == ["life"]

    container.start()
    assert container.status == "running"
    assert Path(f"/proc/{container.pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
    assert container.pid in container.processes()

    container.kill("TERM")
    container.kill("KILL")
    assert container.wait(timeout=60) == -signal.SIGKILL
    assert container.wait() == -signal.SIGKILL
    assert container.status == "stopped"
    assert container.pid == 0

    container.delete()
    container.delete()
    assert runtime.list() == ()
    with pytest.raises(errors.ContainerNotFound):
        runtime.get("life")


def test_the_program_waits_for_start(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Nothing of the program runs before start; the container is there all the same."""
    proof = bundle.rootfs / "proof"
    with runtime.create("waits", bundle, ["touch", "/proof"]) as container:
        assert Path(f"/proc/{container.pid}/root/bin/busybox").exists()
        assert not proof.exists()
        container.start()
        assert container.wait(timeout=60) == 0
        assert proof.exists()


def test_state(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The state is a value of the specification, and its document can be read again."""
    with runtime.create("stated", bundle, FOREVER) as container:
        for status in ("created", "running"):
            state = container.state()
            assert (state.id, state.status, state.pid) == ("stated", status, container.pid)
            assert state.bundle == str(bundle.path)
            assert spec.parse(spec.runtime.State, spec.to_json(state)) == state
            assert not spec.validate(state)
            if status == "created":
                container.start()
        container.kill("KILL")
        container.wait(timeout=60)
        assert (container.state().status, container.state().pid) == ("stopped", 0)


@pytest.mark.parametrize("script", ["exit 0", "exit 7", "exit 255"])
def test_exit_status(runtime: Runtime, bundle: spec.Bundle, script: str) -> None:
    """The status that the program chose."""
    with runtime.create("status", bundle, ["sh", "-c", script]) as container:
        container.start()
        assert container.wait(timeout=60) == int(script.split()[1])


def test_a_signal_by_any_name(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Numbers and names with and without SIG; the first process only gets what it handles (pid_namespaces(7))."""
    for name in (10, "10", "USR1", "SIGUSR1"):
        script = "trap 'exit 3' USR1; echo ready; while :; do sleep 1; done"
        with runtime.create("signals", bundle, ["sh", "-c", script], stdout=-1) as container:
            container.start()
            assert container.stdout is not None
            assert os.read(container.stdout, 6) == b"ready\n"
            container.kill(name)
            assert container.wait(timeout=60) == 3
    with runtime.create("signals", bundle, FOREVER) as container:
        container.start()
        with pytest.raises(errors.OciworksError, match="NOPE"):
            container.kill("NOPE")


def test_what_may_not_be(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The table of states holds; a refused verb changes nothing."""
    with runtime.create("table", bundle, FOREVER) as container:
        with pytest.raises(errors.IllegalTransition, match="it is created"):
            container.resume()
        container.start()
        with pytest.raises(errors.IllegalTransition, match="cannot start container table: it is running"):
            container.start()
        with pytest.raises(errors.IllegalTransition, match="use force"):
            container.delete()
        assert container.status == "running"
        container.kill("KILL")
        container.wait(timeout=60)
        for verb in (container.start, container.kill, lambda: container.exec(["true"])):
            with pytest.raises(errors.IllegalTransition, match="it is stopped"):
                verb()


def test_a_created_one_can_be_ended(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Kill and delete work before start."""
    first = runtime.create("early", bundle, FOREVER)
    first.kill("KILL")
    assert first.wait(timeout=60) == -signal.SIGKILL
    first.delete()
    second = runtime.create("early", bundle, FOREVER)
    second.delete()
    assert second.status == "stopped"


def test_delete_by_force(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A running container goes with all its processes."""
    container = runtime.create("force", bundle, ["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
    container.start()
    container.delete(force=True)
    assert container.status == "stopped"


def test_an_id_is_taken_once(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """A second container of the same ID is refused, also by another Runtime; the first is not touched."""
    with runtime.create("taken", bundle, FOREVER) as container, Runtime(tmp_path / "root") as other:
        for each in (runtime, other):
            with pytest.raises(errors.ContainerExists, match="taken"):
                each.create("taken", bundle)
        assert container.status == "created"
        container.start()
        assert container.exec(["true"], timeout=60).returncode == 0


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0b", "a b", "ü", "x" * 256, "-\n"])
def test_ids_that_are_refused(runtime: Runtime, bundle: spec.Bundle, name: str) -> None:
    """CL-01: an ID is one harmless directory name, or nothing happens."""
    with pytest.raises(errors.ContainerError, match="container ID"):
        runtime.create(name, bundle)
    with pytest.raises(errors.ContainerError, match="container ID"):
        runtime.get(name)


@pytest.mark.parametrize(
    ("program", "number"), [("/no/such", 2), ("nowhere", 2), ("/etc/passwd", 13), ("/tmp", 13)]
)
def test_a_program_that_cannot_be_executed(
    runtime: Runtime, bundle: spec.Bundle, program: str, number: int
) -> None:
    """A typed error with the errno, from run, create and exec; nothing of it is left."""
    with pytest.raises(errors.CommandNotFound) as caught:
        runtime.run(bundle, [program], timeout=60)
    assert caught.value.errno == number
    with pytest.raises(errors.CommandNotFound) as caught:
        runtime.create("missing", bundle, [program])
    assert caught.value.errno == number
    assert runtime.list() == ()
    with runtime.create("missing", bundle, FOREVER) as container:
        container.start()
        with pytest.raises(errors.CommandNotFound) as caught:
            container.exec([program], timeout=60)
        assert caught.value.errno == number
        assert container.status == "running"


def test_a_program_that_goes_away(runtime: Runtime, bundle: spec.Bundle) -> None:
    """It was there when the container was created: start says what is wrong, and the container is stopped."""
    shutil.copy(bundle.rootfs / "bin/busybox", bundle.rootfs / "bin/brief")
    with runtime.create("brief", bundle, ["/bin/brief"]) as container:
        (bundle.rootfs / "bin/brief").unlink()
        with pytest.raises(errors.CommandNotFound) as caught:
            container.start()
        assert (caught.value.errno, container.wait(timeout=60)) == (2, 255)
        assert container.status == "stopped"


def test_a_file_that_is_no_program(runtime: Runtime, bundle: spec.Bundle) -> None:
    """An executable file without a format the kernel knows."""
    bundle.rootfs.joinpath("bin/text").write_text("no program")
    bundle.rootfs.joinpath("bin/text").chmod(0o755)
    with pytest.raises(errors.CommandNotFound) as caught:
        runtime.run(bundle, ["text"], timeout=60)
    assert caught.value.errno == 8


def test_a_bundle_that_cannot_work(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Whatever is wrong, the error names it and nothing is left."""
    assert runtime.run(bundle, ["true"], timeout=60).returncode == 0
    os.rename(bundle.rootfs, tmp_path / "moved")
    with nothing_left(tmp_path / "root"), pytest.raises(errors.CreateFailed, match="rootfs"):
        runtime.create("broken", bundle)
    os.rename(tmp_path / "moved", bundle.rootfs)
    with pytest.raises(errors.InvalidSpec, match=r"\$.process.cwd"):
        runtime.create("broken", with_process(bundle, cwd="relative"))
    with runtime.create("broken", bundle) as container:
        assert container.status == "created"


def test_many_at_once(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Twenty containers side by side: each has its own process and its own end."""
    made = [runtime.create(f"many-{number}", bundle, ["sh", "-c", f"exit {number}"]) for number in range(20)]
    assert len({container.pid for container in made}) == 20
    for container in reversed(made):
        container.start()
    assert [container.wait(timeout=60) for container in made] == list(range(20))
    for container in made:
        container.delete()


def test_close_takes_everything(bundle: spec.Bundle, tmp_path: Path) -> None:
    """The end of a Runtime is the end of its containers; it can then be used again."""
    (tmp_path / "root").mkdir(mode=0o700)
    with nothing_left(tmp_path / "root"):
        runtime = Runtime(tmp_path / "root")
        running = runtime.create("one", bundle, FOREVER)
        running.start()
        runtime.create("two", bundle, FOREVER)
        runtime.close()
        runtime.close()
        assert runtime.list() == ()
        assert running.status == "stopped"
        assert runtime.run(bundle, ["true"], timeout=60).returncode == 0
        runtime.close()
