"""Hooks (runtime-spec config.md, POSIX-platform Hooks): when each runs, where, and what it is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from ociworks.spec.runtime import Hook, Hooks
from tests.runtime.boxes import changed, nothing_left

HOST = ("prestart", "create_runtime", "create_container", "poststart", "poststop")
"""The points whose programs are the host's; startContainer's is the container's."""


def hooks_at(**points: tuple[Hook, ...]) -> Hooks:
    """Hooks by the names of their points."""
    return attrs.evolve(Hooks(), **points)  # type: ignore[arg-type]


def noting(log: Path, name: str, more: str = "") -> Hook:
    """A hook that appends its name and its state to a file."""
    script = f'state=$(cat); echo "{name} $state" >> {log}; {more}'
    return Hook(path="/bin/sh", args=("sh", "-c", script))


def noted(log: Path) -> list[tuple[str, dict[str, Any]]]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [(line.partition(" ")[0], json.loads(line.partition(" ")[2])) for line in lines]


def test_each_at_its_time(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """In order, each with the state of that moment."""
    log = tmp_path / "log"
    points = {name: (noting(log, name), noting(log, f"{name}-2")) for name in HOST}
    inside = Hook(path="/bin/sh", args=("sh", "-c", "cat > /state; test -e /bin/busybox && test -d /proc/1"))
    hooked = changed(
        bundle, hooks=hooks_at(**points, start_container=(inside,)), annotations={"org.example.a": "b"}
    )
    container = runtime.create("hooked", hooked, ["sleep", "1000"])
    made = [name for name, _ in noted(log)]
    assert made == [each for name in HOST[:3] for each in (name, f"{name}-2")]
    assert not (bundle.rootfs / "state").exists()
    container.start()
    pid = container.pid
    told = json.loads((bundle.rootfs / "state").read_text())
    assert (told["status"], told["id"]) == ("created", "hooked")
    container.kill("KILL")
    container.wait(timeout=60)
    container.delete()
    names = [name for name, _ in noted(log)]
    assert names == [each for name in HOST for each in (name, f"{name}-2")]
    statuses = {name: state["status"] for name, state in noted(log)}
    assert [statuses[name] for name in HOST] == ["created", "creating", "creating", "running", "stopped"]
    for name, state in noted(log):
        assert state["id"] == "hooked"
        assert state["bundle"] == str(bundle.path)
        assert state["annotations"] == {"org.example.a": "b"}
        if not name.startswith("poststop"):
            assert state["pid"] == pid, name


def test_in_which_namespaces(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """CreateRuntime runs in ours, createContainer in the container's but with the host's files."""
    log = tmp_path / "log"
    script = f"for name in uts mnt; do readlink /proc/self/ns/$name >> {log}; done"
    hook = Hook(path="/bin/sh", args=("sh", "-c", script))
    hooked = changed(bundle, hooks=Hooks(create_runtime=(hook,), create_container=(hook,)))
    with runtime.create("where", hooked, ["sleep", "1000"]) as container:
        lines = log.read_text().split()
        ours = [os.readlink(f"/proc/self/ns/{name}") for name in ("uts", "mnt")]
        theirs = [os.readlink(f"/proc/{container.pid}/ns/{name}") for name in ("uts", "mnt")]
        assert lines == [*ours, *theirs]


@pytest.mark.parametrize("point", [*HOST[:3], "start_container"])
def test_one_that_fails(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, point: str) -> None:
    """Nothing goes on, the error names it and says what it wrote; nothing is left behind."""
    runtime.run(bundle, ["true"], timeout=60)
    failing = Hook(path="/bin/sh", args=("sh", "-c", "cat > /dev/null; echo because >&2; exit 3"))
    hooked = changed(bundle, hooks=hooks_at(**{point: (failing,)}))
    with nothing_left(tmp_path / "root"):
        with pytest.raises(errors.CreateFailed) as caught:
            runtime.run(hooked, ["touch", "/ran"], timeout=60)
        assert "/bin/sh" in str(caught.value)
        assert "3" in str(caught.value)
        assert "because" in str(caught.value)
    assert not (bundle.rootfs / "ran").exists()


@pytest.mark.parametrize("point", ["create_runtime", "create_container"])
def test_one_that_takes_too_long(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, point: str) -> None:
    """After its time it is killed, and counts as failed."""
    runtime.run(bundle, ["true"], timeout=60)
    endless = Hook(path="/bin/sh", args=("sh", "-c", "sleep 1000"), timeout=1)
    with nothing_left(tmp_path / "root"), pytest.raises(errors.CreateFailed, match="1 s|time"):
        runtime.create("late", changed(bundle, hooks=hooks_at(**{point: (endless,)})))


def test_one_that_fails_at_the_end(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged; the others run."""
    log = tmp_path / "log"
    failing = Hook(path="/bin/sh", args=("sh", "-c", "exit 3"))
    hooked = changed(bundle, hooks=hooks_at(poststop=(failing, noting(log, "second"))))
    with runtime.create("after", hooked, ["sleep", "1000"]) as container:
        container.start()
        assert container.status == "running"
    assert [name for name, _ in noted(log)] == ["second"]
    assert "/bin/sh" in caplog.text


def test_one_that_fails_after_the_start(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """The container is stopped and the others do not run, but those of the end do (Lifecycle 9, since 1.3)."""
    log = tmp_path / "log"
    failing = Hook(path="/bin/sh", args=("sh", "-c", "exit 3"))
    hooks = hooks_at(poststart=(failing, noting(log, "second")), poststop=(noting(log, "end"),))
    hooked = changed(bundle, hooks=hooks)
    with runtime.create("after", hooked, ["sleep", "1000"]) as container:
        with pytest.raises(errors.CreateFailed, match="status 3"):
            container.start()
        assert container.wait(60) == -9
    assert [name for name, _ in noted(log)] == ["end"]
    with pytest.raises(errors.CreateFailed, match="status 3"):
        runtime.run(hooked, ["sleep", "1000"], timeout=60)
    assert [name for name, _ in noted(log)] == ["end", "end"]


@pytest.mark.parametrize("point", ["prestart", "create_runtime", "create_container"])
def test_a_failed_creation_ends_properly(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, point: str
) -> None:
    """What undoes a hook's work is run when a later hook fails (Lifecycle 3 to 5)."""
    log = tmp_path / "log"
    failing = Hook(path="/bin/sh", args=("sh", "-c", "exit 3"))
    hooked = changed(bundle, hooks=hooks_at(**{point: (failing,), "poststop": (noting(log, "end"),)}))
    with pytest.raises(errors.CreateFailed):
        runtime.create("failed", hooked)
    assert [(name, state["status"]) for name, state in noted(log)] == [("end", "stopped")]


def test_every_hook_of_a_run(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """In the order of the lifecycle, as with create and delete."""
    log = tmp_path / "log"
    points = ("prestart", "create_runtime", "create_container", "poststart", "poststop")
    hooked = changed(bundle, hooks=hooks_at(**{point: (noting(log, point),) for point in points}))
    runtime.run(hooked, ["true"], timeout=60, check=True)
    assert [name for name, _ in noted(log)] == list(points)


def test_rt_31_what_a_hook_inherits(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Its own environment and no other, and no descriptors but the standard ones."""
    log = tmp_path / "log"
    script = f"env > {log}; ls /proc/self/fd >> {log}"
    hook = Hook(path="/bin/sh", args=("sh", "-c", script), env=("ONLY=this",))
    for point in ("create_runtime", "create_container"):
        runtime.create("inherits", changed(bundle, hooks=hooks_at(**{point: (hook,)}))).delete()
        words = [
            line
            for line in log.read_text().split()
            if not line.startswith(("PWD=", "_=", "SHLVL=", "OLDPWD="))
        ]
        assert words == ["ONLY=this", "0", "1", "2", "3"], point


def test_rt_31_a_flood_of_output(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """A hook that never stops writing is over at its time; one that ended is over, whatever its children write."""
    note = tmp_path / "note"
    for command, ends in (("exec yes", False), (f"yes & echo $! > {note}; exit 0", True)):
        hook = spec.runtime.Hook(path="/bin/sh", args=("sh", "-c", command), timeout=1 if not ends else 60)
        hooked = changed(bundle, hooks=spec.runtime.Hooks(create_runtime=(hook,)))
        if ends:
            assert runtime.run(hooked, ["true"], timeout=60).returncode == 0
            with contextlib.suppress(
                ProcessLookupError
            ):  # nobody reads what it writes, which may have ended it
                os.kill(int(note.read_text()), signal.SIGKILL)
        else:
            with pytest.raises(errors.CreateFailed, match="did not end"):
                runtime.run(hooked, ["true"], timeout=60)


def test_where_hooks_before_the_program_work(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The directory of createContainer's is the root to be, where they find files by relative names."""
    make = Hook(path="/bin/sh", args=("sh", "-c", "echo here > ./made-by-a-hook"))
    done = runtime.run(
        changed(bundle, hooks=hooks_at(create_container=(make,))),
        ["cat", "/made-by-a-hook"],
        capture_output=True,
        timeout=60,
    )
    assert done.stdout == b"here\n"
