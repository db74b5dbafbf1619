"""`FakeKernel`: the host's side is real, the container's is recorded; no rights needed, and any step may fail."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Detach, HostStep, Runtime, Subject
from ociworks.runtime._init.execute import OPERATIONS
from ociworks.spec.defaults import default_spec
from ociworks.spec.runtime import Memory, Resources
from ociworks.testing import FakeKernel, FakeProgram
from tests.ordinary import NOBODY, interpreter, readable_copy
from tests.runtime.shims import shim_of

FOREVER = FakeProgram(forever=True)


@pytest.fixture
def bundle(tmp_path: Path) -> spec.Bundle:
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    return spec.Bundle.create(tmp_path / "bundle", default_spec())


def answer(args: tuple[str, ...]) -> FakeProgram:
    return FOREVER if args[0] == "sleep" else FakeProgram(returncode=3, stdout=" ".join(args).encode())


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    with FakeKernel(answer) as made:
        yield made


@pytest.fixture
def runtime(kernel: FakeKernel, tmp_path: Path) -> Iterator[Runtime]:
    with kernel.attach(Runtime(tmp_path / "root")) as made:
        yield made


def test_a_life(kernel: FakeKernel, runtime: Runtime, bundle: spec.Bundle) -> None:
    """Statuses, processes and signals are real; what would have happened is on record."""
    container = runtime.create("life", bundle, ["sleep", "1"])
    plan = runtime.plan(bundle, "life")
    at = plan.index("wait_start")
    assert [op.name for op in kernel.executed("life")] == [op.name for op in plan.operations[: at + 1]]
    assert container.status == "created"
    container.start()
    assert container.status == "running"
    assert kernel.executed("life")[-1].name == "execute"
    done = container.exec(["echo", "hello"], timeout=60)
    assert (done.returncode, done.stdout) == (3, b"echo hello")
    assert [process.is_exec for process in kernel.processes] == [False, True]
    assert kernel.processes[0].namespaces == plan.clone_flags
    container.kill("TERM")
    assert container.wait(timeout=60) == -signal.SIGTERM
    container.delete()
    assert runtime.list() == ()
    with pytest.raises(LookupError):
        kernel.executed("other")


def test_run(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A whole run, with its output; a terminal too."""
    assert runtime.run(bundle, ["x"], capture_output=True, timeout=60).stdout == b"x"
    assert bundle.spec.process is not None
    terminal = attrs.evolve(bundle.spec.process, terminal=True)
    there = bundle.replace(attrs.evolve(bundle.spec, process=terminal))
    assert runtime.run(there, ["y"], capture_output=True, timeout=60).stdout == b"y"
    with pytest.raises(errors.ContainerTimeout):
        runtime.run(bundle, ["sleep"], timeout=0.01)


def test_limits(kernel: FakeKernel, runtime: Runtime, bundle: spec.Bundle) -> None:
    """What would have been written into the control group of a version 2 host."""
    assert bundle.spec.linux is not None
    linux = attrs.evolve(bundle.spec.linux, resources=Resources(memory=Memory(limit=1 << 20)))
    with runtime.create("small", bundle.replace(attrs.evolve(bundle.spec, linux=linux))):
        assert kernel.limits("small")["memory.max"] == "1048576"
    assert kernel.limits("small") == {}


def test_every_step_can_fail(kernel: FakeKernel, runtime: Runtime, bundle: spec.Bundle) -> None:
    """Wherever a creation fails, the error names the step, and nothing of the container is left."""
    plan = runtime.plan(bundle, "fails")
    for index in range(plan.index("wait_start")):
        kernel.heal()
        kernel.fail(index, errno.EPERM, path="/p", container_id="fails")
        with pytest.raises(errors.CreateFailed, match=f"step {index}, |exec: ") as caught:
            runtime.create("fails", bundle)
        assert (caught.value.step, caught.value.errno) == (plan.operations[index].name, errno.EPERM)
        assert caught.value.path == "/p"
        assert len(kernel.executed("fails")) == index
        assert runtime.list() == ()
    kernel.heal()
    kernel.fail("clone3", errno.EAGAIN)
    with pytest.raises(errors.CreateFailed, match="clone3"):
        runtime.create("fails", bundle)


def test_a_program_that_is_not_there(kernel: FakeKernel, runtime: Runtime, bundle: spec.Bundle) -> None:
    """The last step fails like the others, at the start."""
    kernel.fail("execute", errno.ENOENT, path="nowhere")
    with runtime.create("missing", bundle) as container:
        with pytest.raises(errors.CommandNotFound):
            container.start()
        assert container.wait(timeout=60) == 255


class Stepping(Runtime):
    """A custom runtime under test."""

    diary: tuple[str, ...] = ()

    def host_steps(self, subject: Subject) -> Sequence[HostStep]:
        def note(what: str) -> None:
            self.diary = (*self.diary, what)

        return (HostStep(name="s", do=lambda _: note("do"), undo=lambda _: note("undo"), at="cloned"),)


def test_a_custom_runtime(kernel: FakeKernel, tmp_path: Path, bundle: spec.Bundle) -> None:
    """Host steps are done and, when a later step fails, undone."""
    with kernel.attach(Stepping(tmp_path / "stepping")) as runtime:
        kernel.fail("pivot")
        with pytest.raises(errors.CreateFailed):
            runtime.create("x", bundle)
        assert runtime.diary == ("do", "undo")


