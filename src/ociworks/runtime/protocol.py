"""What every runtime can do: `OCIRuntime` and `OCIContainer`, which ours and `RuntimeBinary` both are.

Write code that only makes and uses containers against these two; the tests of the lifecycle run against both kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from ociworks.runtime.completed import CompletedContainer
from ociworks.runtime.stdio import DEVNULL, Stream
from ociworks.spec import Bundle
from ociworks.spec.runtime import Features, Process, Resources, State

if TYPE_CHECKING:
    from ociworks.runtime.attach import Attachment
    from ociworks.runtime.cgroups import ContainerStats
    from ociworks.runtime.checkpoint import CheckpointOptions, RestoreOptions
    from ociworks.runtime.console import Console
    from ociworks.runtime.detach import Detach, Exit, ExitWatch
    from ociworks.runtime.logs import LogRecord
    from ociworks.runtime.options import RunOptions
    from ociworks.runtime.process import ContainerProcess

__all__ = ["OCIContainer", "OCIRuntime"]


class OCIContainer(Protocol):
    """One container; see :class:`Container` for what each member promises."""

    @property
    def id(self) -> str:
        """The container's ID."""

    @property
    def pid(self) -> int:
        """The pid of its first process on the host; 0 when it has ended."""

    @property
    def bundle(self) -> str:
        """The path of its bundle."""

    @property
    def status(self) -> str:
        """``created``, ``running``, ``paused`` or ``stopped``."""

    @property
    def console(self) -> Console | None:
        """Its terminal, when the configuration has one; only in the process that created it."""

    @property
    def stdin(self) -> int | None:
        """Our end of its standard input, when that was created as PIPE; a descriptor."""

    @property
    def stdout(self) -> int | None:
        """Our end of its standard output, when that was created as PIPE; a descriptor."""

    @property
    def stderr(self) -> int | None:
        """Our end of its standard error, when that was created as PIPE; a descriptor."""

    def state(self) -> State:
        """The state as the specification has it."""

    def start(self) -> None:
        """Let the program run."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit status, or the negative number of the signal."""

    def kill(self, signum: int | str = "TERM", *, all: bool = False) -> None:
        """Send a signal to the first process, or to all."""

    def exec(
        self,
        args: Sequence[str] | Process,
        *,
        capture_output: bool = True,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> CompletedContainer:
        """Run a further program to its end."""

    def spawn(
        self,
        args: Sequence[str] | Process,
        *,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> ContainerProcess:
        """Begin a further program and return when it runs."""

    @property
    def exit(self) -> Exit | None:
        """How it ended, of a detached one; None while it has not, or when its shim was killed."""

    def watch_exit(self) -> ExitWatch | None:
        """Something to wait with, among others, for the end of a detached one; None when its shim has ended."""

    def attach(self, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Attachment:
        """Get the output of a detached one from now on, and type into it."""

    def logs(self, *, follow: bool = False) -> Iterator[LogRecord]:
        """What is in the log files of a detached one."""

    def reopen_log(self) -> None:
        """Have the log file of a detached one opened again by its name."""

    def resize(self, width: int, height: int) -> None:
        """Set the size of its terminal in characters."""

    def stats(self) -> ContainerStats:
        """What its control groups count."""

    def processes(self) -> tuple[int, ...]:
        """The pids of all its processes on the host."""

    def pause(self) -> None:
        """Freeze every process."""

    def resume(self) -> None:
        """Let frozen processes go on."""

    def update(self, resources: Resources) -> None:
        """Change its limits."""

    def checkpoint(self, options: CheckpointOptions) -> None:
        """Write the running container to disk."""

    def delete(self, *, force: bool = False) -> None:
        """Remove everything that is there because of it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class OCIRuntime(Protocol):
    """A runtime; see :class:`Runtime` for what each member promises."""

    @property
    def root(self) -> str:
        """The directory that holds the state of its containers."""

    def create(
        self,
        container_id: str,
        bundle: Bundle,
        args: Sequence[str] | None = None,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        detach: bool | Detach = False,
    ) -> OCIContainer:
        """Make a container, ready to be started; with a :class:`Detach`, one that outlives us, held by a shim."""

    def run(  # noqa: PLR0913 - the keywords of subprocess.run
        self,
        bundle: Bundle,
        args: Sequence[str] | None = None,
        *,
        capture_output: bool = False,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: Stream = None,
        options: RunOptions | None = None,
    ) -> CompletedContainer:
        """Run a program in a new container to its end, and remove the container."""

    def restore(
        self,
        container_id: str,
        bundle: Bundle,
        options: RestoreOptions,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        detach: bool | Detach = False,
    ) -> OCIContainer:
        """Make a running container of what a checkpoint wrote; with a :class:`Detach` as :meth:`create`."""

    def get(self, container_id: str) -> OCIContainer:
        """A container by its ID."""

    def list(self) -> tuple[OCIContainer, ...]:
        """Every container below ``root``."""

    def features(self) -> Features:
        """What it can do."""

    def close(self) -> None:
        """End every container that it created."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
