"""A process that is in a scope before the container is.

systemd makes a scope around processes and takes it away when the last has left. The groups must be there, with their
limits, before the container's first process is: so a process of the launcher that only waits goes in first, and ends
as soon as the other has arrived. It ends with the launcher, like everything there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.runtime._cgroupkill import processes
from ociworks.runtime.launcher import Launcher, SpawnRequest
from ociworks.runtime.plan import ops
from ociworks.runtime.plan.build import IN_SCOPE
from ociworks.runtime.stdio import DEVNULL, Streams
from ociworks.runtime.systemd import manager

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ociworks.runtime.launcher import Spawned
    from ociworks.runtime.systemd.scope import Scope

__all__ = ["hold"]


def hold(launcher: Launcher, scope: Scope, directories: Sequence[str]) -> Spawned:
    """Start the scope around a waiting process, which the caller ends. Raises CgroupError; nothing is left then."""
    streams = Streams(DEVNULL, DEVNULL, DEVNULL)
    try:
        request = SpawnRequest(name="@scope", ops=(ops.reach(IN_SCOPE).encode(),))
        holder = launcher.spawn(request, streams.child)
        try:
            manager.start(scope, (holder.pid,), busy=lambda: bool(processes(directories)))
        except BaseException:
            holder.end()
            raise
    finally:
        streams.close()
    return holder
