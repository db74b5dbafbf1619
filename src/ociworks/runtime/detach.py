"""What a detached container is asked to be, and what is written down of it: two small files beside its state.

=============  =========================  ==========================================================================
file           written by                 says
=============  =========================  ==========================================================================
``shim.json``  its shim, at the creation  the options, to find the log file again
``exit.json``  its shim, at the end       how it ended; there is none when the shim was killed
=============  =========================  ==========================================================================

Both are read as untrusted input, like the state itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar

from attrs import field, frozen

from ociworks.errors import ContainerError, ContainerNotFound, quote
from ociworks.runtime import _facts, state
from ociworks.runtime.shim import exits

if TYPE_CHECKING:
    import socket

__all__ = ["Detach", "Exit", "ExitWatch", "Saved", "load", "load_exit"]

FILE: Final = "shim.json"
_VERSION: Final = 1
_MAX_SIZE: Final = 64 << 10
_MOST_FILES: Final = 1000
T = TypeVar("T", str, int, bool)


def _path(value: str | os.PathLike[str] | None) -> str:
    """An absolute path, or nothing. A URI names no program, device or descriptor here: it is refused."""
    if value is None or value == "":
        return ""
    text = os.fspath(value)
    if not text.startswith("/") or text.endswith("/") or "\0" in text:
        raise ValueError(f"log: expected the absolute path of a file, got {quote(text)}")
    return text


@frozen(kw_only=True)
class Detach:
    """Options of a container that outlives its creator, held by a shim. Raises ValueError for unusable ones."""

    log: str = field(default=None, converter=_path)
    """The absolute path of the file that output is appended to; None (or empty): it goes to those attached only."""
    log_format: Literal["cri", "json"] = "cri"
    """``cri`` as the kubelet reads it, or ``json`` lines as Docker writes them (see ``runtime.shim.records``)."""
    log_size: int = 0
    """Bytes after which a new file is begun; 0: never."""
    log_files: int = 2
    """How many files are kept then: ``log``, ``log.1`` (older) and so on."""
    stdin: bool = False
    """Whether there is a standard input that can be attached; otherwise it is ``/dev/null``."""
    stdin_once: bool = False
    """End the standard input with the first attachment that had it."""
    start_timeout: float = 60.0
    """Seconds in which the shim must report, at each of its two steps; one that does not is killed."""

    def __attrs_post_init__(self) -> None:
        if self.log_format not in ("cri", "json"):
            raise ValueError(f"log_format: expected 'cri' or 'json', got {quote(str(self.log_format))}")
        if not self.start_timeout > 0:
            raise ValueError(f"start_timeout: expected more than 0 seconds, got {self.start_timeout}")
        if self.log_size < 0 or not 1 <= self.log_files <= _MOST_FILES:
            raise ValueError(
                f"expected log_size of 0 or more and log_files from 1 to {_MOST_FILES}, "
                f"got {self.log_size} and {self.log_files}"
            )


@frozen(kw_only=True)
class Exit:
    """How a detached container ended."""

    status: int
    """The exit status, or the negative number of the signal that killed it."""
    oom_killed: bool
    """Whether the kernel killed something in it for want of memory."""
    exited_at: str
    """RFC 3339, UTC, nanoseconds."""
    log_lost: int
    """Bytes of log records that could not be written, for want of space mostly."""


class ExitWatch:
    """Becomes readable once a detached container has ended and all its output is logged, or its shim was killed.

    Then ask the container's ``exit``. Close it, or use it as a context manager.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def fileno(self) -> int:
        """A descriptor for poll or epoll; -1 when closed."""
        return self._channel.fileno()

    def close(self) -> None:
        """Watch no longer; again is harmless."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@frozen(kw_only=True)
class Saved:
    """What ``shim.json`` says."""

    token: str
    """Chosen by the creator, who may remove only what bears it when a creation fails."""
    log: str
    log_format: str
    log_files: int
    terminal: bool
    bundle: str = ""
    """The bundle that was given, when the container's own is another one."""

    def encode(self) -> bytes:
        """The bytes of the file."""
        return _facts.dumps(
            {
                "version": _VERSION,
                "token": self.token,
                "log": self.log,
                "logFormat": self.log_format,
                "logFiles": self.log_files,
                "terminal": self.terminal,
                "bundle": self.bundle,
            }
        ).encode()


def load(root: str, container_id: str) -> Saved | None:
    """What is written down of a container that has a shim; None of another one, or of one that is gone.

    Raises ContainerError when the file cannot be believed.
    """
    found = _members(root, container_id, FILE)
    if found is None:
        return None
    saved = Saved(
        token=found.take("token", str),
        log=found.take("log", str),
        log_format=found.take("logFormat", str),
        log_files=found.take("logFiles", int),
        terminal=found.take("terminal", bool),
        bundle=found.take("bundle", str) if found.has("bundle") else "",
    )
    absolute = not saved.log or saved.log.startswith("/")
    if not absolute or saved.log_format not in ("cri", "json") or not 1 <= saved.log_files <= _MOST_FILES:
        raise found.damaged("no log is described like that")
    return saved


def load_exit(root: str, container_id: str) -> Exit | None:
    """How a container ended, as its shim wrote it; None while it has not. ContainerError as :func:`load`."""
    found = _members(root, container_id, exits.FILE)
    if found is None:
        return None
    return Exit(
        status=found.take("status", int),
        oom_killed=found.take("oomKilled", bool),
        exited_at=found.take("exitedAt", str),
        log_lost=found.take("logLost", int),
    )


class _Members:
    """The members of one file; every complaint names it and its container."""

    def __init__(self, container_id: str, name: str) -> None:
        self._where = f"{name} of container {container_id}"
        self._found: dict[str, object] = {}

    def parse(self, raw: bytes) -> None:
        """Read the bytes of the file."""
        if len(raw) > _MAX_SIZE:
            raise self.damaged(f"larger than {_MAX_SIZE} bytes")
        try:
            found = _facts.loads(raw)
        except ValueError as error:
            raise self.damaged(str(error)) from error
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            raise self.damaged(f"expected an object of version {_VERSION}")
        self._found = found

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._found

    def take(self, name: str, kind: type[T]) -> T:
        """A member, when it has this type."""
        value = self._found.get(name)
        if type(value) is not kind:
            raise self.damaged(f"member {name}: expected {kind.__name__}, got {type(value).__name__}")
        return value

    def damaged(self, why: str) -> ContainerError:
        """The error for a file that cannot be believed."""
        return ContainerError(f"damaged {self._where}: {why}")


def _members(root: str, container_id: str, name: str) -> _Members | None:
    try:
        raw = state.read(root, container_id, name, _MAX_SIZE)
    except ContainerNotFound:
        return None
    members = _Members(container_id, name)
    members.parse(raw)
    return members
