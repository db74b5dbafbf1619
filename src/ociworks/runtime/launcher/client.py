"""One launcher process, as the caller sees it. Any thread may ask; requests are independent of each other."""

from __future__ import annotations

import _signal
import _socket
import os
import select
from _thread import allocate_lock

from ociworks.errors import CreateFailed, ExitStatusUnknown, LauncherError
from ociworks.runtime import _sealed
from ociworks.runtime._init import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociworks.runtime.launcher.request import SpawnRequest

__all__ = ["Launcher", "Spawned", "reaped", "until_reported"]


class Spawned:
    """A process that the launcher made: its pid, its pidfd, and the two channels to it."""

    def __init__(self, pid: int, pidfd: int, monitor: _socket.socket, sync: _socket.socket) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.monitor = monitor
        self.sync = sync
        self.adopted = False
        """Somebody else is its parent now, or we are."""
        self._status: int | None = None
        self._lock = allocate_lock()

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status (negative: the signal that killed it), or None when ``timeout`` seconds passed first."""
        if self._status is not None:
            return self._status
        if self.adopted:
            return self._wait_adopted(timeout)
        poller = select.poll()
        poller.register(self.monitor, select.POLLIN)
        if not poller.poll(None if timeout is None else max(0.0, timeout) * 1000):
            return None
        with self._lock:
            if self._status is None:
                kind, body, _ = wire.receive(self.monitor)
                if kind != wire.EXITED:
                    raise LauncherError("the launcher ended; it takes its containers with it")
                self._status = wire.unpack_number(body)
            return self._status

    def _wait_adopted(self, timeout: float | None) -> int | None:
        """The same of a process that was let go; ExitStatusUnknown when it is not we who adopted it."""
        if not self._ended(None if timeout is None else max(0.0, timeout) * 1000):
            return None
        with self._lock:
            if self._status is None:
                self._status = reaped(self.pidfd)
        if self._status is None:
            raise ExitStatusUnknown(f"process {self.pid} has ended; who adopted it has its status")
        return self._status

    def alive(self) -> bool:
        """Whether it has not ended yet; the kernel's word, also when the launcher is gone."""
        return self._status is None and self.pidfd >= 0 and not self._ended(0)

    def _ended(self, timeout: float | None) -> bool:
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(timeout))

    def kill(self) -> None:
        """SIGKILL, if it is still there."""
        try:
            _signal.pidfd_send_signal(self.pidfd, _signal.SIGKILL)
        except ProcessLookupError:
            return

    def end(self) -> None:
        """Kill it if it is still there, wait for its end, close the descriptors."""
        try:
            if self.pidfd >= 0:
                self.kill()
                self._ended(None)
                if not self.adopted:
                    self.wait()
        finally:
            self.close()

    def let_go(self) -> None:
        """Have the porter of a process that outlives us end: whoever adopts the process learns its status.

        Raises LauncherError when the porter is gone, and the process with it.
        """
        try:
            wire.send(self.monitor, wire.KEEP)
            while (kind := wire.receive(self.monitor)[0]) == wire.EXITED:
                pass
        except OSError as error:
            raise LauncherError(f"the process could not be let go: {error.strerror}") from error
        if kind:
            raise LauncherError("the launcher broke its protocol")
        self.adopted = True

    def close(self) -> None:
        """Close the descriptors; the process goes on."""
        self.monitor.close()
        self.sync.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class _Once:
    """Ends a launcher, once, whoever asks first."""

    def __init__(self, pid: int, control: _socket.socket, owner: int) -> None:
        self._left = [(pid, control, owner)]

    @property
    def done(self) -> bool:
        """Whether it was asked to."""
        return not self._left

    def __call__(self) -> None:
        try:
            pid, control, owner = self._left.pop()
        except IndexError:
            return
        _finish(pid, control, owner)


