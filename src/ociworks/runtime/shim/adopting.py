"""A shim that has a program make its container: the program writes down its first process, which the shim adopts."""

from __future__ import annotations

import _signal
import os

from ociworks.runtime._init import programs
from ociworks.runtime._init.context import StepError
from ociworks.runtime.shim.supervise import Shim

__all__ = ["Adopting"]


class Adopting(Shim):
    """What such shims share."""

    def adopt(self, pid_file: str) -> tuple[int, int]:
        """The first process, by a file in the state directory; it must have become our child."""
        pid = programs.read_pid(f"{self.request['claim']}/{pid_file}")
        if not pid:
            raise StepError("the program wrote no pid file", "", 0)
        try:
            init = os.pidfd_open(pid)
            os.waitid(os.P_PIDFD, init, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except (ProcessLookupError, ChildProcessError):
            raise StepError("the process that the program left behind is not its child", "", 0) from None
        return pid, init

    def end_children(self) -> None:
        """Kill what a program left that did not make a container of it; nothing else is our child by then."""
        while children := programs.children():
            for pid in children:
                os.kill(pid, _signal.SIGKILL)  # our child, not reaped yet
                os.waitid(os.P_PID, pid, os.WEXITED)

    def unlink(self, name: str) -> None:
        """Remove a file from the state directory, if it is there."""
        try:
            os.unlink(name, dir_fd=self.claim.place)
        except FileNotFoundError:
            return
