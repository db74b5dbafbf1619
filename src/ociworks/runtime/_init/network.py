"""A network namespace made ahead, while nobody waits: it takes the kernel longer than all others of a container.

It is new and used once. One that nobody uses for a while is closed.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import struct

from ociworks._linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

__all__ = ["Ahead", "bring_loopback_up", "clone_inside"]

_PATIENCE: Final = 10.0
"""Seconds."""
_NAMESPACE: Final = "/proc/self/ns/net"
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


class Ahead:
    """At most one namespace, once one was needed."""

    def __init__(self) -> None:
        self._made = -1
        self._wanted = False

    @property
    def missing(self) -> bool:
        """Whether there is something to make."""
        return self._wanted and self._made < 0

    @property
    def patience(self) -> float:
        """How many seconds the launcher may be idle before it calls :meth:`close`; -1 for ever."""
        return _PATIENCE if self._made >= 0 else -1

    def make(self) -> None:
        """Make one. Where that cannot be, containers get theirs from their clone."""
        self._wanted = False
        try:
            self._made = _new()
        except OSError:
            return

    def take(self, flags: int, operations: Sequence[Sequence[Any]]) -> int:
        """A namespace for a clone with these flags and a plan, which the caller closes; -1 when there is none for it.

        One of a new user namespace must be made in that, and its loopback interface is up.
        """
        if flags & (process.CLONE_NEWNET | process.CLONE_NEWUSER) != process.CLONE_NEWNET:
            return -1
        if ("loopback_up",) not in operations:
            return -1
        self._wanted = True
        made, self._made = self._made, -1
        return made

    def close(self) -> None:
        """Nobody needs it any more."""
        if self._made >= 0:
            os.close(self._made)
        self._made = -1


def _new() -> int:
    own = _open()
    try:
        process.unshare(process.CLONE_NEWNET)
        try:
            bring_loopback_up()
            return _open()
        finally:
            _return(own)
    finally:
        os.close(own)


def bring_loopback_up() -> None:
    """Bring the loopback interface of our network namespace up, if it is not."""
    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("16xh", fcntl.ioctl(control.fileno(), _SIOCGIFFLAGS, request))[0]
        if not flags & _IFF_UP:
            request = struct.pack("16sh14x", b"lo", flags | _IFF_UP)
            fcntl.ioctl(control.fileno(), _SIOCSIFFLAGS, request)
    finally:
        control.close()


def clone_inside(network: int, flags: int, cgroup: int) -> tuple[int, int]:
    """:func:`ociworks._linux.process.clone`, with ``network`` in the place of a new network namespace.

    The child is born in it: at no moment is it in ours, which somebody who looks at it could take for its own.
    """
    own = _open()
    process.setns(network, process.CLONE_NEWNET)
    try:
        pid, pidfd = process.clone(flags & ~process.CLONE_NEWNET, cgroup=cgroup)
    except OSError:
        _return(own)
        raise
    if pid:
        _return(own)
    os.close(own)
    return pid, pidfd


def _open() -> int:
    return os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)


def _return(own: int) -> None:
    """Go back to our namespace, or end: nothing may go on in a container's."""
    try:
        process.setns(own, process.CLONE_NEWNET)
    except OSError as error:
        raise SystemError(f"cannot return to the network namespace: {error.strerror}") from error
