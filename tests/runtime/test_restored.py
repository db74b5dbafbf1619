"""Restored containers that outlive us, with a stand-in for criu; and what images may not make of a container."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import CheckpointOptions, Container, Detach, RestoreOptions, Runtime
from ociworks.runtime._criu import running as running_
from ociworks.runtime._criu import within
from ociworks.runtime._host import Host
from ociworks.spec.runtime import Capabilities, Mount, Namespace, NetDevice, Seccomp, User
from tests.runtime.boxes import changed, nothing_left, with_linux, with_process
from tests.runtime.criu_stand_in import install
from tests.runtime.shims import shim_of, until_ended

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


class Restoring:
    """A bundle, images that are none, and a stand-in for criu."""

    def __init__(self, tmp_path: Path, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self._patch = tmp_path, monkeypatch
        self.bundle = with_linux(bundle, cgroups_path="/criu-box", namespaces=(Namespace(type="mount"),))
        self.moves: dict[str, NetDevice] = {}
        self.log = tmp_path / "log"
        (tmp_path / "images").mkdir()
        (tmp_path / "images/descriptors.json").write_text('["/dev/null", "pipe:[1]", "pipe:[2]"]')

    def restore(
        self,
        runtime: Runtime,
        does: str,
        script: str = "",
        more: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> Container:
        procs = runtime.plan(self.bundle, "back").cgroup.procs
        self.criu(does, procs, script)
        options = RestoreOptions(image_path=str(self.place / "images"), **(more or {}))
        bundle = with_linux(self.bundle, net_devices=self.moves)
        return runtime.restore("back", bundle, options, **keywords)

    def criu(self, does: str, procs: Sequence[str] = (), script: str = "", interrupts: int = 0) -> None:
        """Put the stand-in into the place of criu."""
        self._patch.setenv("PATH", install(self.place / "programs", does, procs, script, interrupts))

    def ended(self) -> None:
        """Wait until the stand-in, and what it made, is gone; it may not have come that far."""
        with suppress(FileNotFoundError):
            for pid in (self.place / "programs/criu.pid").read_text().split():
                if pid != "1":
                    until_ended(int(pid))

    def held(self, runtime: Runtime, does: str, script: str = "") -> Container:
        return self.restore(runtime, does, script, detach=Detach(log=str(self.log), stdin=True))


@pytest.fixture
def restoring(tmp_path: Path, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch) -> Restoring:
    return Restoring(tmp_path, bundle, monkeypatch)


def test_it_is_held_by_a_shim(restoring: Restoring, tmp_path: Path) -> None:
    """Who restored it is gone: it can be attached, its output is logged, its exit status kept."""
    with nothing_left(tmp_path / "root"):
        with Runtime(tmp_path / "root") as runtime:
            held = restoring.held(runtime, "restore", "read x; echo got $x; exit 3")
            assert shim_of(held)
        with Runtime(tmp_path / "root") as runtime:
            found = runtime.get("back")
            assert found.status == "running"
            with found.attach(stdin=True) as attached:
                attached.write(b"it\n")
                assert [chunk.data for chunk in attached] == [b"got it\n"]
            assert found.wait(timeout=60) == 3
            assert found.exit is not None
            assert found.exit.status == 3
            assert [record.data for record in found.logs()] == [b"got it\n"]
            found.delete()


def test_devices_that_were_moved(restoring: Restoring, tmp_path: Path) -> None:
    """They are in the container's network, and the host has them no more."""
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        restoring.moves = {"gone0": NetDevice(name="inner0")}
        held = restoring.held(runtime, "restore", "read x")
        assert held.status == "running"
        held.delete(force=True)


