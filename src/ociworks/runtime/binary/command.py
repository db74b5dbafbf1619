"""Runs a runtime's program: one verb at a time, through the reaper, with its log as JSON; failures become errors.

What went wrong is found out by asking (``state``, ``list``), not by reading messages. One thing no runtime tells in
any other way: that the program to execute is not there or may not be executed. :func:`_lacks_program` looks for the
three phrases that podman and containerd look for too, and decides between two errors of the same family only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import frozen

from ociworks.errors import (
    CheckpointFailed,
    CommandNotFound,
    ContainerError,
    ContainerTimeout,
    CreateFailed,
    LauncherError,
    MissingDependency,
    quote,
)
from ociworks.runtime.console import Console
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.launcher.reaper import Reaper
from ociworks.runtime.stdio import DEVNULL, PIPE, Streams, communicate

__all__ = ["BinaryOptions", "Failed", "Program", "console_socket", "error_for", "last_error"]

_MAX_LOG: Final = 1 << 20
_ABSENT: Final = ("executable file not found in", "no such file or directory", "permission denied")


@frozen(kw_only=True)
class BinaryOptions:
    """How a runtime's program is called.

    ``flags`` are further global flags (``("--systemd-cgroup",)``); ``timeout`` bounds every verb but those that wait
    for a container, in seconds; ``json_logs`` is off for programs without ``--log`` and ``--log-format``.
    """

    flags: tuple[str, ...] = ()
    timeout: float = 60.0
    json_logs: bool = True


class Failed(Exception):
    """A verb ended with a status other than 0; ``message`` is what the program said."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Program:
    """One runtime's program, its root, and our reaper for it."""

    def __init__(self, path: str, root: str, options: BinaryOptions) -> None:
        found = shutil.which(path)
        if found is None:
            raise MissingDependency(f"runtime {quote(path)}: expected an executable program; install it")
        self.path, self.root, self.options = os.path.abspath(found), root, options
        self._lock = threading.Lock()
        self._reaper: Reaper | None = None
        self._scratch = ""
        self._numbers = itertools.count()

    def reaper(self) -> Reaper:
        """The running reaper, with a scratch directory of its own."""
        with self._lock:
            if self._reaper is not None and not self._reaper.usable:
                self._reaper.close()
                self._reaper = None
            if self._reaper is None:
                self._reaper = Reaper()
                self._scratch = os.path.join(tempfile.gettempdir(), f"ociworks-{secrets.token_hex(8)}")
                self._reaper.scratch("scratch", self._scratch)
            return self._reaper

    def scratch(self, name: str) -> str:
        """A new path in the scratch directory."""
        self.reaper()
        return os.path.join(self._scratch, f"{next(self._numbers)}-{name}")

    def close(self) -> None:
        """End the reaper; again is harmless."""
        with self._lock:
            reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.close()

    def argv(self, *verb: str, log: str = "") -> tuple[str, ...]:
        """The whole command."""
        logs = ("--log", log, "--log-format", "json") if log else ()
        return (self.path, "--root", self.root, *self.options.flags, *logs, *verb)

    def ask(
        self,
        *verb: str,
        data: bytes | None = None,
        pass_on: tuple[int, ...] = (),
        timeout: float | None = None,
    ) -> bytes:
        """Run a verb to its end, with further descriptors from 3 on; what it printed.

        Raises Failed, ContainerTimeout.
        """
        streams = Streams(DEVNULL if data is None else PIPE, PIPE, PIPE)
        with contextlib.closing(streams), self._running(verb, streams, pass_on=pass_on) as (command, log):
            streams.started()
            patience = self.options.timeout if timeout is None else timeout
            deadline = time.monotonic() + patience
            output, said, late = communicate(streams, data, deadline, command.monitor.fileno(), command.kill)
            self._check(command, log, verb, patience if late else None, said)
            return output

    def leave(self, verb: Sequence[str], streams: Streams, timeout: float | None = None) -> Spawned:
        """Run a verb that leaves a process behind; that process. Raises Failed, ContainerTimeout."""
        pid_file = self.scratch("pid")
        name, *rest = verb
        with self._running((name, "--pid-file", pid_file, *rest), streams, pid_file) as (command, log):
            streams.started()
            patience = self.options.timeout if timeout is None else timeout
            late = command.wait(patience) is None
            if late:
                command.kill()
            self._check(command, log, verb, patience if late else None)
            return self.reaper().left_behind(command)

    @contextlib.contextmanager
    def _running(
        self, verb: Sequence[str], streams: Streams, pid_file: str = "", pass_on: tuple[int, ...] = ()
    ) -> Iterator[tuple[Spawned, str]]:
        log = self.scratch("log") if self.options.json_logs else ""
        command = self.reaper().start(self.argv(*verb, log=log), (*streams.child, *pass_on), pid_file)
        left = False
        try:
            yield command, log
            left = bool(pid_file)
        finally:
            if left:  # its channel belongs to what was left behind
                os.close(command.pidfd)
            else:
                command.close()
            for name in filter(None, (log, pid_file)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)

    def _check(
        self, command: Spawned, log: str, verb: Sequence[str], late: float | None, said: bytes = b""
    ) -> None:
        """``late``: after how many seconds it was killed."""
        status = command.wait()
        if late is not None:
            raise ContainerTimeout(
                f"{self.path} {verb[0]} did not end within {late:g} seconds and was killed", timeout=late
            )
        if status:
            message = _last_error(log) or said.decode("utf-8", "backslashreplace").strip()[-4096:]
            raise Failed(status, message or f"ended with status {status}")


@contextlib.contextmanager
def console_socket(
    program: Program, *, wanted: bool
) -> Iterator[tuple[tuple[str, ...], Callable[[], Console | None]]]:
    """Flags for a verb that makes a terminal, and a function that takes its master afterwards."""
    if not wanted:
        yield (), lambda: None
        return
    path = program.scratch("console")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen(1)
        try:
            yield ("--console-socket", path), lambda: _receive(listening)
        finally:
            os.unlink(path)


def _receive(listening: socket.socket) -> Console:
    """The master that the runtime sent before it ended."""
    listening.settimeout(10.0)
    connection, _ = listening.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    if not fds:
        raise LauncherError("the runtime did not send a terminal over the console socket")
    os.set_inheritable(fds[0], False)  # noqa: FBT003 - the standard library's signature
    return Console(fds[0])


def error_for(verb: str, container_id: str, failed: Failed) -> ContainerError:
    """The error for a failed verb, when its cause is not the container's state."""
    text = f"{verb} of container {container_id}: {quote(failed.message, 2000)}"
    if verb in ("checkpoint", "restore"):
        return CheckpointFailed(text, log="")
    if verb in ("create", "start", "exec"):
        if _lacks_program(failed.message):
            return CommandNotFound(text, step="execute")
        return CreateFailed(text, step=verb)
    return ContainerError(text)


def _lacks_program(message: str) -> bool:
    """Whether a message is about the program to execute; see the top of the module."""
    lower = message.lower()
    return "exec" in lower and any(words in lower for words in _ABSENT)


def _last_error(log: str) -> str:
    """The message of the last error in a JSON log; empty when there is none."""
    try:
        with open(log, "rb") as stream:
            return last_error(stream.read(_MAX_LOG))
    except OSError:
        return ""


def last_error(lines: bytes) -> str:
    """The same of its text."""
    found = ""
    for line in lines.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                found = str(entry.get("msg", ""))
    return found
