"""Custom runtimes: each seam does what its table says, for create, run and exec, and nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Event, HostStep, Plan, RestoreOptions, Runtime, Subject
from ociworks.runtime.plan import ops
from ociworks.runtime.seams import Seams
from ociworks.spec.runtime import Process, Spec
from tests.runtime.boxes import nothing_left, with_linux

FOREVER = ["sleep", "1000"]


class Custom(Runtime):
    """One seam of each kind, and a diary."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.diary: list[str] = []
        self.fail_at = ""

    def edit_spec(self, bundle: spec.Bundle, container_id: str) -> spec.Bundle:
        if container_id == "refused":
            raise errors.NotSupported("not here")
        return bundle.replace(attrs.evolve(bundle.spec, hostname="custom"))

    def edit_process(self, process: Process, spec: Spec) -> Process:
        assert spec.hostname == "custom"
        return attrs.evolve(process, env=(*process.env, "SEEN=1"))

    def edit_plan(self, plan: Plan) -> Plan:
        return plan.replace("umask", ops.umask(0o027))

    def host_steps(self, subject: Subject) -> Sequence[HostStep]:
        assert subject.spec.hostname == "custom"
        return (
            HostStep(name="one", do=self.note("do one"), undo=self.note("undo one"), at="cloned"),
            HostStep(name="two", do=self.note("do two"), undo=self.note("undo two")),
        )

    def note(self, what: str) -> Callable[[Subject], None]:
        def write(subject: Subject) -> None:
            self.diary.append(what)
            if what.startswith("do"):
                assert os.readlink(f"/proc/{subject.pid}/ns/uts") != os.readlink("/proc/self/ns/uts")
                Path(subject.directory, what).touch(exist_ok=False)
            if what == self.fail_at:
                raise PermissionError(13, "no", "/there")

        return write


@pytest.fixture
def custom(tmp_path: Path) -> Iterator[Custom]:
    with nothing_left(tmp_path / "custom"), Custom(tmp_path / "custom") as made:
        yield made


SHOW = ["sh", "-c", "hostname; umask; echo $SEEN"]


def test_create_and_exec(custom: Custom, bundle: spec.Bundle) -> None:
    """All seams together, over a whole life; the container of another Runtime of the kind is undone too."""
    with custom.create("made", bundle, FOREVER) as container:
        assert custom.diary == ["do one", "do two"]
        container.start()
        assert container.exec(["sh", "-c", "hostname; echo $SEEN"], timeout=60).stdout == b"custom\n1\n"
        assert container.spec.hostname == "custom"
        container.delete(force=True)
        assert custom.diary[2:] == ["undo two", "undo one"]
    assert len(custom.diary) == 4
    custom.create("again", bundle, FOREVER)
    with Custom(Path(custom.root)) as other:
        other.get("again").delete(force=True)
        assert other.diary == ["undo two", "undo one"]


def test_run(custom: Custom, bundle: spec.Bundle) -> None:
    """Run asks the same seams."""
    assert custom.run(bundle, SHOW, capture_output=True, timeout=60).stdout == b"custom\n0027\n1\n"
    assert custom.diary == ["do one", "do two", "undo two", "undo one"]


def test_the_plan_shows_it(custom: Custom, bundle: spec.Bundle) -> None:
    """Nothing is hidden from who prints the plan, and nothing is done for it."""
    text = str(custom.plan(bundle))
    assert "reach 'hostSteps.cloned'" in text
    assert text.index("hostSteps.mounted") < text.index("pivot")
    assert "hostname 'custom'" in text
    assert custom.diary == []


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_step_that_fails(custom: Custom, bundle: spec.Bundle, verb: str) -> None:
    """The error names the step; what was begun is undone in reverse order, and nothing is left."""
    custom.fail_at = "do two"
    with pytest.raises(errors.CreateFailed, match="host step two") as caught:
        custom.create("x", bundle) if verb == "create" else custom.run(bundle, SHOW, timeout=60)
    assert (caught.value.step, caught.value.errno, caught.value.path) == ("two", 13, "/there")
    assert custom.diary == ["do one", "do two", "undo two", "undo one"]
    custom.fail_at = "do one"
    custom.diary.clear()
    with pytest.raises(errors.CreateFailed, match="host step one"):
        custom.create("x", bundle)
    assert custom.diary == ["do one", "undo one"]
    assert custom.list() == ()


