"""Attacks by hooks (RT-31)."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from ociworks.spec.runtime import Hook, Hooks
from tests.runtime.boxes import changed
from tests.runtime.shims import until_ended


def at(**points: tuple[Hook, ...]) -> Hooks:
    return attrs.evolve(Hooks(), **points)  # type: ignore[arg-type]


@pytest.mark.parametrize("point", ["create_runtime", "create_container", "start_container"])
@pytest.mark.parametrize("kind", ["missing", "not executable", "a signal", "forks away"])
def test_rt_31_hooks_that_fail(
    runtime: Runtime, root: Path, bundle: spec.Bundle, tmp_path: Path, point: str, kind: str
) -> None:
    """Whatever it is, the container is not run, what undoes things is, and nothing stays."""
    shell_ = "/bin/sh"
    inside = bundle.rootfs / "plain"
    inside.write_text("")
    plain = "/plain" if point == "start_container" else str(inside)
    note = tmp_path / "pid"  # of what it leaves on the host; in the container that ends with it
    tell = f"echo $! > {note}; " if point == "create_runtime" else ""
    hook = {
        "missing": Hook(path="/no/such/hook"),
        "not executable": Hook(path=plain),
        "a signal": Hook(path=shell_, args=("sh", "-c", "kill -9 $$")),
        "forks away": Hook(path=shell_, args=("sh", "-c", f"sleep 1000 & {tell}exit 3")),
    }[kind]
    ended = Hook(path=shell_, args=("sh", "-c", f"cat > {tmp_path}/ended"))
    hooks = at(**{point: (hook,), "poststop": (ended,)})
    hooked = changed(bundle, hooks=hooks)
    with runtime:
        with pytest.raises(errors.CreateFailed, match="hook"):
            runtime.run(hooked, ["touch", "/tmp/ran"], timeout=60)
        assert '"stopped"' in (tmp_path / "ended").read_text()
    assert not (bundle.rootfs / "tmp/ran").exists()
    if note.exists():
        left = int(note.read_text())
        os.kill(left, signal.SIGKILL)
        until_ended(left)


@pytest.mark.parametrize("path_", ["bin/sh", "./sh", "../bin/sh", ""])
@pytest.mark.parametrize("timeout", [None, 0, -1])
def test_rt_31_hooks_that_are_none(
    runtime: Runtime, bundle: spec.Bundle, path_: str, timeout: int | None
) -> None:
    """A relative path and no time at all are errors before anything exists."""
    with runtime:
        with pytest.raises(errors.InvalidSpec):
            runtime.plan(changed(bundle, hooks=at(prestart=(Hook(path=path_, timeout=timeout),))))
        if timeout is not None:
            with pytest.raises(errors.InvalidSpec):
                runtime.plan(changed(bundle, hooks=at(prestart=(Hook(path="/bin/sh", timeout=timeout),))))


@pytest.mark.parametrize("point", ["create_runtime", "create_container"])
def test_rt_31_a_hook_that_hangs_with_children(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, point: str
) -> None:
    """When its time is over, all of its process group is killed; floods of output are bounded."""
    note = tmp_path / "pids"
    command = f"echo $$ > {note}; sleep 1000 & echo $! >> {note}; yes | head -c 9999999; wait"
    hook = Hook(path="/bin/sh", args=("sh", "-c", command), timeout=1)
    with runtime, pytest.raises(errors.CreateFailed, match="within 1 s"):
        runtime.create("hangs", changed(bundle, hooks=at(**{point: (hook,)})))
    if point == "create_runtime":
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in note.read_text().split()):
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)


def test_rt_31_images_have_no_hooks() -> None:
    """Nothing in an image's configuration becomes one."""
    from ociworks.spec.defaults import default_spec

    assert default_spec().hooks is None
