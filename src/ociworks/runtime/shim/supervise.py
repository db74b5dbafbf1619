"""One detached container: the process that makes it, is its parent to the end, and leaves its exit status on disk.

::

    launcher ──clone──> shim ──clone3──> init

    making      what exists goes when the caller lets go (end of file, or its end); the directory is locked
    kept        the caller has written the state and said ``K``: from now on nobody is needed
    ended       the init was reaped, the rest of its groups killed, the status written
    drained     its output was read to the end: those who wait are told, then the shim ends

When somebody kills the shim, the kernel kills the init, which asked for that; its status is then unknown.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import fcntl
import os
import struct
import termios
import time

from ociworks._linux import process
from ociworks._linux.libc import address
from ociworks.runtime import _cgroupfs, _cgroupkill
from ociworks.runtime._init import wire
from ociworks.runtime._init.context import StepError
from ociworks.runtime.shim import claim, messages
from ociworks.runtime.shim.clients import Clients
from ociworks.runtime.shim.exits import Exit, Oom
from ociworks.runtime.shim.input import Input
from ociworks.runtime.shim.logfile import LogFile
from ociworks.runtime.shim.loop import NEWS, READ, Loop
from ociworks.runtime.shim.output import Output
from ociworks.runtime.shim.records import Clock, Records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final, NoReturn

__all__ = ["Shim", "enter", "main"]

_SIGKILL: Final = 9
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36
_NAME: Final = b"ociworks-shim"
_TIOCGPTPEER: Final = 0x5441
_DRAIN: Final = 2.0
"""Seconds in which output must end after the container has; somebody else may hold its pipes."""
_OOM_SCORE: Final = b"-998"


def main(request: Mapping[str, Any], fds: Sequence[int], last_capability: int) -> NoReturn:
    """Be the shim of the container that ``request`` describes.

    ``fds`` are the monitor, the caller's pidfd, the sync socket and the directory of the log file, if there is one.
    """
    try:
        enter()
        monitor, caller, sync, *log = process.keep_only(fds)
        _Ours(request, monitor, caller, log, sync, last_capability).run()
    finally:
        os._exit(1)


def enter() -> None:
    """Be a process of our own, the one that adopts what a container leaves behind."""
    os.setsid()
    os.chdir("/")
    process.prctl(_PR_SET_NAME, address(_NAME))
    process.prctl(_PR_SET_CHILD_SUBREAPER, 1)


class Shim:
    """The state of one shim. How its container comes and goes is for those to say who inherit."""

    def __init__(self, request: Mapping[str, Any], monitor: int, caller: int, log: Sequence[int]) -> None:
        self.caller, self.log_directory = caller, log
        self.monitor = _socket.socket(fileno=monitor)
        self.request, self.settings = request, request["shim"]
        self.loop = Loop()
        self.clock = Clock()
        self.log: LogFile | None = None
        self.input: Input | None = None
        self.input_once: bool = self.settings["stdin_once"]
        self.outputs: list[Output] = []
        self.terminal = -1
        self.peer = -1
        self.pid, self.init = 0, -1
        self.kept = False
        self.quitting = False
        self.code: int | None = None
        """The exit status, as soon as the kernel told it."""
        self.status: int | None = None
        """The exit status, once everything that the container wrote was read: what clients are told."""
        self.drained = 0.0

    def run(self) -> None:
        """Make the container and stay until its end; never returns."""
        self.claim = claim.Claim(self.request)
        try:
            self._create()
        except OSError as error:
            self._undo(error.errno or 0, error.strerror or "", _text(error.filename))
        except StepError as error:
            self._undo(error.number, error.text, error.path)
        except Exception as error:  # noqa: BLE001 - the boundary of the process: the caller hears of it
            self._undo(0, f"{type(error).__name__}: {error}", "")
        self._watch()
        while True:
            self._turn()

    # --- making it ------------------------------------------------------------------------------------

    def _create(self) -> None:
        self.claim.prepare(self.settings["files"], messages.SOCKET)
        if self.log_directory:
            name, form, size, count = self.settings["log"]
            self.log = LogFile(self.log_directory[0], name, size, count)
            self.form = form
        self.exit = Exit(self.claim.place)
        self.claim.publish()
        streams, ours = self._streams()
        try:
            self.pid, self.init = self.make(streams)
        finally:
            for fd in set(streams):
                os.close(fd)
        for fd, kind in ours:
            self._output(fd, kind)
        self._count_kills(self.request["groups"])
        _protect()
        wire.send(self.monitor, wire.SPAWNED, wire.pack_number(self.pid), [self.init])

    def make(self, streams: Sequence[int]) -> tuple[int, int]:
        """Make the container with these streams, ready to be started; the pid and pidfd of its first process."""
        raise NotImplementedError

    def _streams(self) -> tuple[tuple[int, int, int], list[tuple[int, bytes]]]:
        """The container's three streams, and our ends of its output; a terminal takes their place later."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if self.settings["terminal"]:
            return (null, null, null), []
        reader = null
        if self.settings["stdin"]:
            os.close(null)
            reader, writer = os.pipe2(os.O_CLOEXEC)
            self._make_input(writer)
        out, child_out = os.pipe2(os.O_CLOEXEC)
        err, child_err = os.pipe2(os.O_CLOEXEC)
        return (reader, child_out, child_err), [(out, messages.STDOUT), (err, messages.STDERR)]

    def _make_input(self, fd: int) -> None:
        self.input = Input(self.loop, fd, self._room, terminal=bool(self.settings["terminal"]))

    def _output(self, fd: int, kind: bytes) -> None:
        records = None
        if self.log is not None:
            records = Records(b"stderr" if kind == messages.STDERR else b"stdout", self.form)
        self.outputs.append(Output(self.loop, fd, lambda data: self._relay(kind, records, data)))

    def _undo(self, number: int, text: str, name: str) -> NoReturn:
        """Creation failed: say why when nothing is left."""
        try:
            self.remove()
        finally:
            self._tell(wire.FAILED, wire.pack_failure(number, 0, "create", text, name))
            os._exit(0)

    def abandon(self) -> NoReturn:
        """The caller let go before the container was complete."""
        try:
            self.remove()
            self._tell(wire.DONE)
        finally:
            os._exit(0)

    def remove(self) -> None:
        """Remove everything that exists because of the container."""
        if self.init >= 0 and self.code is None:
            self._kill()
            os.waitid(os.P_PIDFD, self.init, os.WEXITED)
        self.claim.remove()

    def _kill(self) -> None:
        """Kill the init, frozen or not; no pid is looked up, it is our child."""
        if self.code is None:
            _signal.pidfd_send_signal(self.init, _SIGKILL)
            _cgroupkill.thaw_all(self.request["groups"])

    # --- looking after it -----------------------------------------------------------------------------

    def _watch(self) -> None:
        self.clients = Clients(self.loop, self.claim.listener, self)
        self.loop.watch(self.monitor.fileno(), READ, self._caller_speaks)
        self.loop.watch(self.caller, READ, lambda _: self.abandon())
        self.loop.watch(self.init, READ, self._init_ended)
        wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.loop.watch(wake, READ, lambda _: self._bury(wake))
        _signal.signal(_signal.SIGCHLD, _ignore)
        _signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._orphans()

    def _turn(self) -> None:
        limits = [limit for limit in (self.clients.expire(), self._finish()) if limit is not None]
        self.loop.turn(min(limits) if limits else None)

    def _caller_speaks(self, _events: int) -> None:
        try:
            kind, body, fds = wire.receive(self.monitor)
        except (OSError, wire.ProtocolError):
            kind, body, fds = b"", b"", []
        if kind == wire.CONSOLE and fds and self.terminal < 0:
            self.take_terminal(fds[0])
        elif kind == wire.KEEP:
            self._keep(body)
        else:
            self.abandon()

    def take_terminal(self, master: int) -> None:
        """Hold the terminal and its other side too: it is not hung up when nobody in the container has it open."""
        self.terminal = master
        self.peer = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self._output(os.dup(master), messages.STDOUT)
        if self.settings["stdin"]:
            self._make_input(os.dup(master))

    def _keep(self, groups: bytes) -> None:
        """From here on the container needs nobody. ``groups`` are its control groups, if it is not we who made them."""
        self.kept = True
        if groups:
            self._count_kills(os.fsdecode(groups).split("\0"))
        for fd in (self.monitor.fileno(), self.caller):
            self.loop.forget(fd)
        self.claim.unlock()
        self._tell(wire.DONE)
        self.monitor.close()
        os.close(self.caller)
        self._write_exit()

    def _count_kills(self, groups: Sequence[str]) -> None:
        """For want of memory: as far as others are counted with us, they are told apart when it happens."""
        self.oom = Oom(groups)
        if self.oom.above >= 0:
            self.loop.watch(self.oom.above, NEWS, self._somebody_killed)

    def _somebody_killed(self, _events: int) -> None:
        if not self.oom.look():
            self.loop.forget(self.oom.above)

    def _relay(self, kind: bytes, records: Records | None, data: bytes) -> None:
        """Output of the container: into the log first, then to whoever is attached. No data: it has ended."""
        if records is not None and self.log is not None:
            now = self.clock.now()
            self.log.write(records.feed(data, now) if data else records.end(now))
        if data:
            self.clients.output(kind, data)

    def resize(self, width: int, height: int) -> None:
        """What clients ask: set the terminal's size."""
        if self.terminal < 0:
            raise OSError(errno.ENOTTY, "the container has no terminal")
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def reopen(self) -> None:
        """What clients ask: open the log file again by its name."""
        if self.log is None:
            raise OSError(errno.ENOENT, "the container has no log file")
        self.log.reopen()

    def quit(self) -> None:
        """What clients ask: end the container and then ourselves; it is being deleted."""
        if self.kept:
            self.quitting = True
            self._kill()

    def _room(self) -> None:
        self.clients.room()

    # --- its end --------------------------------------------------------------------------------------

    def _init_ended(self, _events: int) -> None:
        self.loop.forget(self.init)
        self.code = wire.exit_status(os.waitid(os.P_PIDFD, self.init, os.WEXITED))
        self.drained = time.monotonic() + _DRAIN
        self._write_exit()
        self.kill_rest()
        self._orphans()
        if self.terminal >= 0:
            for output in self.outputs:
                output.drain()

    def kill_rest(self) -> None:
        """Kill what did not end with the first process."""
        _cgroupfs.kill(self.request["groups"], timeout=_DRAIN)

    def _write_exit(self) -> None:
        if self.kept and self.code is not None:
            lost = self.log.lost if self.log is not None else 0
            self.exit.publish(self.code, self.clock.now(), lost, oom=self.oom.happened(self.code))

    def _finish(self) -> float | None:
        """After the end: say it when all output was read, and leave when everybody has heard; how long to wait."""
        if self.code is None or not self.kept:
            return None
        if self.status is None:
            left = self.drained - time.monotonic()
            if left > 0 and any(not output.ended for output in self.outputs):
                return left
            for output in self.outputs:
                output.close()
            self.status = self.code
            self.clients.ended(self.code)
        if self.quitting or self.clients.expire() is None:
            os._exit(0)
        return None

    def _bury(self, wake: int) -> None:
        os.read(wake, 4096)
        self._orphans()

    def _orphans(self) -> None:
        """Reap whoever was left to us; never the init, which is waited for by its pidfd."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or (found.si_pid == self.pid and self.code is None):
                return
            os.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG)

    def _tell(self, kind: bytes, body: bytes = b"") -> None:
        try:
            wire.send(self.monitor, kind, body)
        except OSError:
            return  # the caller is gone


class _Ours(Shim):
    """The shim of a container that we make ourselves."""

    def __init__(
        self,
        request: Mapping[str, Any],
        monitor: int,
        caller: int,
        log: Sequence[int],
        sync: int,
        last_capability: int,
    ) -> None:
        super().__init__(request, monitor, caller, log)
        self._sync, self._last_capability = sync, last_capability

    def make(self, streams: Sequence[int]) -> tuple[int, int]:
        """Clone its init."""
        trust = self.claim.trust
        try:
            pid, init = trust.first_process(self.request, (self._sync, *streams), self._last_capability)
        finally:
            os.close(self._sync)
        trust.close_gate()
        trust.init = init
        return pid, init


def _text(name: object) -> str:
    return name if isinstance(name, str) else ""


def _protect() -> None:
    """Be one of the last that the kernel kills for want of memory, where we may say so."""
    try:
        _cgroupkill.write("/proc/self/oom_score_adj", _OOM_SCORE)
    except OSError:
        return


def _ignore(_number: int, _frame: object) -> None:
    """A child ended; the loop is woken up."""
