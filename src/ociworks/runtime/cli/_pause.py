"""``pause`` and ``resume``."""

from __future__ import annotations

from ociworks.runtime import _cgroupkill, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.cli._call import Call

__all__ = ["main"]


def main(call: Call) -> int:
    """Freeze every process of a container, or let them go on."""
    root, record = call.root, call.record()
    if call.custom is not None:
        container = call.container()
        container.pause() if call.command == "pause" else container.resume()
        return 0
    with state.Lock(root, record.id):
        status = state.status(root, record)
        if call.command == "pause":
            _pause(record, status)
        else:
            _resume(record, status)
    return 0


def _pause(record: state.Record, status: str) -> None:
    from ociworks.errors import CgroupError, IllegalTransition

    if status not in ("created", "running"):
        raise IllegalTransition("container not running")
    if not record.cgroups:
        raise CgroupError(f"container {record.id} has no control group to pause it by")
    if not _cgroupkill.freeze(record.cgroups):
        raise CgroupError(f"container {record.id} could not be paused in time")


def _resume(record: state.Record, status: str) -> None:
    if status != "paused":
        from ociworks.errors import IllegalTransition

        raise IllegalTransition("container not paused")
    _cgroupkill.thaw(record.cgroups)