def test_all_operations_are_known() -> None:
    """The pretended init has every operation of the real one."""
    code = (
        "from ociworks.testing import _fake_init; from ociworks.runtime._init import execute, launcher\n"
        "real = dict(execute.OPERATIONS); launcher.main = lambda *_: None; _fake_init.main(3, 0)\n"
        "assert execute.OPERATIONS.keys() == real.keys()\n"
        "assert not set(execute.OPERATIONS.values()) & set(real.values())\n"
        "print(len(real))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(OPERATIONS)


@pytest.mark.root
def test_it_needs_no_root() -> None:
    """The same as a user without any rights."""
    with tempfile.TemporaryDirectory() as place:
        _as_nobody(Path(place))


def _as_nobody(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    readable_copy(tmp_path / "lib", "ociworks", "attr", "attrs", "pyseccomp")
    (tmp_path / "own/bundle/rootfs").mkdir(parents=True)
    os.chown(tmp_path / "own", NOBODY, NOBODY)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from ociworks import spec\n"
        "from ociworks.runtime import Runtime\n"
        "from ociworks.spec.defaults import default_spec\n"
        "from ociworks.testing import FakeKernel\n"
        "with FakeKernel() as kernel, kernel.attach(Runtime('own/root')) as runtime:\n"
        "    runtime.create('c', spec.Bundle(Path('own/bundle').absolute(), default_spec()))\n"
        "    print(len(kernel.executed('c')))\n"
    )
    done = subprocess.run(
        [interpreter(NOBODY), "-I", "-c", code, str(tmp_path / "lib")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        user=NOBODY,
        group=NOBODY,
        extra_groups=(),
        env={"TMPDIR": str(tmp_path / "own")},
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_a_shim(kernel: FakeKernel, runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """A detached container has a real one: log, status, attach, and it is found by another Runtime."""
    log = tmp_path / "log"
    made = runtime.create("far", bundle, ["echo", "hello"], detach=Detach(log=log))
    assert kernel.executed("far")[-1].name == "wait_start"
    assert kernel.limits("far") == {}
    with made.attach() as attached:
        made.start()
        assert [chunk.data for chunk in attached] == [b"echo hello"]
    with kernel.attach(Runtime(runtime.root)) as other, other.get("far") as found:
        assert found.wait(60) == 3
        assert found.exit is not None
        assert [record.data for record in found.logs()] == [b"echo hello"]
        assert kernel.executed("far")[-1].name == "execute"
    assert os.listdir(runtime.root) == []


def test_a_shim_whose_container_is_killed(runtime: Runtime, bundle: spec.Bundle) -> None:
    """By a signal, by force, and together with its shim."""
    for end in ("kill", "delete", "shim"):
        with runtime.create("far", bundle, ["sleep", "1"], detach=Detach()) as made:
            made.start()
            assert made.status == "running"
            if end == "kill":
                made.kill("TERM")
                assert made.wait(60) == -signal.SIGTERM
            elif end == "shim":
                os.kill(shim_of(made), signal.SIGKILL)
                with pytest.raises(errors.ExitStatusUnknown):
                    made.wait(60)
        assert os.listdir(runtime.root) == []


def test_limits_of_a_detached_container(kernel: FakeKernel, runtime: Runtime, bundle: spec.Bundle) -> None:
    """They are on record until it is deleted."""
    assert bundle.spec.linux is not None
    linux = attrs.evolve(bundle.spec.linux, resources=Resources(memory=Memory(limit=1 << 20)))
    limited = bundle.replace(attrs.evolve(bundle.spec, linux=linux))
    for detach in (True, Detach(), Detach()):
        with runtime.create("far", limited, ["sleep", "1"], detach=detach) as made:
            made.start()
            assert kernel.limits("far")["memory.max"] == str(1 << 20)
        assert kernel.limits("far") == {}


def test_a_shim_with_a_terminal(runtime: Runtime, bundle: spec.Bundle) -> None:
    """It holds it."""
    assert bundle.spec.process is not None
    process = attrs.evolve(bundle.spec.process, terminal=True, args=("echo", "hello"))
    with (
        runtime.create(
            "far", bundle.replace(attrs.evolve(bundle.spec, process=process)), detach=Detach()
        ) as made,
        made.attach() as attached,
    ):
        made.resize(100, 30)
        made.start()
        assert b"".join(chunk.data for chunk in attached) == b"echo hello"
        assert made.wait(60) == 3


@pytest.mark.parametrize("step", ["clone3", "pivot_root", 0])
def test_a_step_of_a_detached_container_fails(
    kernel: FakeKernel, runtime: Runtime, bundle: spec.Bundle, step: str | int
) -> None:
    """The shim removes what there is, and ends."""
    if step == "pivot_root":
        step = next(op.name for op in runtime.plan(bundle).operations if "root" in op.name)
    kernel.fail(step, errno.EPERM)
    for detach in (True, Detach()):
        with pytest.raises(errors.CreateFailed):
            runtime.create("far", bundle, detach=detach)
        assert os.listdir(runtime.root) == []


def test_held_by_nobody(kernel: FakeKernel, runtime: Runtime, bundle: spec.Bundle) -> None:
    """``detach=True`` outlives its Runtime."""
    made = runtime.create("far", bundle, ["sleep", "1"], detach=True)
    runtime.close()
    with kernel.attach(Runtime(runtime.root)) as other, other.get("far") as found:
        assert found.pid == made.pid
        found.start()
        assert found.status == "running"
    assert os.listdir(runtime.root) == []
