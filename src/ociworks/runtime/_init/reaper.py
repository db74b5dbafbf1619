"""A helper that runs other runtimes' programs and is the parent of what they leave behind.

A runtime such as runc ends when its container is created; the container's first process is then adopted by the nearest
subreaper (prctl(2)), and only that one learns its exit status. One thread, one loop, like the launcher; requests are:

=============  ==================================================================================================
``run``        start a program; its pid and status come over the monitor, and if it wrote a pid file and ended well,
               pid and status of the process that it left behind; of one that outlives us only the pid: the status is
               for whoever adopts it
``hold``       a shim to fork, which has a program make a container that outlives us all; it answers itself
``restore``    the same of a container that criu restores
``forsake``    kill a shim that does not answer
``trust``      a program to run when the caller is gone and has not said ``forget``
``forget``     of that name, also what would go of a container that criu restored
``scratch``    a directory to make, and to remove when the caller is gone
=============  ==================================================================================================
"""

from __future__ import annotations

import _signal
import _socket
import os
import select
import sys

from ociworks._linux import path, process
from ociworks.runtime import _cgroupfs, _cgroupkill
from ociworks.runtime._init import beside, programs, wire
from ociworks.runtime.shim import foreign, restored
from ociworks.runtime.shim.debris import discard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, NoReturn

__all__ = ["main"]

_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NAME: Final = 15
_NAME: Final = b"ociworks-reaper"


class Command:
    """A program that runs."""

    def __init__(self, monitor: _socket.socket, request: Mapping[str, Any], mark: str) -> None:
        self.monitor = monitor
        self.name: str = request["name"]
        self.pid_file: str = request["pid_file"]
        self.outlives: bool = request["outlives"]
        self.mark = mark
        """Of a criu that restores: by which its siblings are known; empty of other programs."""


class Remains:
    """What there is of a container beside its processes; its directory tells it from another of the same name."""

    def __init__(self, directory: str, groups: Sequence[str], made: Sequence[str]) -> None:
        self.directory = directory
        self.groups = groups
        self.made = made
        self._number = os.stat(directory).st_ino

    def remove(self) -> None:
        """Remove it, unless somebody else has. Raises OSError."""
        if os.stat(self.directory).st_ino == self._number:
            if _cgroupfs.remove(self.made, timeout=0):
                _cgroupfs.kill(self.groups)
                _cgroupfs.remove(self.made)
            discard(self.directory)


