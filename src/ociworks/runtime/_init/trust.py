"""What exists because of one container and must go with it; held by the launcher, or by the container's shim."""

from __future__ import annotations

import _signal
import _socket
import errno
import os

from ociworks._linux import path
from ociworks.runtime import _cgroupfs, _cgroupkill
from ociworks.runtime._init import resctrl, spawn
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence
    from typing import Any, Final

    from ociworks.runtime._init.runners import Runner

__all__ = ["Trust"]

_SIGKILL: Final = 9


class Trust:
    """A state directory, the control groups of one container, and the socket at which it waits to be started."""

    def __init__(self, directory: str, shared: Container[str]) -> None:
        self.directory = directory
        self.shared = shared
        self.init = -1
        self.making: _cgroupfs.Making | None = None
        self.groups: Sequence[str] = ()
        self.gate: _socket.socket | None = None
        self.resctrl: Sequence[str] = ()
        """Resource control groups, children first."""
        self.discard: Callable[[str], None] = _discard
        """Removes the directory."""

    def open_gate(self, name: str) -> None:
        """Bind the socket at which the init will wait; the directory's whole path may be too long for an address."""
        place = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.gate = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            self.gate.bind(f"/proc/self/fd/{place}/{name}")
        finally:
            os.close(place)

    def close_gate(self) -> None:
        """Close our end; the init has its own."""
        if self.gate is not None:
            self.gate.close()
        self.gate = None

    def first_process(
        self, request: Mapping[str, Any], fds: Sequence[int], last_capability: int, network: int = -1
    ) -> tuple[int, int]:
        """Make an init, and the rest of its control groups while it makes its mounts; then let it enter them.

        ``network`` is a network namespace that was made ahead.
        """
        if request["gate"] and self.gate is None:
            self.open_gate(request["gate"])
        gate = self.gate.fileno() if self.gate is not None else -1
        if request["resctrl"]:
            self.resctrl = resctrl.make(*request["resctrl"])
        making = self.making
        if making is None:
            return spawn.spawn(request, fds, last_capability, gate=gate, network=network)
        making.first()
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            try:
                pid, pidfd = spawn.spawn(
                    request, fds, last_capability, groups=theirs.fileno(), gate=gate, network=network
                )
            finally:
                theirs.close()
            try:
                making.rest()
                spawn.admit(ours, request["tasks"])
            except BaseException:
                _signal.pidfd_send_signal(pidfd, _SIGKILL)
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
                os.close(pidfd)
                raise
            return pid, pidfd
        finally:
            ours.close()

    def run(self, request: Mapping[str, Any], fds: Sequence[int], runner: Runner) -> tuple[int, int]:
        """The same by a list of system calls, which a runner carries out."""
        making = self.making
        if making is None:
            runner.begin(request, fds, -1)
            return runner.end()
        try:
            making.first()
        except BaseException:
            runner.close()
            raise
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            try:
                runner.begin(request, fds, theirs.fileno())
            finally:
                theirs.close()
            try:
                making.rest()
                expected = _cgroupfs.placed(request["membership"], _cgroupkill.read_text("/proc/self/cgroup"))
                spawn.admit(ours, request["tasks"], expected)
            except BaseException:
                runner.kill()
                raise
            return runner.end()
        finally:
            ours.close()

    def remove(self) -> None:
        """Remove the control groups, after killing what is left in them, and the state directory; again is harmless.

        Mostly nothing is left: all processes ended with the PID namespace.
        """
        if self.making is not None:
            made = [group for group in self.making.made if group not in self.shared]
            self.making.left_to_systemd()
            if _cgroupfs.remove(made, timeout=0):
                _cgroupfs.kill(self.groups)
                busy = _cgroupfs.remove(made)
                if busy:
                    raise StepError("the control group is still in use", busy[0], errno.EBUSY)
        self.making = None
        resctrl.remove(self.resctrl)
        self.resctrl = ()
        self.close_gate()
        self.discard(self.directory)


def _discard(directory: str) -> None:
    """Remove a state directory; that of a one-off run is empty."""
    try:
        os.rmdir(directory)
    except OSError:
        path.remove_tree(directory)
