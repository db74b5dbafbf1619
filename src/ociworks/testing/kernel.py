"""`FakeKernel`: carries plans out without privileges, so that tests of custom runtimes need no root."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Final, Self, TypeVar

import attrs

from ociworks.errors import CreateFailed
from ociworks.runtime import Runtime
from ociworks.runtime.cgroups import Hierarchies, Hierarchy
from ociworks.runtime.launcher import Launcher, Spawned, SpawnRequest
from ociworks.runtime.plan import Op
from ociworks.spec.frozen import FrozenDict

__all__ = ["FakeKernel", "FakeProcess", "FakeProgram"]

R = TypeVar("R", bound=Runtime)

_CONTROLLERS: Final = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")


@attrs.frozen(kw_only=True)
class FakeProgram:
    """What a program does once it is executed: it writes, then ends with a status, or waits for a signal."""

    returncode: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    forever: bool = False


@attrs.frozen(kw_only=True)
class FakeProcess:
    """One process that was asked for: the first of a container, or that of an exec."""

    container_id: str
    is_exec: bool
    namespaces: int
    """The flags of the namespaces that it would have been cloned into, or would have joined."""
    operations: tuple[Op, ...]
    """All that it was to do."""
    journal: str

    @property
    def executed(self) -> tuple[Op, ...]:
        """What it has done so far."""
        return self.operations[: os.stat(self.journal).st_size]


@attrs.frozen(kw_only=True)
class _Failure:
    step: str | int
    number: int
    path: str
    container_id: str | None

    def meets(self, name: str, step: str, index: int) -> bool:
        return self.step in (step, index) and self.container_id in (None, name)


class FakeKernel:
    """Carries out the plans of the runtimes that are attached to it, by recording them.

    ::

        with FakeKernel() as kernel, kernel.attach(GpuRuntime(tmp_path)) as runtime:
            kernel.fail("pivot", errno.EPERM)
            with pytest.raises(CreateFailed):
                runtime.create("c", bundle)
            assert kernel.executed("c")[-1].name == "mask"

    Real: everything on the host's side (plan, state files, locks, host steps, hooks of the runtime namespaces, events)
    and, as an unprivileged process, the first process with its gate, terminal, signals and status, held by a shim if it
    is a detached one. Not there:
    namespaces, mounts, any effect of an operation. Control groups are those of a pretended version 2 host with every
    controller: their settings are files in a temporary directory; nothing can be paused.
    """

    def __init__(self, program: Callable[[tuple[str, ...]], FakeProgram] | None = None) -> None:
        self._program = program or (lambda _: FakeProgram())
        self._failures: list[_Failure] = []
        self._processes: list[FakeProcess] = []
        self._roots: set[str] = set()
        self._directory = tempfile.mkdtemp(prefix="ociworks-kernel-")
        self._groups = os.path.join(self._directory, "cgroup")
        os.mkdir(self._groups)

    @property
    def processes(self) -> tuple[FakeProcess, ...]:
        """Every process that was asked for, in order."""
        return tuple(self._processes)

    def attach(self, runtime: R) -> R:
        """Take the place of the kernel for this runtime, which must not have made a container yet. Gives it back."""
        device = os.stat(self._groups).st_dev
        mount = Hierarchy(
            version=2, controllers=_CONTROLLERS, mount_point=self._groups, root="/", own="/", device=device
        )
        host = runtime._host  # noqa: SLF001 - the one seam that is for tests only
        self._roots.add(host.root)
        host.start_launcher = lambda: _FakeLauncher(self)
        host.hierarchies = Hierarchies(
            mode="v2", mounts=(mount,), base=FrozenDict({self._groups: self._groups}), available=True
        )
        return runtime

    def fail(
        self, step: str | int, number: int = errno.EPERM, *, path: str = "", container_id: str | None = None
    ) -> None:
        """Make a step fail with this errno: an operation by name or number, or ``clone3``, the process itself.

        For every container from now on, or for one of them.
        """
        self._failures.append(_Failure(step=step, number=number, path=path, container_id=container_id))

    def heal(self) -> None:
        """Forget every failure."""
        self._failures.clear()

    def executed(self, container_id: str) -> tuple[Op, ...]:
        """What the last first process of this container has done so far. Raises LookupError when there was none."""
        found = [each for each in self._processes if each.container_id == container_id and not each.is_exec]
        if not found:
            raise LookupError(f"no process was asked for in the name of {container_id}")
        return found[-1].executed

    def limits(self, container_id: str) -> Mapping[str, str]:
        """What was written into the container's control group, by file name; empty when it is gone."""
        self._forget_gone(container_id)
        found: dict[str, str] = {}
        for directory, _, names in os.walk(self._groups):
            if os.path.basename(directory) == container_id:
                for name in names:
                    with open(os.path.join(directory, name), encoding="ascii") as stream:
                        found[name] = stream.read()
        return FrozenDict(found)

    def close(self) -> None:
        """Remove what was recorded; again is harmless."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, request: SpawnRequest) -> SpawnRequest:
        """Record a process, and turn its request into one that needs no privilege. Raises CreateFailed."""
        failure = self._failure(request.name, "clone3", -1)
        if failure is not None:
            text = os.strerror(failure.number)
            raise CreateFailed(f"clone3: {text}", step="clone3", errno=failure.number, path=failure.path)
        journal = os.path.join(self._directory, f"journal-{len(self._processes)}")
        with open(journal, "xb"):
            pass
        self._processes.append(
            FakeProcess(
                container_id=request.name,
                is_exec=not request.claim,
                namespaces=request.flags | request.join_kinds,
                operations=tuple(Op(name, tuple(rest)) for name, *rest in request.ops),
                journal=journal,
            )
        )
        if request.claim:
            self._forget_gone(request.name)
        self._make_groups(request)
        operations = tuple(
            self._simulated(request.name, journal, index, op) for index, op in enumerate(request.ops)
        )
        return SpawnRequest(
            name=request.name,
            ops=operations,
            claim=request.claim,
            ephemeral=request.ephemeral,
            gate=request.gate,
            outlives=request.outlives,
            shim=request.shim,
        )

    def forget(self, container_id: str) -> None:
        """Remove the container's groups."""
        for directory, names, _ in os.walk(self._groups):
            if container_id in names:
                shutil.rmtree(os.path.join(directory, container_id))

    def _forget_gone(self, container_id: str) -> None:
        """Remove the groups of a container that no launcher of ours removed: a detached one."""
        if not any(os.path.lexists(os.path.join(root, container_id)) for root in self._roots):
            self.forget(container_id)

    def _failure(self, container_id: str, step: str, index: int) -> _Failure | None:
        return next((each for each in self._failures if each.meets(container_id, step, index)), None)

    def _simulated(
        self, container_id: str, journal: str, index: int, op: tuple[object, ...]
    ) -> tuple[object, ...]:
        name, *arguments = op
        failure = self._failure(container_id, str(name), index)
        if name == "execute":
            arguments = list(self._run(arguments[0]))
        number, path = (failure.number, failure.path) if failure is not None else (0, "")
        return (name, journal, number, path, *arguments)

    def _run(self, arguments: object) -> tuple[object, ...]:
        given = arguments if isinstance(arguments, tuple) else ()
        program = self._program(tuple(os.fsdecode(each) for each in given))
        return (program.stdout, program.stderr, program.returncode, program.forever)

    def _make_groups(self, request: SpawnRequest) -> None:
        for directory in request.groups:
            os.makedirs(directory, exist_ok=True)
        settings = request.cgroup[5] if request.cgroup is not None else ()
        for path, value in (ways[0] for ways in settings):
            if os.path.dirname(path) in request.groups:
                with open(path, "xb") as stream:
                    stream.write(value)


class _FakeLauncher(Launcher):
    """A launcher whose inits only pretend."""

    module = "ociworks.testing._fake_init"

    def __init__(self, kernel: FakeKernel) -> None:
        super().__init__()
        self._kernel = kernel

    def spawn(
        self,
        request: SpawnRequest,
        streams: tuple[int, ...],
        pidfd: int = -1,  # noqa: ARG002 - nothing is joined
        passed: tuple[int, ...] = (),
    ) -> Spawned:
        return super().spawn(self._kernel.take(request), streams, passed=passed)

    def remove(self, name: str) -> None:
        super().remove(name)
        self._kernel.forget(name)