class Launcher:
    """A running launcher. ``close`` ends it and everything that it holds.

    It ends with this object at the latest. ``started`` is one that :func:`ociworks.runtime._sealed.start` has started
    already, its pid and our end; that one ends with this process at the latest.
    """

    module = "ociworks.runtime._init.detaching"
    """What the helper process runs."""

    def __init__(self, started: tuple[int, int] | None = None) -> None:
        self.pid, control = started or _sealed.start(self.module)
        self._control = _socket.socket(fileno=control)
        self._lock = allocate_lock()
        self._owner = os.getpid()
        self._ending = _Once(self.pid, self._control, self._owner)
        if started is None:
            import weakref

            weakref.finalize(self, self._ending)

    @property
    def usable(self) -> bool:
        """Whether this process may ask it: it is there, not closed, and we are not a fork of its caller."""
        return not self._ending.done and self._owner == os.getpid() and not self._gone()

    def close(self) -> None:
        """End the launcher, wait until it has cleaned up; again is harmless."""
        self._ending()

    def spawn(
        self,
        request: SpawnRequest,
        streams: tuple[int, ...],
        pidfd: int = -1,
        passed: tuple[int, ...] = (),
    ) -> Spawned:
        """Make a process. ``streams`` become its standard streams; ``pidfd`` names the container to join.

        ``passed`` become its descriptors from 3 on. A shim makes the streams; it gets the directory of its log file in
        their place, or nothing.

        Raises CreateFailed when there is no process; later failures come over ``Spawned.sync``. LauncherError when
        a shim does not report in time; it is the caller's to end (:meth:`forsake`).
        """
        _check_open(passed)
        sync, init_sync = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            try:
                fds = (init_sync.fileno(), *streams, *((pidfd,) if pidfd >= 0 else ()), *passed)
                monitor = self._ask(request.encode(), fds)
            finally:
                init_sync.close()
            try:
                if request.shim is not None:
                    until_reported(monitor, request.name, request.shim["patience"])
                pid, new_pidfd = self._spawned(monitor)
            except BaseException:
                monitor.close()
                raise
        except BaseException:
            sync.close()
            raise
        return Spawned(pid, new_pidfd, monitor, sync)

    def remove(self, name: str) -> None:
        """Kill what is left of a container and remove everything that exists because of it."""
        self._done({"kind": "remove", "name": name})

    def release(self, name: str) -> None:
        """Forget a container: it outlives the launcher, and somebody adopts it."""
        self._done({"kind": "release", "name": name})

    def forsake(self, token: str) -> None:
        """Kill the shim that was asked for with this token, if it is still there, and wait for its end."""
        self._done({"kind": "forsake", "name": token})

    def scratch(self, name: str, directory: str) -> None:
        """Make a private directory that goes, at the latest, with the caller."""
        self._done({"kind": "scratch", "name": name, "directory": directory})

    def _done(self, request: dict[str, Any]) -> None:
        monitor = self._ask(request, ())
        try:
            kind, body, _ = wire.receive(monitor)
            if kind != wire.DONE:
                raise self._failure(kind, body)
        finally:
            monitor.close()

    def _ask(self, request: dict[str, Any], fds: tuple[int, ...]) -> _socket.socket:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            with self._lock:
                wire.send_frame(self._control, request, (theirs.fileno(), *fds))
        except OSError as error:
            ours.close()
            raise LauncherError(f"the launcher does not answer: {self._last_words() or error}") from error
        finally:
            theirs.close()
        return ours

    def _spawned(self, monitor: _socket.socket) -> tuple[int, int]:
        kind, body, fds = wire.receive(monitor)
        if kind != wire.SPAWNED or not fds:
            raise self._failure(kind, body)
        return wire.unpack_number(body), fds[0]

    def _failure(self, kind: bytes, body: bytes) -> CreateFailed | LauncherError:
        if kind != wire.FAILED and not self._gone():
            return LauncherError("the container's shim was killed")
        if kind != wire.FAILED:
            return LauncherError(f"the launcher ended without an answer: {self._last_words() or 'killed?'}")
        number, _, step, text, path = wire.unpack_failure(body)
        where = f": {path}" if path else ""
        return CreateFailed(f"{step}: {text}{where}", step=step, errno=number, path=path)

    def _gone(self) -> bool:
        """Whether it has ended or is about to: it speaks on the control channel only to say why."""
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        return bool(poller.poll(0))

    def _last_words(self) -> str:
        """Why it ended, if it could say; it is ending now."""
        try:
            return self._control.recv(1024).decode("utf-8", "backslashreplace")
        except OSError:
            return ""


def reaped(pidfd: int) -> int | None:
    """The exit status of an ended child of ours (one that we adopted); None when it is somebody else's."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ChildProcessError:
        return None
    return None if result is None else wire.exit_status(result)


def _check_open(passed: tuple[int, ...]) -> None:
    for fd in passed:
        try:
            os.fstat(fd)
        except OSError as error:
            raise CreateFailed(
                f"descriptor {fd}, which is to be passed, is not open",
                step="pass_fds",
                errno=error.errno or 0,
            ) from None


def until_reported(monitor: _socket.socket, name: str, patience: float) -> None:
    """Wait until a shim in the making says something. LauncherError when it does not in time."""
    poller = select.poll()
    poller.register(monitor, select.POLLIN)
    if not poller.poll(patience * 1000):
        raise LauncherError(f"the shim of container {name} did not report within {patience:g} seconds")


def _finish(pid: int, control: _socket.socket, owner: int) -> None:
    """Close the control channel and, in the process that started it, wait for the launcher's end."""
    if os.getpid() != owner:
        control.close()
        return
    control.shutdown(_socket.SHUT_WR)
    while True:
        try:
            if not control.recv(1024):
                break
        except OSError:
            break
    control.close()
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return