@pytest.mark.parametrize("does", ["fail", "hang"])
def test_a_restore_that_fails_leaves_nothing(restoring: Restoring, tmp_path: Path, does: str) -> None:
    """By criu's word; or because what it made is not where it should be: then criu is ended, too."""
    kind = errors.CheckpointFailed if does == "fail" else errors.CgroupError
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        with pytest.raises(kind):
            restoring.held(runtime, does)
        assert runtime.list() == ()
    if does == "hang":
        restoring.ended()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Criu is given little time to give up by itself."""
    monkeypatch.setattr(running_, "_GIVES_UP", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("does", ["deaf", "unseen"])
def test_a_restore_that_takes_too_long(restoring: Restoring, tmp_path: Path, does: str, held: bool) -> None:
    """Criu is ended, and what it had made so far, in no control group, whether it was named to us yet or not."""
    restoring.criu(does, script="exec sleep 1000")
    options = RestoreOptions(image_path=str(tmp_path / "images"), timeout=2)
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        with pytest.raises(errors.ContainerTimeout, match="criu did not end within 2 seconds"):
            runtime.restore("back", restoring.bundle, options, detach=Detach() if held else False)
        assert runtime.list() == ()
        restoring.ended()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """What SIGINT does in a program that was started by hand; here it may be ignored, as in a background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("impatient", "ctrl_c")
@pytest.mark.parametrize("held", [True, False])
def test_a_restore_that_is_interrupted(restoring: Restoring, tmp_path: Path, held: bool) -> None:
    """By Ctrl+C, say, while criu hangs: the caller is not held up by it, and nothing stays."""
    restoring.criu("deaf", script="exec sleep 1000", interrupts=os.getpid())
    options = RestoreOptions(image_path=str(tmp_path / "images"))
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        with pytest.raises(KeyboardInterrupt):
            runtime.restore("back", restoring.bundle, options, detach=Detach() if held else False)
        assert runtime.list() == ()
        restoring.ended()


