"""One call: what every command gets, and what several need."""

from __future__ import annotations

import os

from ociworks.runtime import _root, state
from ociworks.runtime.cli import _early
from ociworks.runtime.ids import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ociworks.runtime import Container, Runtime
    from ociworks.runtime.cli._flags import Options
    from ociworks.runtime.cli._log import Log
    from ociworks.runtime.launcher import Launcher
    from ociworks.spec.runtime import Spec

__all__ = ["Call", "run"]

_NOTIFYING = ("create", "run")


class Call:
    """The command line of one call, and the state root that it names."""

    def __init__(
        self,
        command: str,
        globals_: Options,
        flags: Options,
        arguments: Sequence[str],
        log: Log,
        runtime: Runtime | None,
    ) -> None:
        self.command = command
        self.globals = globals_
        self.flags = flags
        self.arguments = arguments
        self.log = log
        self.custom = runtime
        """The runtime that ``main`` was given, if it was: its own methods must run."""
        self._started: tuple[int, int] | None = None

    @property
    def root(self) -> str:
        """The state root. Raises ContainerError when somebody else may write in it."""
        named = self.globals.text("root")
        if named:
            root = os.path.abspath(named)
        else:
            root = self.custom.root if self.custom is not None else _root.default_root()
        _root.check_root(root)
        return root

    @property
    def container_id(self) -> str:
        """The first argument. Raises ContainerError when it is no container ID."""
        return check_id(self.arguments[0])

    def start_early(self) -> None:
        """Start the helper process, which needs as long as we do to load the rest."""
        self._started = _early.take(shims=self.custom is not None)

    def close(self) -> None:
        """End a helper that nobody came to need."""
        started, self._started = self._started, None
        if started is not None:
            os.close(started[1])
            os.waitpid(started[0], 0)

    def launcher(self) -> Launcher:
        """The helper, as it was started early, or a new one."""
        from ociworks.runtime.launcher import Launcher

        started, self._started = self._started, None
        return Launcher(started)

    def record(self) -> state.Record:
        """The state of the container. Raises ContainerNotFound and ContainerError."""
        return state.load(self.root, self.container_id)

    def runtime(self) -> Runtime:
        """A Runtime on the state root."""
        from ociworks.runtime import Runtime

        systemd = self.globals.flag("systemd-cgroup")
        if self.custom is None and self.command in _NOTIFYING and os.environ.get("NOTIFY_SOCKET"):
            from ociworks.runtime.cli import _notify

            runtime: Runtime = _notify.runtime(self.root, self.log, systemd_cgroup=systemd)
        elif self.custom is None and self.log.debugs:
            from ociworks.runtime.cli._debug import Told

            runtime = Told(self.root, self.log, systemd_cgroup=systemd)
        elif self.custom is None:
            runtime = Runtime(self.root, systemd_cgroup=systemd)
        else:
            runtime = self.custom.at(self.root, systemd_cgroup=systemd)
        if self._started is not None:
            runtime.use_launcher(self.launcher)
        return runtime

    def run_stopped(self, record: state.Record, spec: Spec) -> None:
        """Run the hooks after the end; what fails is logged."""
        from ociworks.runtime._hooks import run_stopped

        run_stopped(spec, record.id, record.bundle, self.log.caution)

    def container(self) -> Container:
        """The container, as the library has it."""
        return self.runtime().get(self.container_id)


def run(module: str, call: Call, *, helper: bool) -> int:
    """Run a command, by the name of its module; ``helper``: it will need the helper process."""
    if helper:
        call.start_early()
    call.log.detail(f"{call.command} {' '.join(call.arguments[:1])}: begun by process {os.getpid()}")
    try:
        found = __import__(f"ociworks.runtime.cli.{module}", fromlist=["main"])
        status: int = found.main(call)
        call.log.detail(f"{call.command}: ended with status {status}")
        return status
    finally:
        call.close()
