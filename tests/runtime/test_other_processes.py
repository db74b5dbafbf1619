"""A container seen by somebody who did not make it: another Runtime, another process, or nobody who can be trusted."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Container, Runtime
from ociworks.runtime.state import start_time


@pytest.fixture
def container(runtime: Runtime, bundle: spec.Bundle) -> Iterator[Container]:
    with runtime.create("seen", bundle, ["sleep", "1000"]) as made:
        made.start()
        yield made


@pytest.fixture
def other(runtime: Runtime) -> Iterator[Runtime]:
    """A second Runtime on the same state root; it knows only what is on disk."""
    with Runtime(runtime.root) as made:
        yield made


def test_seen_by_another(container: Container, other: Runtime) -> None:
    """State, processes, exec: all but the exit status, which only a parent learns."""
    assert [found.id for found in other.list()] == ["seen"]
    found = other.get("seen")
    assert found is not container
    assert (found.pid, found.status, found.state()) == (container.pid, "running", container.state())
    assert found.spec == container.spec
    assert found.exec(["echo", "from there"], timeout=60).stdout == b"from there\n"
    with pytest.raises(errors.ContainerTimeout):
        found.wait(timeout=0.01)
    found.kill("KILL")
    with pytest.raises(errors.ContainerError, match="only the parent of a process"):
        found.wait(timeout=60)
    assert container.wait(timeout=60) == -9
    assert found.status == "stopped"


def test_deleted_by_another(container: Container, other: Runtime, runtime: Runtime) -> None:
    """Both sides may delete, in any order; what is gone is gone."""
    found = other.get("seen")
    with pytest.raises(errors.IllegalTransition, match="use force"):
        found.delete()
    found.delete(force=True)
    assert container.status == "stopped"
    assert other.list() == ()
    container.delete()
    assert runtime.list() == ()


def test_created_elsewhere_started_here(runtime: Runtime, bundle: spec.Bundle, other: Runtime) -> None:
    """Whoever may enter the state root can start; the creator sees it, and it happens once."""
    with runtime.create("waits", bundle, ["sleep", "1000"]) as container:
        found = other.get("waits")
        assert (found.status, container.status) == ("created", "created")
        found.start()
        assert (found.status, container.status) == ("running", "running")
        for each in (found, container):
            with pytest.raises(errors.IllegalTransition, match="it is running"):
                each.start()


def test_a_stranger_behind_the_gate(runtime: Runtime, bundle: spec.Bundle, other: Runtime) -> None:
    """Somebody else who listens in the container's place is not taken for it (SV-05)."""
    with runtime.create("waits", bundle, ["sleep", "1000"]) as container:
        gate = Path(runtime.root, "waits", "start")
        gate.rename(gate.with_name("kept"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.bind(str(gate))
            stranger.listen()
            with pytest.raises(errors.ContainerError, match="cannot be started: expected process"):
                other.get("waits").start()
        with pytest.raises(errors.ContainerError, match="cannot be started: Connection refused"):
            container.start()


def test_who_only_knocks_has_changed_nothing(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A start that dies before it says "go on" leaves a created container behind, which can still be started."""
    with runtime.create("knocked", bundle, ["sleep", "1000"]) as container:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as visitor:
                visitor.connect(str(Path(runtime.root, "knocked", "start")))
        assert container.status == "created"
        container.start()
        assert container.status == "running"


def test_seen_by_another_process(container: Container, runtime: Runtime) -> None:
    """The same from a process of its own."""
    script = (
        "import sys; from ociworks.runtime import Runtime\n"
        "found = Runtime(sys.argv[1]).get('seen')\n"
        "print(found.pid, found.status, found.exec(['hostname'], timeout=60).returncode)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, runtime.root], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [str(container.pid), "running", "0"]


def test_a_recycled_pid_is_not_the_container(container: Container, other: Runtime) -> None:
    """CL-06: a process of the same number and another start time is somebody else, and is not touched."""
    path = Path(other.root, "seen", "state.json")
    state = json.loads(path.read_text())
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        state["pid"], state["startTime"] = bystander.pid, start_time(bystander.pid) - 1
        path.write_text(json.dumps(state))
        found = other.get("seen")
        assert (found.status, found.pid) == ("stopped", 0)
        with pytest.raises(errors.IllegalTransition):
            found.kill("KILL")
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged state file"),
        ("{", "damaged state file"),
        ('{"version": 1}', "expected the members"),
        ('{"version": 1, "version": 1}', "damaged state file"),
        (" " * 1000 + "null", "damaged state file"),
    ],
)
def test_damaged_state(container: Container, other: Runtime, text: str, message: str) -> None:
    """SV-05: a state file that cannot be believed is an error that names it, never a guess."""
    Path(other.root, "seen", "state.json").write_text(text)
    with pytest.raises(errors.ContainerError, match=message):
        other.get("seen")
    assert container.exec(["true"], timeout=60).returncode == 0


def test_state_of_another_version_or_name(container: Container, other: Runtime) -> None:
    """A version that we do not know is not read; a file that was moved is not believed."""
    path = Path(other.root, "seen", "state.json")
    state = json.loads(path.read_text())
    for change, message in (({"version": 2}, "expected version 1"), ({"id": "other"}, "expected that ID")):
        path.write_text(json.dumps({**state, **change}))
        with pytest.raises(errors.ContainerError, match=message):
            other.get("seen")


def test_state_that_others_may_write(container: Container, other: Runtime) -> None:
    """SV-05: neither a file open to others nor a link is read."""
    path = Path(other.root, "seen", "state.json")
    path.chmod(0o666)
    with pytest.raises(errors.ContainerError, match="open to somebody else"):
        other.get("seen")
    path.chmod(0o600)
    shutil.copy(path, path.with_name("copy"))
    path.unlink()
    path.symlink_to("copy")
    with pytest.raises(errors.ContainerError, match="state file"):
        other.get("seen")


def test_the_state_file_is_private(container: Container, runtime: Runtime) -> None:
    """Directories 0700, files 0600, nothing half-written beside them."""
    assert Path(runtime.root).stat().st_mode & 0o777 == 0o700
    directory = Path(runtime.root, "seen")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {entry.name: entry.stat().st_mode & 0o777 for entry in directory.iterdir()} == {
        "config.json": 0o600,
        "state.json": 0o600,
    }


@pytest.mark.parametrize("spoil", ["writable", "foreign", "link"])
def test_a_state_root_that_is_not_ours(tmp_path: Path, bundle: spec.Bundle, spoil: str) -> None:
    """Where somebody else may write, or has put a link, nothing is made."""
    root = tmp_path / "spoiled"
    root.mkdir(mode=0o700)
    if spoil == "writable":
        root.chmod(0o777)
    elif os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")
    elif spoil == "foreign":
        os.chown(root, 1000, 1000)
    else:
        link = tmp_path / "link"
        link.symlink_to(root)
        os.lchown(link, 1000, 1000)
        root = link
    with Runtime(root) as runtime:
        with pytest.raises(errors.ContainerError, match="state root"):
            runtime.create("x", bundle)
        with pytest.raises(errors.ContainerError, match="state root"):
            runtime.run(bundle, ["true"], timeout=60)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("member", "value"),
    [("pid", -1), ("pid", 2**31), ("owner", -5), ("kinds", -1), ("kinds", 2**40), ("startTime", 2**70),
     ("bundle", "/a\0b"), ("rootfs", "/a/../b"), ("cgroups", ["/a\0b"]), ("cgroups", ["relative"])],
)  # fmt: skip
def test_numbers_and_paths_that_the_kernel_does_not_have(
    container: Container, other: Runtime, member: str, value: object
) -> None:
    """A state file that says so is damaged; nothing is asked of the kernel with it."""
    place = Path(other.root, container.id, "state.json")
    before = place.read_bytes()
    place.write_text(json.dumps({**json.loads(before), member: value}))
    with pytest.raises(errors.ContainerError, match="damaged state file"):
        other.get(container.id)
    place.write_bytes(before)
    assert other.get(container.id).status == "running"
