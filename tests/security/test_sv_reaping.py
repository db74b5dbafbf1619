"""SV-04: every status is learnt, written once, and nothing is left unreaped."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from ociworks import spec
from ociworks.runtime import Detach, Runtime
from ociworks.spec.runtime import Memory, Resources
from tests.runtime.boxes import box, nothing_left, with_linux
from tests.runtime.shims import detached, shim_of


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime that must leave nothing behind."""
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as made:
        yield made


def children(pid: int) -> list[str]:
    """The states of a process's children."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in pids]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 255", 255),
        ("exit 137", 137),
        ("(sleep 1000 &) ; exit 5", 5),
        ("for i in $(seq 200); do (true &); done; exit 6", 6),
    ],
)
def test_sv_04_statuses(runtime: Runtime, tmp_path: Path, script: str, status: int) -> None:
    """Programs that end at once, with children and without."""
    with detached(runtime, box(tmp_path / "bundle"), script) as found:
        found.start()
        assert found.wait(60) == status
        assert found.exit is not None
        assert found.exit.status == status


@pytest.mark.parametrize("signal", ["KILL", "SEGV", "QUIT", "TERM", "RTMIN+3"])
def test_sv_04_signals(runtime: Runtime, tmp_path: Path, signal: str) -> None:
    """The init of a PID namespace dies of what the kernel lets through; the number is kept, cores included."""
    with detached(runtime, without_pids(box(tmp_path / "bundle")), "exec sleep 1000") as found:
        found.start()
        found.kill("STOP")
        found.kill("CONT")
        assert found.status == "running"
        found.kill(signal)
        numbers = {"KILL": -9, "SEGV": -11, "QUIT": -3, "TERM": -15, "RTMIN+3": -37}
        assert found.wait(60) == numbers[signal]


def without_pids(bundle: spec.Bundle) -> spec.Bundle:
    """The bundle with the PID namespace of the host."""
    assert bundle.spec.linux is not None
    spaces = tuple(space for space in bundle.spec.linux.namespaces if space.type != "pid")
    return with_linux(bundle, namespaces=spaces)


@pytest.mark.root
def test_sv_04_orphans_of_a_shared_pid_namespace(runtime: Runtime, tmp_path: Path) -> None:
    """Without a PID namespace orphans come to the shim: it reaps them all, and keeps the init's status apart."""
    script = "for i in $(seq 10000); do (true &); done; (sleep 1000 &); echo done; read x; exit 9"
    with detached(runtime, without_pids(box(tmp_path / "bundle")), script, stdin=True) as found:
        with found.attach(stdin=True) as attached:
            found.start()
            assert attached.read(120) is not None
            shim = shim_of(found)
            with found.attach() as again:  # a round trip: what was to be done before it is done
                again.close()
            assert children(shim).count("Z") == 0
            attached.write(b"\n")
            assert list(attached) == []
        assert found.wait(60) == 9


@pytest.mark.root
def test_sv_04_out_of_memory(runtime: Runtime, tmp_path: Path) -> None:
    """The kernel's reason is kept beside the status."""
    limits = Resources(memory=Memory(limit=16 << 20, swap=16 << 20))
    limited = with_linux(box(tmp_path / "bundle"), resources=limits)
    with detached(runtime, limited, "exec tail /dev/zero") as found:
        found.start()
        assert found.wait(120) == -9
        assert found.exit is not None
        assert found.exit.oom_killed


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of this size."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> Path:
    """Use all space."""
    path = place / "filler"
    with open(path, "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return path


@pytest.mark.root
def test_sv_04_a_full_disk(tmp_path: Path) -> None:
    """The status is written although nothing else can be: its space was taken at the creation."""
    with small_disk(tmp_path / "disk", "1m") as disk, nothing_left(disk / "root"):
        with Runtime(disk / "root") as runtime:
            runtime.create("far", box(tmp_path / "b"), ["sh", "-c", "exit 8"], detach=Detach()).start()
            # created and started; the end comes when the disk is full
        with Runtime(disk / "root") as runtime, runtime.get("far") as found:
            assert found.wait(60) == 8
        with Runtime(disk / "root") as runtime:
            container = runtime.create("far", box(tmp_path / "b2"), ["sleep", "1000"], detach=Detach())
            container.start()
            filler = fill(disk)
            container.kill("KILL")
            assert container.wait(60) == -9
            assert container.exit is not None
            assert container.exit.status == -9
            filler.unlink()
            container.delete()


def test_sv_04_written_once(runtime: Runtime, tmp_path: Path) -> None:
    """Many waits, before and after the end: one file, never written again."""
    with detached(runtime, box(tmp_path / "bundle"), "exit 2") as found:
        found.start()
        assert [found.wait(60) for _ in range(5)] == [2] * 5
        before = Path(runtime.root, "far/exit.json").stat()
        assert [found.wait(60) for _ in range(5)] == [2] * 5
        assert Path(runtime.root, "far/exit.json").stat() == before
        assert attrs.asdict(found.exit)["status"] == 2  # type: ignore[arg-type]
