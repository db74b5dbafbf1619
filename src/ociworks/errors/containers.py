"""Containers, the processes in them, and what the runtime needs for both."""

from __future__ import annotations

from ociworks.errors.base import OciworksError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime import CompletedContainer

__all__ = [
    "CgroupError",
    "CheckpointFailed",
    "CommandFailed",
    "CommandNotFound",
    "ContainerError",
    "ContainerExists",
    "ContainerNotFound",
    "ContainerTimeout",
    "CreateFailed",
    "ExitStatusUnknown",
    "IllegalTransition",
    "LauncherError",
]


class ContainerError(OciworksError):
    """The root of container errors."""


class ContainerExists(ContainerError):
    """A container of this ID exists already."""


class ContainerNotFound(ContainerError, KeyError):
    """No container of this ID."""

    __str__ = Exception.__str__


class IllegalTransition(ContainerError):
    """The lifecycle does not allow this operation in the container's present state."""


class CreateFailed(ContainerError):
    """A step failed. ``step`` names it, ``errno`` is the kernel's number (0: none), ``path`` where it matters."""

    def __init__(self, message: str, *, step: str, errno: int = 0, path: str = "") -> None:
        self.step, self.errno, self.path = step, errno, path
        super().__init__(message)


class CommandNotFound(CreateFailed):
    """The program to execute is missing or not executable in the container."""


class CommandFailed(ContainerError):
    """A run with ``check=True`` ended with another status than 0; ``completed`` is the run."""

    def __init__(self, completed: CompletedContainer) -> None:
        self.completed = completed
        super().__init__(f"{completed.args!r} returned exit status {completed.returncode}")


class ContainerTimeout(ContainerError, TimeoutError):
    """The container did not end within ``timeout`` seconds and was killed; output so far is kept."""

    def __init__(self, message: str, *, timeout: float, stdout: bytes = b"", stderr: bytes = b"") -> None:
        self.timeout, self.stdout, self.stderr = timeout, stdout, stderr
        super().__init__(message)

    __str__ = Exception.__str__


class ExitStatusUnknown(ContainerError):
    """A detached container has ended, but its shim was killed before it could write down how."""


class CheckpointFailed(ContainerError):
    """A container could not be dumped or restored; ``log`` is the path of criu's log, where there is one."""

    def __init__(self, message: str, *, log: str) -> None:
        self.log = log
        super().__init__(message)


class LauncherError(ContainerError):
    """The helper process ended unexpectedly or broke its protocol."""


class CgroupError(ContainerError):
    """A control group cannot be made, set or read."""
