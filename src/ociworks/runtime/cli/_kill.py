"""``kill``."""

from __future__ import annotations

from ociworks.runtime import _ending
from ociworks.spec.signals import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.cli._call import Call

__all__ = ["main"]


def main(call: Call) -> int:
    """Send a signal to the first process, or to all: then also to those that outlived the first."""
    record = call.record()
    number = signal_number(call.arguments[1].upper() if len(call.arguments) > 1 else "TERM")
    if call.flags.flag("all"):
        _ending.signal_all(record.cgroups, number)
        return 0
    if call.custom is not None:
        call.container().kill(number)
        return 0
    with _ending.PidFD(record) as pidfd:
        if pidfd < 0:
            from ociworks.errors import IllegalTransition

            raise IllegalTransition("container not running")
        _ending.signal_first(record, pidfd, number)
    return 0
