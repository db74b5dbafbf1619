"""The process that holds a process namespace which containers share: 8 KiB, without privileges, in an empty root.

It is made stopped at a gate: it stays only if somebody says so, after everything that finds it again is on disk.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

from ociworks._linux import process
from ociworks.cri.sandbox.options import IdMap
from ociworks.cri.sandbox.program import assemble
from ociworks.errors import PodError
from ociworks.runtime._init.pod import PROGRAM, into_an_empty_root
from ociworks.spec.numbers import parse_uint

__all__ = ["Holder", "end", "is_alive"]

_NOBODY: Final = 65534
_PATIENCE: Final = 30.0
"""Seconds for the kernel to end everything in a process namespace."""
_SIGNALS: Final = [number for number in range(1, signal.NSIG) if number not in (9, 19, 32, 33)]


class Holder:
    """A process in the making, as a context manager: leaving it without :meth:`keep` ends the process.

    Its user and group are nobody's, or the last ones that are mapped. It stays in the control groups of this process:
    to move another one takes the kernel milliseconds, and it uses nothing.
    """

    def __init__(self, uids: Sequence[IdMap] = (), gids: Sequence[IdMap] = ()) -> None:
        self.program = assemble(_nobody(uids), _nobody(gids))
        self.pid = 0
        """Once it is there."""
        self._kept = self._ours = False
        self._gate, self.gate = socket.socketpair()

    def spawn(self) -> None:
        """Make it, as the first process of a new namespace, by a thread of its own that ends afterwards."""
        process.unshare(process.CLONE_NEWPID | process.CLONE_NEWNS)
        into_an_empty_root(self.program)
        gate = self.gate.fileno()
        actions = [(os.POSIX_SPAWN_DUP2, gate, 0), *((os.POSIX_SPAWN_CLOSE, fd) for fd in (1, 2))]
        self._ours = True
        self.pid = os.posix_spawn(
            PROGRAM,
            ["ociworks-pause"],
            {},
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_SIGNALS,
        )

    @property
    def identity(self) -> str:
        """What finds it again, and no other one: pid and start time."""
        return f"{self.pid}/{_look(self.pid)[0]}"

    def keep(self) -> None:
        """Let it stay from now on; it has dropped what it had when this returns."""
        identity = self.identity
        self.gate.close()
        try:
            self._gate.sendall(b"G")
            self._kept = not self._gate.recv(1) and is_alive(identity)
        except OSError:
            self._kept = False
        if not self._kept:
            raise PodError("process namespace: its first process ended at once")

    def close(self) -> None:
        """Close what is ours; without :meth:`keep`, it ends."""
        self.gate.close()
        self._gate.close()
        if self.pid and self._ours and not self._kept:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_alive(identity: str) -> bool:
    """Whether the process of this identity is there."""
    pid, started = _parse(identity)
    return _look(pid) == (started, True)


def end(identity: str) -> None:
    """Kill it, and with it everything in its namespace; returns when all is gone. Again is harmless."""
    pid, started = _parse(identity)
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _look(pid)[0] != started:
            return
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(_PATIENCE * 1000):
            raise PodError(f"process {pid} is still there {_PATIENCE:g} seconds after SIGKILL")
        with suppress(ChildProcessError):  # ours, unless another server made it
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _nobody(maps: Sequence[IdMap]) -> int:
    if not maps or any(inside <= _NOBODY < inside + length for inside, _, length in maps):
        return _NOBODY
    return max(inside + length - 1 for inside, _, length in maps)


def _parse(identity: str) -> tuple[int, int]:
    pid, _, started = identity.partition("/")
    return parse_uint(pid, 1 << 31, "pid"), parse_uint(started, 1 << 63, "start time")


def _look(pid: int) -> tuple[int, bool]:
    """When a process started, in ticks since boot, and whether it has not ended; 0 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, False
    return int(fields[19]), fields[0] not in (b"Z", b"X")  # trusted: the kernel's
