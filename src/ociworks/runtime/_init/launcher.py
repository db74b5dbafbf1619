"""The helper process: makes containers' processes, waits for them, and cleans up when its caller is gone.

One thread, one loop. It holds a *trust* per container: the state directory, control groups and scratch directories
that exist because of it. A trust ends with ``remove``, or when the caller ends in whatever way (the control channel
closes, or its pidfd says so): then everything in it is killed and removed. ``release`` gives a trust back: the
container then outlives us, and its first process becomes a child of whoever adopts it. What a shim holds
(``ociworks.runtime.shim``, a fork of this process) was never ours; only :mod:`detaching` makes them.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import gc
import os
import select
import sys
import time

from ociworks._linux import capabilities, process
from ociworks._linux.libc import address
from ociworks.runtime import _cgroupbpf, _cgroupfs, _cgroupkill
from ociworks.runtime._init import porter, spawn, wire
from ociworks.runtime._init.context import StepError
from ociworks.runtime._init.network import Ahead
from ociworks.runtime._init.trust import Trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, NoReturn, TypeAlias

    from ociworks.runtime._init.runners import Runners
    from ociworks.runtime._init.spawn import Enter

    Shim: TypeAlias = Callable[[Mapping[str, Any], Sequence[int], int], NoReturn]

__all__ = ["main"]

_SIGKILL: Final = 9
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_NAME: Final = b"ociworks"
_PATIENCE: Final = 10.0
"""Seconds; the kernel ends a killed process in milliseconds unless something foreign holds it."""


class Process:
    """One child that we wait for."""

    def __init__(
        self,
        pid: int,
        monitor: _socket.socket,
        trust: Trust | None,
        *,
        is_init: bool,
        request: Mapping[str, Any],
    ) -> None:
        self.name = request["name"]
        """The container's."""
        self.pid = pid
        self.monitor = monitor
        self.trust = trust
        self.is_init = is_init
        self.ephemeral = request["ephemeral"]
        self.outlives = request["outlives"]
        """Somebody else is to learn its status."""


