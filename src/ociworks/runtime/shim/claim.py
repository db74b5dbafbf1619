"""A detached container's state directory: made aside, complete, then renamed to the container's name in one step.

Under its own name a container has a state file from the first moment, so whatever is killed when, somebody finds out
what to remove. What is aside (``@new-…``) is locked by who makes it; without a lock it is debris.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os

from ociworks._linux import path
from ociworks.runtime import _cgroupbpf, _cgroupfs
from ociworks.runtime._init.trust import Trust
from ociworks.runtime.shim.aside import aside_of
from ociworks.runtime.shim.debris import LOCKED, discard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = ["Claim"]

_BACKLOG: Final = 16


class Claim:
    """The state directory in the making, and what else will exist because of the container."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request
        self._name = request["claim"]
        self.trust = Trust("", ())
        self.trust.discard = discard
        self.place = -1
        """A descriptor of the directory, on which the lock is."""
        self._lock = -1
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)

    def prepare(self, files: Sequence[tuple[str, bytes]], socket: str) -> None:
        """Make the directory aside, locked, with these files, the gate and the control socket."""
        aside = self._aside()
        self.trust.directory = aside
        self.place = os.open(aside, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        for name, raw in files:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=self.place)
            try:
                if os.write(fd, raw) < len(raw):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            finally:
                os.close(fd)
        if self._request["gate"]:
            self.trust.open_gate(self._request["gate"])
        self.listener.bind(f"/proc/self/fd/{self.place}/{socket}")
        os.chmod(socket, 0o600, dir_fd=self.place)
        self.listener.listen(_BACKLOG)

    def publish(self) -> None:
        """Let the container appear under its name; its control groups may be made from now on."""
        cgroup = self._request["cgroup"]
        groups = () if cgroup is None or cgroup[9] else cgroup[3]  # those of a scope are there already
        for taken in (self._name, *groups):
            if os.path.lexists(taken):
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), taken)
        path.rename_new(self.trust.directory, self._name)
        self.trust.directory = self._name
        if self._request["cgroup"] is not None:
            self.trust.making = _cgroupfs.Making(self._request["cgroup"], _cgroupbpf.attach)
            self.trust.groups = self._request["groups"]

    def unlock(self) -> None:
        """Let others change the container."""
        os.close(self._lock)

    def remove(self) -> None:
        """Remove everything that there is so far."""
        if self.trust.directory:
            self.trust.remove()

    def _aside(self) -> str:
        """A new locked directory. Somebody who tidies up may take one away before it is locked: then another one."""
        while True:
            aside = aside_of(self._name)
            os.mkdir(aside, 0o700)
            try:
                self._lock = os.open(aside, LOCKED)
            except FileNotFoundError:
                continue
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink:
                return aside
            os.close(self._lock)
