"""The parent, for a moment, of a further process that is to outlive its caller; a fork of the launcher.

It ends when the process is let go, so the kernel gives that to the next subreaper at once. Were the launcher its parent
its status would be known only when the launcher ends; and the process, once it has ended, would be in the way of its
container's end: the first process of a PID namespace ends when all others are reaped.
"""

from __future__ import annotations

import _signal
import _socket
import os
import select

from ociworks._linux import process
from ociworks.runtime._init import spawn, wire
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final, NoReturn

    from ociworks.runtime._init.spawn import Enter

__all__ = ["main"]

_SIGKILL: Final = 9


def main(
    request: Mapping[str, Any], fds: Sequence[int], last_capability: int, enter: Enter | None
) -> NoReturn:
    """Make the process, wait until it is let go.

    ``fds``: the monitor, the caller's pidfd, and those of the spawn; ``enter`` as :func:`spawn.spawn` has it.
    """
    try:
        monitor, caller, *given = process.keep_only(fds)
        _carry(_socket.socket(fileno=monitor), caller, request, given, last_capability, enter)
    finally:
        os._exit(0)


def _carry(
    monitor: _socket.socket,
    caller: int,
    request: Mapping[str, Any],
    given: Sequence[int],
    last_capability: int,
    enter: Enter | None,
) -> None:
    try:
        pid, pidfd = spawn.spawn(request, given, last_capability, enter=enter)
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else ""
        wire.send(
            monitor, wire.FAILED, wire.pack_failure(error.errno or 0, 0, "spawn", error.strerror or "", name)
        )
        return
    except StepError as error:
        wire.send(monitor, wire.FAILED, wire.pack_failure(error.number, 0, "spawn", error.text, error.path))
        return
    for fd in given:
        os.close(fd)
    if not _let_go(monitor, caller, pid, pidfd):
        _signal.pidfd_send_signal(pidfd, _SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)


def _let_go(monitor: _socket.socket, caller: int, pid: int, pidfd: int) -> bool:
    """Answer the caller, tell the end if that comes first; False when the caller is gone or wants it no more."""
    poller = select.poll()
    for fd in (monitor.fileno(), caller, pidfd):
        poller.register(fd, select.POLLIN)
    try:
        wire.send(monitor, wire.SPAWNED, wire.pack_number(pid), [pidfd])
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if monitor.fileno() in ready:
                return wire.receive(monitor)[0] == wire.KEEP
            if caller in ready:
                return False
            poller.unregister(pidfd)
            wire.send(
                monitor,
                wire.EXITED,
                wire.pack_number(wire.exit_status(os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT))),
            )
    except (OSError, wire.ProtocolError):
        return False