class Launcher:
    """The loop's state: the control channel, the children by pidfd, and the trusts by name."""

    def __init__(
        self,
        control: _socket.socket,
        caller: int,
        shim: Shim | None,
        enter: Enter | None,
        runners: Runners | None,
    ) -> None:
        self.control = control
        self.caller = caller
        self.shim = shim
        self.children: dict[int, Process] = {}
        self.released: set[int] = set()
        """Children that nobody asks us about any more, by pidfd."""
        self.shims: dict[int, str] = {}
        """Forked for detached containers (and execs): their callers' tokens, by pidfd."""
        self.trusts: dict[str, Trust] = {}
        self.shared: set[str] = set()
        """Parents of control groups that stay, while we do, for the next container."""
        self.poll = select.epoll()
        self.last_capability = capabilities.last_capability()
        self.enter = enter
        self.network, self.runners = Ahead(), runners
        self.ahead = (self.network,) if runners is None else (self.network, runners)

    def run(self) -> None:
        """Serve until the caller is gone, then remove everything."""
        for fd in (self.control.fileno(), self.caller):
            self.poll.register(fd, select.EPOLLIN)
        try:
            while self._serve():
                pass
        finally:
            if self.runners is not None:
                self.runners.close()
            self._abandon()

    def _serve(self) -> bool:
        for fd, _ in self._wait():
            if fd == self.caller:
                return False
            if fd == self.control.fileno():
                frame = wire.receive_frame(self.control)
                if frame is None:
                    return False
                self._handle(*frame)
            elif fd in self.children:
                self._reap(fd)
            elif fd in self.shims:
                self._shim_ended(fd)
        return True

    def _wait(self) -> list[tuple[int, int]]:
        """What is to be looked at. While it is nothing, what is made ahead is made, or closed unused."""
        ready: list[tuple[int, int]] = []
        for ahead in self.ahead:
            if not ready and ahead.missing and not (ready := self.poll.poll(0)):
                ahead.make()
        ready = ready or self.poll.poll(max(ahead.patience for ahead in self.ahead))
        if not ready:
            for ahead in self.ahead:
                ahead.close()
            ready = self.poll.poll()
        return ready

    def _handle(self, request: Mapping[str, Any], fds: list[int]) -> None:
        monitor = _socket.socket(fileno=fds[0])
        try:
            match request["kind"]:
                case "spawn":
                    self._bury()
                    self._maker(request)(request, monitor, fds[1:])
                    return
                case "remove":
                    self._remove(request["name"])
                case "release":
                    self._release(request["name"])
                case "forsake":
                    self._forsake(request["name"])
                case _:
                    self._scratch(request["name"], request["directory"])
            _tell(monitor, wire.DONE)
        except OSError as error:
            name = error.filename if isinstance(error.filename, str) else ""
            _fail(monitor, error.errno or 0, request["kind"], error.strerror or "", name)
        except StepError as error:
            _fail(monitor, error.number, request["kind"], error.text, error.path)
        finally:
            for fd in fds[1:]:
                os.close(fd)

    def _maker(
        self, request: Mapping[str, Any]
    ) -> Callable[[Mapping[str, Any], _socket.socket, list[int]], None]:
        """Who makes a process: a shim the first of a detached container, a porter a further one that outlives us."""
        if request["shim"] is not None:
            return self._detach
        return self._carry if request["outlives"] and not request["claim"] else self._spawn

    def _carry(self, request: Mapping[str, Any], monitor: _socket.socket, fds: Sequence[int]) -> None:
        """Fork the porter of a detached exec; it answers the caller itself."""
        pid, pidfd = process.clone(0)
        if pid == 0:
            porter.main(request, (monitor.fileno(), self.caller, *fds), self.last_capability, self.enter)
        monitor.close()
        self.shims[pidfd] = ""
        self.poll.register(pidfd, select.EPOLLIN)

    def _detach(self, request: Mapping[str, Any], monitor: _socket.socket, fds: Sequence[int]) -> None:
        """Fork the shim of a detached container; it answers the caller itself."""
        if self.shim is None:
            raise StepError("this launcher makes no shims", request["name"], errno.ENOSYS)
        pid, pidfd = process.clone(0)
        if pid == 0:
            self.shim(request, (monitor.fileno(), self.caller, *fds), self.last_capability)
        monitor.close()
        self.shims[pidfd] = request["shim"]["token"]
        self.poll.register(pidfd, select.EPOLLIN)

    def _shim_ended(self, pidfd: int) -> None:
        """Its status says nothing; that of its container is on disk."""
        del self.shims[pidfd]
        self.poll.unregister(pidfd)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)

    def _reap_porters(self) -> None:
        """Those that let go are about to end, and the others see that the caller is gone: nobody is to adopt them."""
        for pidfd in [pidfd for pidfd, token in self.shims.items() if not token]:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            if poller.poll(_PATIENCE * 1000):
                self._shim_ended(pidfd)

    def _forsake(self, token: str) -> None:
        """Kill a shim that does not answer, wait for its end; its init asked the kernel to die with it."""
        for pidfd in [pidfd for pidfd, held in self.shims.items() if held == token]:
            _signal.pidfd_send_signal(pidfd, _SIGKILL)
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            if not poller.poll(_PATIENCE * 1000):
                raise StepError(f"still there {_PATIENCE} s after SIGKILL", token, errno.EBUSY)
            self._shim_ended(pidfd)

    def _spawn(self, request: Mapping[str, Any], monitor: _socket.socket, fds: Sequence[int]) -> None:
        trust = self._claim(request) if request["claim"] else self.trusts.get(request["name"])
        if trust is not None and request["claim"]:
            try:
                pid, pidfd = self._first_process(trust, request, fds)
            except BaseException:
                self._drop(request["name"])
                raise
            trust.close_gate()
            trust.init = pidfd
        else:
            pid, pidfd = spawn.spawn(request, fds, self.last_capability, enter=self.enter)
        is_init = bool(request["claim"])
        child = Process(pid, monitor, trust, is_init=is_init, request=request)
        self.children[pidfd] = child
        self.poll.register(pidfd, select.EPOLLIN)
        _tell(monitor, wire.SPAWNED, wire.pack_number(pid), [pidfd], last=False)

    def _first_process(self, trust: Trust, request: Mapping[str, Any], fds: Sequence[int]) -> tuple[int, int]:
        if request["list"]:
            if self.runners is None:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), wire.LISTED)
            return trust.run(request, fds, self.runners.take(request))
        network = self.network.take(request["flags"], request["ops"])
        try:
            return trust.first_process(request, fds, self.last_capability, network)
        finally:
            if network >= 0:
                os.close(network)

    def _claim(self, request: Mapping[str, Any]) -> Trust:
        """Make the state directory (its name is the container's) and take what comes into trust."""
        directory = request["claim"]
        os.mkdir(directory, 0o700)
        trust = self.trusts[request["name"]] = Trust(directory, self.shared)
        if request["cgroup"] is not None:
            trust.making = _cgroupfs.Making(request["cgroup"], _cgroupbpf.attach)
            trust.groups = request["groups"]
            self.shared |= {f"{parent}/" for parent in request["cgroup"][2]}
        return trust

    def _scratch(self, name: str, directory: str) -> None:
        os.mkdir(directory, 0o700)
        self.trusts[name] = Trust(directory, self.shared)

    def _remove(self, name: str) -> None:
        trust = self.trusts.get(name)
        if trust is None:
            raise StepError("nothing of this name is held here", name, errno.ENOENT)
        self._end(trust)
        self._drop(name)

    def _release(self, name: str) -> None:
        """Forget a container: it outlives us."""
        trust = self.trusts.pop(name, None)
        for pidfd, child in list(self.children.items()):
            if child.name == name and child.is_init:
                child.monitor.close()
                del self.children[pidfd]
                self.poll.unregister(pidfd)
                self.released.add(pidfd)
        if trust is not None:
            trust.init = -1

    def _bury(self) -> None:
        """Reap released children that have ended: only for a new process, or to end a container.

        Mostly we are about to end: then their status belongs to whoever adopts them, also that of one which ended
        before its release was asked for.
        """
        for pidfd in list(self.released):
            if os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG) is not None:
                self.released.discard(pidfd)
                os.close(pidfd)

    def _end(self, trust: Trust) -> None:
        """Kill a container's init and wait for it; its PID namespace ends with it."""
        if trust.init in self.children:
            init = trust.init
            self.children[init].outlives = False
            _signal.pidfd_send_signal(init, _SIGKILL)
            _cgroupkill.thaw_all(trust.groups)
            if not self._reap_until(lambda: init not in self.children):
                raise StepError(f"still there {_PATIENCE} s after SIGKILL", trust.directory, errno.EBUSY)

    def _reap_until(self, done: Callable[[], bool]) -> bool:
        """Reap children in the order in which they end; False when that takes too long.

        Waiting for one alone would be a deadlock: the init of a PID namespace ends only when all others in it are
        reaped, and those of an exec, or of a container that joined the namespace, are our children too; released ones
        are among them.
        """
        deadline = time.monotonic() + _PATIENCE
        while not done():
            self._bury()
            poller = select.poll()
            for pidfd in (*self.children, *self.released):
                poller.register(pidfd, select.POLLIN)
            left = deadline - time.monotonic()
            ended = poller.poll(left * 1000) if left > 0 else []
            if not ended:
                return False
            for pidfd, _ in ended:
                if pidfd in self.children:
                    self._reap(pidfd)
        return True

    def _drop(self, name: str) -> None:
        trust = self.trusts.get(name)
        if trust is not None:
            trust.remove()
            del self.trusts[name]

    def _reap(self, pidfd: int) -> None:
        child = self.children.pop(pidfd)
        self.poll.unregister(pidfd)
        if child.outlives:  # only look: its status is for whoever adopts it
            result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
            self.released.add(pidfd)
        else:
            result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        if not child.outlives:
            os.close(pidfd)
        if child.is_init and child.trust is not None:
            child.trust.init = -1
            if child.ephemeral:
                self._drop_ephemeral(child.trust)
        _tell(child.monitor, wire.EXITED, wire.pack_number(wire.exit_status(result)))

    def _drop_ephemeral(self, trust: Trust) -> None:
        """Remove what a one-off run leaves; if that fails the trust stays, and ``remove`` will say why."""
        for name, held in list(self.trusts.items()):
            if held is trust:
                try:
                    trust.remove()
                except (OSError, StepError):
                    return
                del self.trusts[name]

    def _abandon(self) -> None:
        """The caller is gone: end every process and remove everything, whatever single steps say."""
        for pidfd in list(self.children):
            try:
                _signal.pidfd_send_signal(pidfd, _SIGKILL)
            except ProcessLookupError:
                continue
        for trust in self.trusts.values():
            _cgroupkill.thaw_all(trust.groups)
        self._reap_until(lambda: not self.children)
        self._reap_porters()
        for name in list(self.trusts):
            try:
                self._drop(name)
            except (OSError, StepError):
                continue
        _cgroupfs.remove(tuple(self.shared), timeout=0)


