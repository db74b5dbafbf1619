"""One call: what every command gets, and what several need."""

from __future__ import annotations

import os

from ociworks.runtime import _root, state
from ociworks.runtime.ids import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ociworks.runtime import Container, Runtime
    from ociworks.runtime.cli._flags import Options
    from ociworks.runtime.cli._log import Log
    from ociworks.spec.runtime import Spec

__all__ = ["Call", "load"]


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

    def record(self) -> state.Record:
        """The state of the container. Raises ContainerNotFound and ContainerError."""
        return state.load(self.root, self.container_id)

    def runtime(self) -> Runtime:
        """A Runtime on the state root."""
        from ociworks.runtime import Runtime

        systemd = self.globals.flag("systemd-cgroup")
        if self.custom is not None:
            return self.custom.at(self.root, systemd_cgroup=systemd)
        return Runtime(self.root, systemd_cgroup=systemd)

    def run_stopped(self, record: state.Record, spec: Spec) -> None:
        """Run the hooks after the end; what fails is logged."""
        from ociworks.runtime._hooks import run_stopped

        run_stopped(spec, record.id, record.bundle, self.log.caution)

    def container(self) -> Container:
        """The container, as the library has it."""
        return self.runtime().get(self.container_id)


def load(module: str) -> Callable[[Call], int]:
    """The function of a command, by the name of its module."""
    name = f"ociworks.runtime.cli.{module}"
    found = __import__(name, fromlist=["main"])
    main: Callable[[Call], int] = found.main
    return main
