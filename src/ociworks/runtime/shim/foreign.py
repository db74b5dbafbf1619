"""The shim of a container that another program makes: runc, crun, runsc and their like.

::

    reaper ──clone──> shim ──spawn──> program create
                       └──adopts──> init            (when the program has ended: the shim is the nearest subreaper)

The program gets our ends of the container's streams, writes a pid file into the state directory, and sends a terminal
over a socket in it. What the shim does from then on is what every shim does (``supervise``). It is not the parent by
which the init dies: when somebody kills this shim, the container goes on, without a log, and its status is lost.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import os
import select
import time

from ociworks._linux import process
from ociworks.runtime import _cgroupfs, _cgroupkill
from ociworks.runtime._init import programs, wire
from ociworks.runtime._init.context import StepError
from ociworks.runtime.shim.adopting import Adopting
from ociworks.runtime.shim.supervise import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final, NoReturn

__all__ = ["CONSOLE", "LOG", "PID", "PROGRAM", "main"]

PROGRAM: Final = "program"
"""The step of a failure that the program told: its status is the number, the end of its log the text."""
LOG: Final = "log.json"
PID: Final = "pid"
CONSOLE: Final = "console"
_MAX_LOG: Final = 4000
_LEFT_ALONE: Final = 10.0
"""Seconds for a program to complete a container that nobody waits for any more."""
_PATIENCE: Final = 30.0
"""Seconds for a program that ends a container."""


def main(request: Mapping[str, Any], fds: Sequence[int]) -> NoReturn:
    """Be the shim of the container that ``request`` has a program make.

    ``fds`` are the monitor, the caller's pidfd and the directory of the log file, if there is one.
    """
    try:
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        enter()
        monitor, caller, *log = process.keep_only(fds)
        _Foreign(request, monitor, caller, log).run()
    finally:
        os._exit(1)


class _Foreign(Adopting):
    """The state of one shim of another program's container."""

    _begun = False
    """Whether there may be something that the program made."""
    _absent: Sequence[str] = ()
    """The control groups that the program has to make."""
    _half_made: Sequence[str] = ()
    """Those which it cannot delete: it was killed before it wrote them down."""

    def make(self, streams: Sequence[int]) -> tuple[int, int]:
        """Have the program create it, and adopt its first process."""
        if os.path.lexists(self.request["state"]):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), self.request["state"])
        self._absent = [group for group in self.request["planned"] if not os.path.lexists(group)]
        listener = self._listen() if self.settings["terminal"] else None
        try:
            self._create_by_program(streams, listener)
            return self.adopt(PID)
        finally:
            if listener is not None:
                listener.close()
            for name in (LOG, PID, CONSOLE):
                self.unlink(name)

    def remove(self) -> None:
        """Have the program remove it, too."""
        if self.init >= 0 and self.code is None:
            self._kill()
            os.waitid(os.P_PIDFD, self.init, os.WEXITED)
        _cgroupkill.kill(self._half_made)
        self._orphans()
        if self._begun:
            self._call(self.request["delete"])
        _cgroupfs.remove(self._half_made)
        self.claim.remove()

    def kill_rest(self) -> None:
        """Kill what did not end with the first process: where that was not the first of its PID namespace."""
        if self.request["kill"]:
            self._call(self.request["kill"])

    def _create_by_program(self, streams: Sequence[int], listener: _socket.socket | None) -> None:
        before, after = self.request["argv"]
        argv = [*before, "--pid-file", f"{self.request['claim']}/{PID}"]
        if listener is not None:  # the whole path may be too long for an address
            argv += ["--console-socket", f"/proc/{os.getpid()}/fd/{self.claim.place}/{CONSOLE}"]
        pid = programs.start([*argv, *after], self.request["env"], streams)
        self._begun = True
        ended = os.pidfd_open(pid)
        try:
            self._until(pid, ended, listener)
            status = wire.exit_status(os.waitid(os.P_PIDFD, ended, os.WEXITED))
        finally:
            os.close(ended)
        if status:
            self._begun = False  # by its own word it made nothing
            raise StepError(self._log_end(), PROGRAM, status & 0xFF)

    def _until(self, pid: int, ended: int, listener: _socket.socket | None) -> None:
        """Wait for the program's end, and take the terminal meanwhile. One that takes too long is killed.

        When nobody waits for the container any more, the program still has a while to complete it: one that is killed
        at its work leaves control groups that it has not written down, and cannot delete them later.
        """
        deadline = time.monotonic() + self.settings["patience"]
        callers = (self.caller, self.monitor.fileno())
        poll = select.poll()
        for fd in (ended, *callers, *([listener.fileno()] if listener else ())):
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)]
            if listener is not None and listener.fileno() in ready:
                poll.unregister(listener.fileno())
                self._receive_terminal(listener)
            elif ended in ready:
                return
            elif ready:
                for fd in ready:
                    poll.unregister(fd)
                deadline = min(deadline, time.monotonic() + _LEFT_ALONE)
            else:
                self._cut_short(pid, ended)

    def _cut_short(self, pid: int, ended: int) -> NoReturn:
        os.kill(pid, _signal.SIGKILL)  # our child, not reaped yet
        os.waitid(os.P_PIDFD, ended, os.WEXITED)
        self.end_children()
        self._half_made = self._absent
        raise StepError("the program did not end in time and was killed", "", errno.ETIMEDOUT)

    def _listen(self) -> _socket.socket:
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        listener.bind(f"/proc/self/fd/{self.claim.place}/{CONSOLE}")
        listener.listen(1)
        return listener

    def _receive_terminal(self, listener: _socket.socket) -> None:
        fd, _ = listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what socket.accept calls
        connection = _socket.socket(fileno=fd)
        try:
            connection.settimeout(_PATIENCE)
            _, _, fds = wire.receive(connection)
        finally:
            connection.close()
        if not fds:
            raise StepError("the program sent no terminal", "", 0)
        self.take_terminal(fds[0])

    def _call(self, argv: Sequence[str]) -> None:
        """Run the program for something whose failure changes nothing for us."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            pid = programs.start(argv, self.request["env"], (null, null, null))
        except OSError:
            return  # the program itself is gone
        finally:
            os.close(null)
        ended = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        if not poll.poll(_PATIENCE * 1000):
            os.kill(pid, _signal.SIGKILL)
        os.waitid(os.P_PIDFD, ended, os.WEXITED)
        os.close(ended)

    def _log_end(self) -> str:
        """The last lines of the program's log."""
        try:
            fd = os.open(LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.claim.place)
        except OSError:
            return ""
        try:
            size = os.fstat(fd).st_size
            return os.pread(fd, _MAX_LOG, max(0, size - _MAX_LOG)).decode("utf-8", "backslashreplace")
        finally:
            os.close(fd)
