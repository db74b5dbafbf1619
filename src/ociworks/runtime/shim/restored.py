"""The shim of a container that criu restores.

::

    reaper ──clone──> shim ──clone3──> criu
                       └──parent of──> init             (criu makes it its sibling)

It is the caller who speaks with criu, and who writes down the pid once criu has told it; the shim makes the control
groups, gives criu our ends of the container's streams, and waits for its end. What it does from then on is what every
shim does (``supervise``). It is not the parent by which the init dies: when somebody kills this shim, the container
goes on, without a log, and its status is lost.
"""

from __future__ import annotations

import _signal
import os
import select

from ociworks._linux import process
from ociworks.runtime._init import beside, wire
from ociworks.runtime._init.context import StepError
from ociworks.runtime.shim.adopting import Adopting
from ociworks.runtime.shim.supervise import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final, NoReturn

__all__ = ["CRIU", "PID", "ROOT", "main"]

CRIU: Final = "criu"
"""The step of a failure that criu told: why is in its log."""
PID: Final = "criu.pid"
"""The file in the state directory with the pid of what was restored."""
ROOT: Final = "criu-root"
"""The directory there on which criu has the root filesystem."""
_CHANNEL: Final = 3


def main(request: Mapping[str, Any], fds: Sequence[int]) -> NoReturn:
    """Be the shim of the container that ``request`` has criu restore.

    ``fds`` are the monitor, the caller's pidfd, what criu gets from descriptor 3 on (its channel first), and the
    directory of the log file, if there is one.
    """
    try:
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        enter()
        monitor, caller, *rest = process.keep_only(fds)
        given = request["given"]
        _Restored(request, monitor, caller, rest[given:], rest[:given]).run()
    finally:
        os._exit(1)


class _Restored(Adopting):
    """The state of one such shim."""

    def __init__(
        self,
        request: Mapping[str, Any],
        monitor: int,
        caller: int,
        log: Sequence[int],
        given: Sequence[int],
    ) -> None:
        super().__init__(request, monitor, caller, log)
        self._given = given

    def make(self, streams: Sequence[int]) -> tuple[int, int]:
        """Have criu restore it, as our child."""
        making = self.claim.trust.making
        if making is not None:
            making.first()
            making.rest()
        os.mkdir(ROOT, 0o755, dir_fd=self.claim.place)
        try:
            status = self._run_criu(streams)
            if status == beside.NOT_STARTED:
                raise StepError("criu cannot be executed with this root filesystem")
            if status:
                raise StepError("", CRIU)
            return self.adopt(PID)
        finally:
            self.unlink(PID)
            os.rmdir(ROOT, dir_fd=self.claim.place)

    def remove(self) -> None:
        """End whatever criu had made so far, too."""
        self.end_children()
        self.claim.remove()

    def _run_criu(self, streams: Sequence[int]) -> int:
        """Its status. It may take as long as it needs, as long as whoever speaks with it waits."""
        fds = (*streams, *self._given)
        pid = beside.start(self.request["argv"], self.request["env"], fds, self.request["root"])
        for fd in self._given:
            os.close(fd)
        ended = os.pidfd_open(pid)
        try:
            return self._until_ended(ended)
        finally:
            os.close(ended)

    def _until_ended(self, ended: int) -> int:
        """Wait for criu. When nobody waits for the container any more, everything is undone."""
        poll = select.poll()
        for fd in (ended, self.caller, self.monitor.fileno()):
            poll.register(fd, select.POLLIN)
        if ended not in [fd for fd, _ in poll.poll()]:
            self.abandon()
        return wire.exit_status(os.waitid(os.P_PIDFD, ended, os.WEXITED))