class Reaper:
    """The loop's state: what runs, what was left behind, what must be done in the end."""

    def __init__(self, control: _socket.socket, caller: int) -> None:
        self.control = control
        self.caller = caller
        self.commands: dict[int, Command] = {}
        self.restored = 0
        """How many times criu was started."""
        self.adopted: dict[int, Command] = {}
        """The processes that commands left behind, by pid."""
        self.kept: set[int] = set()
        """Processes left behind that somebody else is to adopt."""
        self.trusts: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}
        self.remains: dict[str, Remains] = {}
        """What goes with the caller of the containers that criu restored, by name."""
        self.scratches: list[str] = []
        self.shims: dict[int, tuple[int, str]] = {}
        """Pidfds and callers' tokens of those that we forked, by pid."""
        self.woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(wake)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serve until the caller is gone, then keep its trusts."""
        poll = select.poll()
        for fd in (self.control.fileno(), self.caller, self.woken):
            poll.register(fd, select.POLLIN)
        try:
            while self._serve([fd for fd, _ in poll.poll()]):
                pass
        finally:
            self._abandon()

    def _serve(self, ready: Sequence[int]) -> bool:
        if self.woken in ready:
            os.read(self.woken, 4096)
            self._reap()
        if self.caller in ready:
            return False
        if self.control.fileno() in ready:
            frame = wire.receive_frame(self.control)
            if frame is None:
                return False
            self._handle(*frame)
        return True

    def _handle(self, request: Mapping[str, Any], fds: list[int]) -> None:
        monitor = _socket.socket(fileno=fds[0])
        try:
            match request["kind"]:
                case "run":
                    self._start(request, monitor, fds[1:])
                    return
                case "hold" | "restore" as kind:
                    self._hold(foreign.main if kind == "hold" else restored.main, request, monitor, fds[1:])
                    return
                case "forsake":
                    self._forsake(request["name"])
                case "trust":
                    self.trusts[request["name"]] = (request["argv"], request["env"])
                case "forget":
                    self.trusts.pop(request["name"], None)
                    self.remains.pop(request["name"], None)
                case _:
                    os.mkdir(request["directory"], 0o700)
                    self.scratches.append(request["directory"])
            _tell(monitor, wire.DONE)
            monitor.close()
        except OSError as error:
            text, name = error.strerror or "", error.filename if isinstance(error.filename, str) else ""
            _tell(monitor, wire.FAILED, wire.pack_failure(error.errno or 0, 0, request["kind"], text, name))
            monitor.close()
        finally:
            for fd in fds[1:]:
                os.close(fd)

    def _start(self, request: Mapping[str, Any], monitor: _socket.socket, fds: Sequence[int]) -> None:
        self._bury()
        mark = ""
        if request["root"] is None:
            pid = programs.start(request["argv"], request["env"], fds)
        else:
            self.restored += 1
            mark = f"{os.getpid()}.{self.restored}"
            self.remains[request["name"]] = Remains(*request["remains"])
            pid = beside.start(request["argv"], {**request["env"], beside.MARK: mark}, fds, request["root"])
        self.commands[pid] = Command(monitor, request, mark)
        pidfd = os.pidfd_open(pid)
        _tell(monitor, wire.SPAWNED, wire.pack_number(pid), [pidfd])
        os.close(pidfd)

    def _hold(
        self,
        main: Callable[[Mapping[str, Any], Sequence[int]], NoReturn],
        request: Mapping[str, Any],
        monitor: _socket.socket,
        fds: Sequence[int],
    ) -> None:
        """Fork the shim of a container that another program makes."""
        pid, pidfd = process.clone(0)
        if pid == 0:
            main(request, (monitor.fileno(), self.caller, *fds))
        monitor.close()
        self.shims[pid] = (pidfd, request["shim"]["token"])

    def _forsake(self, token: str) -> None:
        """Kill a shim and wait for its end."""
        for pid, (pidfd, held) in list(self.shims.items()):
            if held == token:
                _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
                self._ended(pid, 0)

    def _reap(self) -> None:
        """What has ended of those that somebody asks about, and the rest once no command may name one of them."""
        while any(self._take(pid) for pid in (*self.commands, *self.adopted)):
            pass
        while not self.commands and (stray := _ended_child()) and stray not in self.kept:
            self._take(stray)

    def _take(self, pid: int) -> bool:
        """Reap a process that has ended; False for one that has not, or that is not our child yet."""
        try:
            result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return False
        if result is None:
            return False
        killed = result.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        self._ended(pid, -result.si_status if killed else result.si_status)
        return True

    def _ended(self, pid: int, status: int) -> None:
        command = self.commands.pop(pid, None)
        if command is not None:
            if status and command.mark:
                self._end_unfinished(command)
            _tell(command.monitor, wire.EXITED, wire.pack_number(status))
            left = programs.read_pid(command.pid_file) if status == 0 and command.pid_file else 0
            if left:
                self._adopt(left, command)
            else:
                command.monitor.close()
        elif pid in self.adopted:
            monitor = self.adopted.pop(pid).monitor
            _tell(monitor, wire.EXITED, wire.pack_number(status))
            monitor.close()
        elif pid in self.shims:
            os.close(self.shims.pop(pid)[0])

    def _adopt(self, pid: int, command: Command) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            command.monitor.close()  # never ours: its status is lost
            return
        _tell(command.monitor, wire.SPAWNED, wire.pack_number(pid), [pidfd])
        os.close(pidfd)
        if command.outlives:
            self.kept.add(pid)
            self.remains.pop(command.name, None)
            command.monitor.close()
        else:
            self.adopted[pid] = command

    def _end_unfinished(self, command: Command) -> None:
        """Kill what criu had made so far, as siblings of its own, when it failed or was killed."""
        known = {*self.commands, *self.adopted, *self.kept, *self.shims}
        named = programs.read_pid(command.pid_file)
        while found := [
            pid
            for pid in programs.children()
            if pid not in known and (pid == named or _is_marked(pid, command.mark))
        ]:
            for pid in found:
                os.kill(pid, _signal.SIGKILL)  # our child, not reaped yet
                os.waitid(os.P_PID, pid, os.WEXITED)

    def _bury(self) -> None:
        """Reap those that were kept and have ended: we are asked for something else, and not about to end."""
        self.kept -= {pid for pid in self.kept if self._take(pid)}

    def _abandon(self) -> None:
        """The caller is gone: end what it restored, run what it entrusted us with, remove its scratch directories."""
        for pid, command in [*self.commands.items(), *self.adopted.items()]:
            if command.mark:
                os.kill(pid, _signal.SIGKILL)  # our child, not reaped yet
                os.waitid(os.P_PID, pid, os.WEXITED)
                self._end_unfinished(command)
        for remains in self.remains.values():
            try:
                remains.remove()
            except OSError:
                continue
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for argv, env in self.trusts.values():
            try:
                pid = programs.start(argv, env, (null, null, null))
                os.waitpid(pid, 0)
            except OSError:
                continue
        for directory in self.scratches:
            try:
                path.remove_tree(directory)
            except OSError:
                continue


def _ended_child() -> int:
    """The pid of a child that has ended, which stays as it is; 0 when there is none."""
    try:
        result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return result.si_pid if result is not None else 0


def _is_marked(pid: int, mark: str) -> bool:
    """Whether a process is the criu that was started with a mark, or was made by that and is no other program yet."""
    try:
        environment = _cgroupkill.read_text(f"/proc/{pid}/environ")
    except OSError:
        return False
    return f"{beside.MARK}={mark}" in environment.split("\0")


def _tell(monitor: _socket.socket, kind: bytes, body: bytes = b"", fds: Sequence[int] = ()) -> None:
    """Send on a monitor; a caller that no longer listens is not an error."""
    try:
        wire.send(monitor, kind, body, fds)
    except OSError:
        return


def main(control_fd: int, caller_pid: int) -> None:
    """Run the reaper on its control channel; never returns."""
    process.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_IGN)
    control = _socket.socket(fileno=control_fd)
    sys.meta_path.clear()
    try:
        Reaper(control, os.pidfd_open(caller_pid)).run()
    except BaseException as error:  # noqa: BLE001 - the boundary of the process: the caller hears of it
        control.send(f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")[:1024])
    finally:
        os._exit(0)