def test_an_undo_that_fails(custom: Custom, bundle: spec.Bundle, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the others are undone, and the container is gone."""
    custom.fail_at = "undo two"
    custom.create("x", bundle, FOREVER).delete()
    assert custom.diary[2:] == ["undo two", "undo one"]
    assert "host step two of container x cannot be undone" in caplog.text
    assert custom.list() == ()


def test_a_taken_id_is_not_undone(custom: Custom, bundle: spec.Bundle) -> None:
    """A creation that fails because the container exists must not undo that one's steps."""
    with custom.create("taken", bundle, FOREVER):
        custom.diary.clear()
        with pytest.raises(errors.ContainerExists):
            custom.create("taken", bundle)
        assert custom.diary == []


def test_a_refusal(custom: Custom, bundle: spec.Bundle) -> None:
    """Before anything exists."""
    with pytest.raises(errors.NotSupported, match="not here"):
        custom.create("refused", bundle)
    assert not Path(custom.root).exists()


def test_a_restore_is_refused(custom: Custom, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Host steps have no place in what criu does, so they are not skipped in silence."""
    with pytest.raises(errors.NotSupported, match="host steps"):
        custom.restore("back", bundle, RestoreOptions(image_path=str(tmp_path)))
    assert custom.diary == []


BINARY = """
import sys
from ociworks.runtime import HostStep, Runtime
from ociworks.runtime.cli import main

class Stepping(Runtime):
    def host_steps(self, subject):
        def note(what):
            def write(subject):
                with open(sys.argv[1], "a") as diary:
                    diary.write(f"{what} {subject.container_id} {bool(subject.pid)}\\n")
            return write
        return [HostStep(name="noted", do=note("do"), undo=note("undo"))]

sys.exit(main(Stepping(), sys.argv[2:]))
"""


def test_steps_of_a_binary(bundle: spec.Bundle, tmp_path: Path) -> None:
    """One process makes the container, another one deletes it: what the first did is undone by the second."""
    diary = tmp_path / "diary"

    def call(*args: str, status: int = 0) -> None:
        command = [sys.executable, "-c", BINARY, str(diary), "--root", str(tmp_path / "root"), *args]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, timeout=60
        )
        assert done.returncode == status

    with nothing_left(tmp_path / "root"):
        call("create", "--bundle", str(bundle.path), "stepped")
        assert diary.read_text() == "do stepped True\n"
        call("create", "--bundle", str(bundle.path), "stepped", status=1)
        assert diary.read_text() == "do stepped True\n"
        call("delete", "--force", "stepped")
        assert diary.read_text() == "do stepped True\nundo stepped False\n"


def test_nothing_overridden_costs_nothing(tmp_path: Path) -> None:
    """A subclass with nothing of its own is treated as the plain one: nobody is asked."""

    class Plain(Runtime):
        """Only another name."""

    assert Plain(tmp_path / "plain")._host.seams is None
    assert Custom(tmp_path / "custom")._host.seams is not None
    assert {name for name in vars(Seams) if not name.startswith("_")} == {
        "edit_spec",
        "edit_process",
        "edit_plan",
        "host_steps",
        "on_event",
    }


class Listening(Runtime):
    """Listens to everything."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.heard: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.heard.append(event)


def test_events(bundle: spec.Bundle, tmp_path: Path) -> None:
    """A life in order, with pids, statuses and times that do not go back."""
    with Listening(tmp_path / "listening") as runtime:
        with runtime.create("life", bundle, ["sh", "-c", "read x; exit 7"], stdin=-1) as container:
            pid = container.pid
            container.start()
            assert container.exec(["sh", "-c", "exit 3"], timeout=60).returncode == 3
            assert container.stdin is not None
            os.write(container.stdin, b"\n")
            container.wait(timeout=60)
            container.wait()
        kinds = [event.kind for event in runtime.heard]
        assert kinds == "planned spawned created started exec exec-exited exited deleted".split()
        assert {event.container_id for event in runtime.heard} == {"life"}
        assert [event.returncode for event in runtime.heard if event.returncode is not None] == [3, 7]
        assert {event.pid for event in runtime.heard if event.kind in ("spawned", "created", "exited")} == {
            pid
        }
        times = [event.time for event in runtime.heard]
        assert times == sorted(times)
        runtime.heard.clear()
        runtime.run(bundle, ["sh", "-c", "exit 9"], timeout=60)
        assert [event.kind for event in runtime.heard] == "planned spawned started exited deleted".split()
        assert runtime.heard[3].returncode == 9


def test_a_watch(runtime: Runtime, bundle: spec.Bundle) -> None:
    """It waits for ends by itself; it hears nothing from before it or after its close."""
    early = runtime.create("early", bundle, ["sh", "-c", "read x; exit 4"], stdin=-1)
    early.start()
    with runtime.events() as watch, runtime.events() as second:
        assert watch.next(timeout=0) is None
        assert early.stdin is not None
        os.write(early.stdin, b"\n")
        ended = watch.next(timeout=60)
        assert ended is not None
        assert (ended.kind, ended.container_id, ended.returncode) == ("exited", "early", 4)
        assert ended.oom in (None, False)
        early.delete()
        first = next(iter(watch))
        assert first.kind == "deleted"
        assert watch.next(timeout=0) is None
        watch.close()
        watch.close()
        assert list(watch) == []
        assert [event.kind for event in (second.next(0), second.next(0)) if event] == ["exited", "deleted"]
    assert runtime._host.watches == ()


def test_a_watch_sees_a_kill(runtime: Runtime, bundle: spec.Bundle) -> None:
    """An end that delete brings about is reported before the deletion."""
    with runtime.create("killed", bundle, FOREVER) as container:
        container.start()
        with runtime.events() as watch:
            container.delete(force=True)
            assert [event.kind for event in (watch.next(0), watch.next(0)) if event] == ["exited", "deleted"]


@pytest.mark.root
def test_a_watch_knows_why(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The end of a container whose memory ran out says so, where somebody counts."""
    limits = spec.runtime.Resources(memory=spec.runtime.Memory(limit=16 << 20))
    try:
        small = runtime.create(
            "small", with_linux(bundle, resources=limits), ["sh", "-c", "head -c 99m /dev/zero | tail"]
        )
    except (errors.NotSupported, errors.CgroupError) as error:
        pytest.skip(str(error))
    with small, runtime.events() as watch:
        small.start()
        ended = [watch.next(timeout=60), watch.next(timeout=60)][1]
        assert ended is not None
        assert (ended.kind, ended.oom) == ("exited", True)
