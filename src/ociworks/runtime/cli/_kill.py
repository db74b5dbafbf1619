"""``kill``."""

from __future__ import annotations

from _signal import SIGKILL as _SIGKILL

from ociworks.runtime import _cgroupkill, _ending, state
from ociworks.spec.signals import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime.cli._call import Call

__all__ = ["main"]

_CLONE_NEWPID: Final = 0x20000000


def main(call: Call) -> int:
    """Send a signal to the first process, or to all: then also to those that outlived the first."""
    record = call.record()
    text = call.arguments[1].upper() if len(call.arguments) > 1 else "TERM"
    number = 0 if text == "0" else signal_number(text)  # 0 asks whether there is somebody to signal
    if call.flags.flag("all"):
        _ending.signal_all(record.cgroups, number)
        return 0
    if call.custom is not None:
        call.container().kill(number)
        return 0
    with _ending.PidFD(record) as pidfd:
        if pidfd < 0:
            if number == _SIGKILL and _outlived(record):
                return 0
            from ociworks.errors import IllegalTransition

            raise IllegalTransition("container not running")
        _ending.signal_first(record, pidfd, number)
    return 0


def _outlived(record: state.Record) -> bool:
    """Kill those whom the first process did not take along, which it does in a PID namespace of its own."""
    left = () if record.kinds & _CLONE_NEWPID else state.own_groups(record)
    if not _cgroupkill.processes(left):
        return False
    _cgroupkill.kill(left)
    return True