def _tell(
    monitor: _socket.socket, kind: bytes, body: bytes = b"", fds: Sequence[int] = (), *, last: bool = True
) -> None:
    """Send on a monitor; a caller that no longer listens is not an error."""
    try:
        wire.send(monitor, kind, body, fds)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):
            raise
    finally:
        if last:
            monitor.close()


def _fail(monitor: _socket.socket, number: int, step: str, text: str, name: str) -> None:
    _tell(monitor, wire.FAILED, wire.pack_failure(number, 0, step, text, name))


def main(
    control_fd: int,
    caller_pid: int,
    shim: Shim | None = None,
    enter: Enter | None = None,
    runners: Runners | None = None,
) -> None:
    """Run the launcher on its control channel; never returns.

    ``shim`` is what a fork becomes that is to hold a detached container. ``enter`` and ``runners`` make processes by
    lists of system calls; without them, all are made by interpreters.
    """
    process.prctl(_PR_SET_NAME, address(_NAME))
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_IGN)
    process.default_internal_signals()
    control = _socket.socket(fileno=control_fd)
    sys.meta_path.clear()
    gc.disable()
    try:
        Launcher(control, os.pidfd_open(caller_pid), shim, enter, runners).run()
    except BaseException as error:  # noqa: BLE001 - the boundary of the process: the caller hears of it
        control.send(f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")[:1024])
    finally:
        os._exit(0)