@pytest.mark.parametrize("held", [True, False])
def test_what_cannot_be_written_down_is_ended(
    restoring: Restoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """A disk that is full at the last step: no process goes on that nobody would find."""

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(Host, "save", full)
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        restore = restoring.held if held else restoring.restore
        with pytest.raises(OSError, match="no space"):
            restore(runtime, "restore", "exec sleep 1000")
        assert runtime.list() == ()


@pytest.mark.usefixtures("impatient", "ctrl_c")
@pytest.mark.parametrize("interrupted", [True, False])
def test_a_checkpoint_that_takes_too_long(restoring: Restoring, tmp_path: Path, *, interrupted: bool) -> None:
    """Criu is ended, and the container that it had stopped goes on."""
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        made = runtime.create("back", restoring.bundle, ["cat"], stdin=-1, stdout=-1)
        made.start()
        procs = runtime.plan(restoring.bundle, "back").cgroup.procs
        restoring.criu("stop", procs, interrupts=os.getpid() if interrupted else 0)
        options = CheckpointOptions(image_path=str(tmp_path / "images"), timeout=None if interrupted else 2)
        with pytest.raises(KeyboardInterrupt if interrupted else errors.ContainerTimeout):
            made.checkpoint(options)
        restoring.ended()
        assert made.status == "running"
        assert made.stdin is not None
        assert made.stdout is not None
        os.write(made.stdin, b"still here")
        assert os.read(made.stdout, 100) == b"still here"
        made.delete(force=True)


OWNER = """
import os, signal, sys
from ociworks import spec
from ociworks.runtime import RestoreOptions, Runtime

runtime = Runtime(sys.argv[1])
print(runtime._host.reaper().pid, flush=True)
runtime.restore("back", spec.Bundle.load(sys.argv[2]), RestoreOptions(image_path=sys.argv[3]), stdin=-1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("does", ["restore", "deaf", "unseen"])
def test_it_goes_with_its_owner(restoring: Restoring, tmp_path: Path, does: str) -> None:
    """Whoever restored it is killed, afterwards or meanwhile: it ends, and nothing stays of it."""
    with Runtime(tmp_path / "root") as planning:
        restoring.criu(does, planning.plan(restoring.bundle, "back").cgroup.procs, "exec sleep 1000")
    restoring.bundle.save()
    places = (str(tmp_path / "root"), str(restoring.bundle.path), str(tmp_path / "images"))
    command = [sys.executable, "-c", OWNER, *places]
    with nothing_left(tmp_path / "root"):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
            assert owner.stdout is not None
            reaper = int(owner.stdout.readline())
            if does != "restore":
                name = "root/back/criu.pid" if does == "deaf" else "programs/criu.pid"
                until_written(tmp_path / name)
                owner.kill()
            assert owner.wait(timeout=60) == -9
        until_ended(reaper)
        restoring.ended()


def until_written(path: Path) -> None:
    """Wait for a file with something in it."""
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@pytest.mark.parametrize("confined", [True, False])
def test_no_new_privileges_are_not_forgotten(restoring: Restoring, tmp_path: Path, confined: bool) -> None:
    """Older criu does not restore that; it gets it itself, where it is configured, and passes it on."""
    restoring.bundle = with_process(restoring.bundle, no_new_privileges=confined)
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        held = restoring.held(runtime, "restore", "read x; grep NoNewPrivs /proc/self/status")
        with held.attach(stdin=True) as attached:
            attached.write(b"go on\n")
            assert [chunk.data for chunk in attached] == [b"NoNewPrivs:\t%d\n" % confined]
        held.delete()


def test_further_processes_have_its_time(restoring: Restoring, runtime: Runtime) -> None:
    """Criu makes a time namespace that no configuration has; a process outside of it could not be dumped again."""
    made = restoring.restore(runtime, "restore", "exec unshare --time sleep 1000")
    place = f"/proc/{made.pid}/ns/time"
    while not os.path.exists(place) or Path(f"/proc/{made.pid}/comm").read_text() != "sleep\n":
        pass
    if os.readlink(place) == os.readlink("/proc/self/ns/time"):
        pytest.skip("this kernel changes the time namespace of children only")
    assert (
        made.exec(["readlink", "/proc/self/ns/time"], timeout=60).stdout.decode() == f"{os.readlink(place)}\n"
    )
    made.delete(force=True)


@pytest.mark.parametrize("held", [True, False])
def test_ignoring_control_groups(restoring: Restoring, runtime: Runtime, held: bool) -> None:
    """Criu makes everything where it is itself: in the container's groups, and in a namespace that begins there."""
    restoring.bundle = with_linux(
        restoring.bundle, namespaces=(Namespace(type="mount"), Namespace(type="cgroup"))
    )
    ignoring = {"manage_cgroups_mode": "ignore"}
    script = "cat /proc/self/cgroup; read x"  # one that has ended is in no group
    if held:
        detach = Detach(log=str(restoring.log), stdin=True)
        made = restoring.restore(runtime, "beside", script, ignoring, detach=detach)
        with made.attach(stdin=True) as attached:
            attached.write(b"\n")
        assert made.wait(timeout=60) == 0
        seen = b"".join(record.data for record in made.logs())
    else:
        made = restoring.restore(runtime, "beside", script, ignoring, stdin=-1, stdout=-1, stderr=-3)
        assert made.stdin is not None
        assert made.stdout is not None
        os.write(made.stdin, b"\n")
        assert made.wait(timeout=60) == 0
        seen = os.read(made.stdout, 1 << 16)
    assert {line.split(b":")[2] for line in seen.splitlines()} == {b"/"}
    made.delete()
    for more in ("untrusted", "paused"):
        with pytest.raises(errors.NotSupported):
            restoring.restore(runtime, "beside", script, {**ignoring, more: True})


def test_one_that_is_there(restoring: Restoring, tmp_path: Path) -> None:
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as runtime:
        held = restoring.held(runtime, "restore", "exec sleep 1000")
        with pytest.raises(errors.ContainerExists):
            restoring.held(runtime, "restore", "exec sleep 1000")
        assert held.status == "running"
        with pytest.raises(ValueError, match="streams"):
            restoring.restore(runtime, "restore", detach=Detach(), stdin=-3)
        held.delete(force=True)


# --- what images may make -------------------------------------------------------------------------------


@pytest.fixture
def running(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> Container:
    """A container that is what its configuration says."""
    mount = Mount(destination="/data", type="bind", source=str(tmp_path), options=("rbind", "ro"))
    bundle = changed(bundle, mounts=(*bundle.spec.mounts, mount))
    made = runtime.create("box", bundle, ["sh", "-c", "sleep 1000 & wait"])
    made.start()
    return made


def look(container: Container, expected: spec.runtime.Spec) -> None:
    """What is looked at before something restored may run."""
    within.check(container.pid, container.processes(), expected, container.bundle)


def test_cr_13_what_is_as_configured(running: Container) -> None:
    look(running, running.spec)


Change = Callable[[spec.runtime.Spec], spec.runtime.Spec]


def part(name: str, **values: Any) -> Change:
    """Other values in a part of the configuration."""
    return lambda found: attrs.evolve(found, **{name: attrs.evolve(getattr(found, name), **values)})


process = functools.partial(part, "process")
linux = functools.partial(part, "linux")


def without(point: str) -> Change:
    return lambda found: attrs.evolve(
        found, mounts=tuple(mount for mount in found.mounts if mount.destination != point)
    )


def instead(point: str, **values: Any) -> Change:
    return lambda found: attrs.evolve(
        found,
        mounts=tuple(
            attrs.evolve(mount, **values) if mount.destination == point else mount for mount in found.mounts
        ),
    )


TOO_MUCH: Mapping[str, tuple[Change, str]] = {
    "capabilities": (process(capabilities=Capabilities()), "of which the configuration grants"),
    "root": (process(user=User(uid=5, gid=5)), "root, where the configuration has user 5"),
    "joined": (
        linux(namespaces=(Namespace(type="uts", path="/proc/self/ns/uts"),)),
        "not in the uts namespace",
    ),
    "private": (linux(namespaces=(Namespace(type="user"),)), "in our own user namespace"),
    "mounted": (without("/data"), "a mount of"),
    "not mounted": (instead("/data", destination="/etc"), "a mount of"),
    "other source": (instead("/data", source="/etc"), "something else than '/etc'"),
    "other kind": (instead("/proc", type="sysfs"), "where 'sysfs' belongs"),
    "writable": (instead("/dev", options=("ro",)), "'/dev' can be written"),
    "writable root": (
        part("root", readonly=True),
        "root that can be written",
    ),
    "unmasked": (linux(masked_paths=("/proc/cmdline",)), "a mount of"),
    "not read-only": (linux(readonly_paths=("/bin",)), "."),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_cr_13_what_goes_beyond(running: Container, name: str) -> None:
    """Each is named; whoever asked ends it."""
    change, why = TOO_MUCH[name]
    with pytest.raises(errors.CheckpointFailed, match=why):
        look(running, change(running.spec))


def test_cr_13_no_filter(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Where the configuration has one."""
    with runtime.create("open", with_linux(bundle, seccomp=None), ["sleep", "1000"]) as container:
        container.start()
        look(container, container.spec)
        filtered = Seccomp(default_action="SCMP_ACT_ALLOW")
        with pytest.raises(errors.CheckpointFailed, match="no filter"):
            look(container, with_linux(bundle, seccomp=filtered).spec)


def test_cr_13_new_privileges(runtime: Runtime, bundle: spec.Bundle) -> None:
    """What criu forgets (versions before 3.19 do) is not forgotten here."""
    loose = with_process(bundle, no_new_privileges=False)
    made = runtime.create("box", loose, ["sleep", "1000"])
    made.start()
    look(made, made.spec)
    with pytest.raises(errors.CheckpointFailed, match="new privileges"):
        look(made, process(no_new_privileges=True)(made.spec))
