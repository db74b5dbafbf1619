"""The caller's side of a shim: have one made, and talk to the one that a container has."""

from __future__ import annotations

import _socket
import contextlib
import os
import secrets
import select
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

from ociworks.errors import (
    ContainerError,
    ContainerNotFound,
    ContainerTimeout,
    ExitStatusUnknown,
    LauncherError,
    NotSupported,
)
from ociworks.runtime import detach, state
from ociworks.runtime._host import Host
from ociworks.runtime._init import wire
from ociworks.runtime.attach import Attachment
from ociworks.runtime.console import Console
from ociworks.runtime.detach import Detach, Exit, ExitWatch, Saved
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.logs import LogRecord, read_logs
from ociworks.runtime.plan import Plan
from ociworks.runtime.shim import messages
from ociworks.runtime.shim.debris import sweep_debris

__all__ = ["Making", "Shim", "let_go", "until_kept"]

_PATIENCE: Final = 20.0
"""Seconds; longer than a shim needs for anything."""
_MOMENT: Final = 0.2
"""Seconds between two looks at a log that is followed."""
_CREDENTIALS: Final = struct.Struct("3i")
_AGAIN: Final = 0.05
"""Seconds until a shim that had no room for us is asked again."""


class Making:
    """A shim in the making, on the caller's side: what it has to know, and what becomes of it."""

    def __init__(self, host: Host, planned: Plan, options: Detach) -> None:
        self._host, self._planned, self._options = host, planned, options
        self._token = secrets.token_hex(16)
        self._directory = -1
        if options.log:
            self._directory = os.open(os.path.dirname(options.log), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def fds(self) -> tuple[int, ...]:
        """The directory of the log file, if there is one."""
        return (self._directory,) if self._directory >= 0 else ()

    def settings(self, record: state.Record) -> dict[str, Any]:
        """What the shim reads; ``record`` is the state before there is a process."""
        options = self._options
        terminal = bool(self._planned.spec.process is not None and self._planned.spec.process.terminal)
        saved = Saved(
            token=self._token,
            log=options.log,
            log_format=options.log_format,
            log_files=options.log_files,
            terminal=terminal,
        )
        return {
            "files": ((state.FILE, record.encode()), (detach.FILE, saved.encode())),
            "log": (os.path.basename(options.log), options.log_format, options.log_size, options.log_files),
            "stdin": options.stdin,
            "stdin_once": options.stdin_once,
            "terminal": terminal,
            "token": self._token,
            "patience": options.start_timeout,
        }

    def keep(self, spawned: Spawned, console: Console | None) -> None:
        """Let the container outlive us: its state is written. Its terminal goes to the shim."""
        try:
            if console is not None:
                with console:
                    wire.send(spawned.monitor, wire.CONSOLE, fds=[console.fileno()])
        except OSError:
            pass  # it was killed, as is found out now
        until_kept(spawned, self._planned.container_id, self._options.start_timeout)

    def undo(self, spawned: Spawned | None) -> None:
        """Remove everything, or have it removed by the shim."""
        if spawned is not None and let_go(spawned.monitor, self._options.start_timeout):
            return
        self._host.forsake(self._token)
        if spawned is not None:
            spawned.kill()
        self._sweep()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._directory >= 0:
            os.close(self._directory)

    def _sweep(self) -> None:
        """Remove what a shim left that was killed; only what is ours."""
        group, name = self._planned.cgroup, self._planned.container_id
        sweep_debris(self._host.root)
        if self._is_ours():
            with contextlib.suppress(ContainerNotFound), state.Lock(self._host.root, name):
                if self._is_ours():
                    rdt = self._planned.resctrl
                    own = rdt.remove if rdt is not None else ()
                    self._host.sweep(name, group.directories, group.shared, own)

    def _is_ours(self) -> bool:
        saved = detach.load(self._host.root, self._planned.container_id)
        return saved is not None and saved.token == self._token


def until_kept(spawned: Spawned, container_id: str, patience: float, groups: bytes = b"") -> None:
    """Tell a shim that its container is complete. LauncherError when it was killed, or does not say that it heard."""
    who = f"the shim of container {container_id}"
    try:
        wire.send(spawned.monitor, wire.KEEP, groups)
        if not _readable(spawned.monitor, patience):
            raise LauncherError(f"{who} did not answer within {patience:g} seconds")
        kind, _, _ = wire.receive(spawned.monitor)
    except (OSError, wire.ProtocolError):
        kind = b""
    if kind != wire.DONE:
        raise LauncherError(f"{who} was killed")


def let_go(monitor: _socket.socket, patience: float) -> bool:
    """Tell a shim that nothing becomes of it; whether it said that nothing is left."""
    try:
        monitor.shutdown(socket.SHUT_WR)
        while _readable(monitor, patience):
            kind, _, fds = wire.receive(monitor)
            for fd in fds:
                os.close(fd)
            if kind in (wire.DONE, b""):
                return kind == wire.DONE
    except OSError:
        return False
    return False


class Shim:
    """The shim of one container, wherever it was made."""

    def __init__(self, root: str, container_id: str) -> None:
        self._root, self._id = root, container_id

    @property
    def exit(self) -> Exit | None:
        """How the container ended; None while it has not, or when its shim was killed."""
        return detach.load_exit(self._root, self._id)

    def wait(self, timeout: float | None, runs: Callable[[], bool]) -> int:
        """The exit status, when all output was logged; ``runs`` says whether the first process is still there.

        Raises ContainerTimeout, ExitStatusUnknown.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            status = self._ask_status(deadline)
            if status is not None:
                return status
            found = self.exit
            if found is not None:
                return found.status
            if not self.alive() and self.exit is None and not runs():
                raise ExitStatusUnknown(
                    f"container {self._id} has ended, and its shim was killed before it could say how"
                )
            self._pause(deadline)

    def watch_exit(self) -> ExitWatch | None:
        """Something that becomes readable at the end; None when the shim is not there (any more)."""
        channel = self._connect()
        if channel is None:
            return None
        try:
            wire.send(channel, messages.WAIT)
        except OSError:
            channel.close()
            return None
        return ExitWatch(channel)

    def attach(self, *, stdin: bool, stdout: bool, stderr: bool) -> Attachment:
        """A connection to these streams."""
        wanted = (stdin, messages.WITH_STDIN), (stdout, messages.WITH_STDOUT), (stderr, messages.WITH_STDERR)
        flags = sum(flag for wish, flag in wanted if wish)
        if not flags:
            raise ValueError("attach: expected at least one of stdin, stdout and stderr")
        return Attachment(self._ask(messages.ATTACH, bytes([flags])))

    def resize(self, width: int, height: int) -> None:
        """Set the size of the terminal."""
        self._ask(messages.RESIZE, messages.SIZE.pack(width, height)).close()

    def reopen_log(self) -> None:
        """Open the log file again by its name."""
        self._ask(messages.REOPEN).close()

    def logs(self, *, follow: bool) -> Iterator[LogRecord]:
        """What is in the log files; with ``follow``, to the end of the container."""
        saved = detach.load(self._root, self._id)
        if saved is None or not saved.log:
            raise NotSupported(f"container {self._id} was created without a log")
        return read_logs(saved.log, saved.log_format, saved.log_files, self._more if follow else None)

    def alive(self) -> bool:
        """Whether the shim is there."""
        channel = self._connect()
        if channel is None:
            return False
        channel.close()
        return True

    def _more(self) -> bool:
        """Wait a moment, at most until the end; whether the log may still grow."""
        channel = self._connect()
        if channel is None:
            return False
        with channel:
            try:
                wire.send(channel, messages.WAIT)
            except (BrokenPipeError, ConnectionResetError):
                return True
            _readable(channel, _MOMENT)
        return True

    def _ask(self, kind: bytes, body: bytes = b"") -> socket.socket:
        """Ask for something that is answered at once; the connection, when it was done. ContainerError otherwise."""
        channel = self._connect()
        if channel is None:
            raise ContainerError(f"container {self._id} has ended, or its shim was killed")
        try:
            wire.send(channel, kind, body)
            if not _readable(channel, _PATIENCE):
                raise ContainerError(f"the shim of container {self._id} does not answer")
            answer, said, _ = wire.receive(channel, 0)
            if answer == wire.FAILED:
                _, _, _, text, _ = wire.unpack_failure(said)
                raise NotSupported(f"container {self._id}: {text}")
            if answer != wire.DONE:
                raise ContainerError(f"the shim of container {self._id} has no room for more clients")
        except OSError as error:
            channel.close()
            raise ContainerError(f"the shim of container {self._id} went away: {error.strerror}") from error
        except BaseException:
            channel.close()
            raise
        return channel

    def leave(self) -> None:
        """Have the shim kill its container, if that is still there, and end; one that does not answer is killed."""
        channel = self._connect()
        if channel is None:
            return
        with channel:
            try:
                wire.send(channel, messages.QUIT)
                if _readable(channel, _PATIENCE) and not wire.receive(channel, 0)[0]:
                    return
                if _kill_peer(channel):
                    return
            except (BrokenPipeError, ConnectionResetError):
                return
        raise ContainerError(f"the shim of container {self._id} does not end")

    def _ask_status(self, deadline: float | None) -> int | None:
        channel = self._connect()
        if channel is None:
            return None
        with channel:
            try:
                wire.send(channel, messages.WAIT)
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not _readable(channel, left):
                    raise self._late(left)
                kind, body, _ = wire.receive(channel, 0)
            except (BrokenPipeError, ConnectionResetError):
                return None
        return wire.unpack_number(body) if kind == wire.EXITED else None

    def _pause(self, deadline: float | None) -> None:
        """The shim is there but had no room for us, or is just ending."""
        if deadline is not None and time.monotonic() >= deadline:
            raise self._late(0.0)
        select.select([], [], [], _AGAIN)

    def _late(self, timeout: float | None) -> ContainerTimeout:
        return ContainerTimeout(f"container {self._id} has not ended yet", timeout=timeout or 0.0)

    def _connect(self) -> socket.socket | None:
        """A connection to the shim; None when nobody listens. The directory must be one that only we may enter."""
        try:
            place = os.open(
                f"{self._root}/{self._id}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            info = os.fstat(place)
            if info.st_uid not in (0, os.geteuid()) or stat.S_IMODE(info.st_mode) & 0o077:
                raise ContainerError(f"state directory of container {self._id}: open to somebody else")
            # The whole path may be too long for an address.
            channel.connect(f"/proc/self/fd/{place}/{messages.SOCKET}")
        except (FileNotFoundError, ConnectionRefusedError):
            channel.close()
            return None
        except BaseException:
            channel.close()
            raise
        finally:
            os.close(place)
        return channel


def _kill_peer(channel: socket.socket) -> bool:
    """SIGKILL to the process that listens at the other end, by a pidfd that is provably its; whether it has ended."""
    raw = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = _CREDENTIALS.unpack(raw)[0]
    if pid <= 0:
        return False  # of a PID namespace that we do not see
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if _readable(channel, 0):  # it let go of the connection: by now the number may be another's
            return True
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return _readable(pidfd, _PATIENCE)
    finally:
        os.close(pidfd)


def _readable(channel: _socket.socket | int, timeout: float | None) -> bool:
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    return bool(poller.poll(None if timeout is None else timeout * 1000))
