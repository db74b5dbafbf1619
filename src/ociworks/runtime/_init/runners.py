"""In the launcher: small programs that wait for the list of a first process (``_listed.first``), one made ahead.

A runner is a child of the launcher without an interpreter (``_linux.calls``): next to no memory that a clone would have
to copy. It has a new network namespace, which takes the kernel longer than all others of a container, and is used once.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import os
import struct

from ociworks._linux import calls, process
from ociworks._linux.calls import CallList
from ociworks.runtime import _cgroupfs
from ociworks.runtime._init import entry, listed, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = ["Runner", "Runners"]

_PATIENCE: Final = 10.0
"""Seconds."""
_CHANNEL: Final = 0
_AF_INET, _SOCK_DGRAM, _SIOCSIFFLAGS, _IFF_UP = 2, 2, 0x8914, 1
_PID: Final = struct.Struct("=i")


class Runner:
    """One that waits."""

    def __init__(self, *, network: bool) -> None:
        """Start it, in a network namespace of its own with ``network``."""
        self._channel, theirs = _socket.socketpair(
            _socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
        )
        try:
            self._channel.send(_NETWORK if network else _PLAIN)
            self._pid = entry.start(theirs.fileno(), name="ociworks-runner")
        except BaseException:
            self._channel.close()
            raise
        finally:
            theirs.close()

    def begin(self, request: Mapping[str, Any], fds: Sequence[int], groups: int) -> None:
        """Have it carry the list of ``request`` out, with these descriptors. OSError when it cannot, and is gone."""
        unified = -1
        try:
            unified = _cgroupfs.open_unified(request["unified"])
            sent = (*fds, *(fd for fd in (groups, unified) if fd >= 0))
            rights = struct.pack(f"{len(sent)}i", *sent)
            control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
            self._channel.sendmsg([request["list"]], control)
        except OSError as error:
            self.close()
            raise OSError(error.errno, error.strerror, wire.LISTED) from None
        finally:
            if unified >= 0:
                os.close(unified)

    def end(self) -> tuple[int, int]:
        """The first process and a pidfd of it. OSError when it could not be made."""
        try:
            kind, body, _ = wire.receive(self._channel)
        finally:
            self.close()
        if kind == wire.SPAWNED and len(body) == _PID.size:
            (pid,) = _PID.unpack(body)
            return pid, os.pidfd_open(pid)
        number = wire.unpack_failure(body)[0] if kind == wire.FAILED else errno.EPIPE
        raise OSError(number, os.strerror(number), wire.LISTED)

    def kill(self) -> None:
        """End what :meth:`begin` began."""
        try:
            _, pidfd = self.end()
        except OSError:
            return
        _signal.pidfd_send_signal(pidfd, listed.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)

    def close(self) -> None:
        """Wait for its end: it has made a process, or reads the end of file, whoever else has our end."""
        try:
            self._channel.shutdown(_socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
        self._channel.close()
        os.waitpid(self._pid, 0)


class Runners:
    """At most one that waits, of the kind that was needed last."""

    def __init__(self) -> None:
        self._made: Runner | None = None
        self._network = False
        self._wanted = False

    @property
    def missing(self) -> bool:
        """Whether there is one to make."""
        return self._wanted and self._made is None

    @property
    def patience(self) -> float:
        """How many seconds the launcher may be idle before it calls :meth:`close`; -1 for ever."""
        return _PATIENCE if self._made is not None else -1

    def make(self) -> None:
        """Make one. Where that cannot be, it is tried again when it is needed."""
        self._wanted = False
        try:
            self._made = Runner(network=self._network)
        except OSError:
            return

    def take(self, request: Mapping[str, Any]) -> Runner:
        """One for this request. Raises OSError when there is none, which no caller has to hear of."""
        network = bool(request["flags"] & process.CLONE_NEWNET)
        made, self._made = self._made, None
        if made is not None and network != self._network:
            made.close()
            made = None
        self._network, self._wanted = network, True
        try:
            return made or Runner(network=network)
        except OSError as error:
            raise OSError(error.errno, error.strerror, wire.LISTED) from None

    def close(self) -> None:
        """Nobody needs it any more."""
        if self._made is not None:
            self._made.close()
        self._made = None


def _waiting(*, network: bool) -> bytes:
    """The list of a runner that waits: what it needs for itself, then the list that it receives."""
    here = CallList()
    here.report(_CHANNEL, wire.FAILED + wire.pack_failure(0, 0, wire.LISTED, "runner", ""))
    here.call("prctl", listed.SET_PDEATHSIG, listed.SIGKILL)
    here.call("prctl", listed.SET_DUMPABLE, 0)
    here.call("umask", 0)
    here.call("close_range", _CHANNEL + 1, listed.EVERY)
    if network:
        here.call("unshare", process.CLONE_NEWNET)
        here.call("socket", _AF_INET, _SOCK_DGRAM, 0, expected=_CHANNEL + 1)
        here.call("ioctl", _CHANNEL + 1, _SIOCSIFFLAGS, here.put(struct.pack("=16sh14x", b"lo", _IFF_UP)))
        here.call("close", _CHANNEL + 1)
    over = here.receive(_CHANNEL, calls.LATER, calls.LATER_SPACE)
    here.call("go", calls.LATER)
    here.land(over)
    here.call("exit_group", 0)
    return here.finish()


_PLAIN: Final = _waiting(network=False) if calls.SUPPORTED else b""
_NETWORK: Final = _waiting(network=True) if calls.SUPPORTED else b""
