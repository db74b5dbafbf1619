"""What the operations of one plan share while it executes."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

__all__ = ["Context", "StepError"]


class StepError(Exception):
    """A step failed without an errno of its own, or with a hint; ``number`` is an errno or 0."""

    def __init__(self, text: str, path: str = "", number: int = 0) -> None:
        super().__init__(text)
        self.text, self.path, self.number = text, path, number


class Context:
    """The state of one init: descriptors that later operations need, and what earlier ones found out."""

    def __init__(
        self,
        sync: _socket.socket,
        groups: _socket.socket | None,
        gate: _socket.socket | None,
        last_capability: int,
        host_pid: int,
    ) -> None:
        self.sync = sync
        self.groups = groups
        self.gate = gate
        self.last_capability = last_capability
        self.host_pid = host_pid
        self.root = -1
        self.null = -1
        self.terminal = -1
        self.labels: dict[str, int] = {}
        self.cwd_pending = ""
        self.no_new_privileges = False
        self.outlives = False
        self.passed = 0
        """How many descriptors from 3 on the program inherits."""
        self.listen = 0
        self.home = b""
        self.superblocks: list[int] = []
        self.given: list[int] = []
        """What the launcher opened for binds, by number; -1 for what is used up or was not there."""

    def take(self, number: int) -> int:
        """A descriptor that the launcher gave; it is the caller's from now on."""
        fd, self.given[number] = self.given[number], -1
        return fd

    def close_given(self) -> None:
        """Close what the launcher gave and nobody took."""
        for fd in self.given:
            if fd >= 0:
                os.close(fd)
        self.given = []

    def close(self, name: str) -> None:
        """Close one of the descriptors by attribute name, if it is open."""
        fd = getattr(self, name)
        if fd >= 0:
            os.close(fd)
            setattr(self, name, -1)
