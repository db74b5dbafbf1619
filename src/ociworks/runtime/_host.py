"""What the containers of one Runtime share: the state root and the helper process."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ociworks.errors import CgroupError, CreateFailed, LauncherError, NotSupported
from ociworks.runtime import _ending, cgroups, state
from ociworks.runtime._root import check_root
from ociworks.runtime.launcher import Launcher
from ociworks.runtime.shim.debris import sweep_debris

if TYPE_CHECKING:
    from ociworks.runtime._listed.first import Lists
    from ociworks.runtime.container import Container
    from ociworks.runtime.events import Event, EventKind, Watch
    from ociworks.runtime.launcher import Spawned
    from ociworks.runtime.launcher.reaper import Reaper
    from ociworks.runtime.plan import Plan
    from ociworks.runtime.seams import Seams

__all__ = ["Host"]

_log = logging.getLogger(__name__)


class Host:
    """The state root, and one launcher that is started when it is first needed."""

    def __init__(self, root: str, seams: Seams | None = None) -> None:
        self.root = root
        self.seams = seams
        """Those of a custom runtime; None where nothing is overridden, so that nobody needs to be asked."""
        self.watches: tuple[Watch, ...] = ()
        self.start_launcher: Callable[[], Launcher] = Launcher
        self.hierarchies: cgroups.Hierarchies | None = None
        """What a test says in the place of what this host has; see :class:`ociworks.testing.FakeKernel`."""
        self._lock = threading.Lock()
        self._helper: Launcher | None = None
        self._reaper: Reaper | None = None
        self._trusted = False
        self._lists: Lists | None = None
        self._holders: dict[str, Spawned] = {}
        self.restored: set[str] = set()
        """Containers that the reaper removes when we are gone."""
        self.containers: dict[str, Container] = {}
        """Those that this process made and has not deleted."""

    def launcher(self) -> Launcher:
        """The running launcher; a new one after a fork or when the last was closed."""
        with self._lock:
            if self._helper is not None and not self._helper.usable:
                self._helper.close()
                self._helper = None
            if self._helper is None:
                self._helper = self.start_launcher()
                sweep_debris(self.root)
            return self._helper

    def lists(self) -> Lists | None:
        """The lists of system calls that first processes of runs are made by; None for a test's launcher."""
        if self.hierarchies is not None:
            return None
        if self._lists is None:
            from ociworks.runtime._listed.first import Lists

            self._lists = Lists()
        return self._lists

    def reaper(self) -> Reaper:
        """The parent of restored containers."""
        from ociworks.runtime.launcher.reaper import Reaper

        with self._lock:
            if self._reaper is None or not self._reaper.usable:
                self._reaper = Reaper()
            return self._reaper

    def directory(self) -> str:
        """The state root, made (mode 0700) when it is missing. ContainerError when somebody else may write in it."""
        if not self._trusted or not os.path.isdir(self.root):
            os.makedirs(self.root, mode=0o700, exist_ok=True)
            check_root(self.root)
            self._trusted = True
        return self.root

    def save(self, record: state.Record, config: bytes) -> None:
        """Write the state and the configuration of a container."""
        state.save(self.root, record, config)

    def remove(self, name: str) -> bool:
        """Remove what our launcher holds under this name; False when the launcher that held it is gone."""
        with self._lock:
            helper = self._helper
        if helper is None or not helper.usable:
            return False
        try:
            helper.remove(name)
        except LauncherError:
            return False
        except CreateFailed as error:
            if error.errno == errno.ENOENT:  # it never held that one: criu restored it
                return False
            raise
        return True

    def forsake(self, token: str) -> None:
        """End a shim of ours that does not answer; when its launcher is gone there is nobody who holds it."""
        with self._lock:
            helper = self._helper
        if helper is not None and helper.usable:
            with contextlib.suppress(LauncherError):
                helper.forsake(token)

    def hold(self, planned: Plan) -> None:
        """Start the container's scope, if systemd keeps its groups, with something in it until :meth:`let_go`."""
        scope = planned.cgroup.scope
        if scope is not None:
            from ociworks.runtime.systemd.holder import hold

            held = hold(self.launcher(), scope, planned.cgroup.directories)
            self._holders[planned.container_id] = held

    def let_go(self, name: str, scope: str = "", pid: int = 0) -> None:
        """The container itself is in its scope now, or goes there: ``pid`` is to be moved, where only systemd may."""
        if pid:
            from ociworks.runtime.systemd import manager

            manager.attach(scope, pid)
        held = self._holders.get(name)
        if held is not None:
            held.end()

    def leave(self, planned: Plan) -> None:
        """End the scope of a container that is gone, if :meth:`hold` started it."""
        scope = planned.cgroup.scope
        if scope is not None and planned.container_id in self._holders:
            self.let_go(planned.container_id)
            self.leave_scope(planned.container_id, scope.key, planned.cgroup.directories)

    def leave_scope(self, name: str, scope: str, groups: Sequence[str]) -> None:
        """Wait until systemd has forgotten a scope whose groups we have emptied; in use again, it is another's."""
        self._holders.pop(name, None)
        if not scope or cgroups.processes(groups):
            return
        from ociworks.runtime.systemd import manager

        try:
            manager.stop(scope)
        except (CgroupError, NotSupported) as error:
            _log.warning("container %s is gone, but its unit may not be: %s", name, error)

    def remove_empty(self, groups: Sequence[str]) -> None:
        """Remove control groups of which nobody wrote down whose they are; one in use is somebody else's."""
        with contextlib.suppress(CgroupError):
            cgroups.remove(groups)

    def sweep(
        self, name: str, groups: Sequence[str], shared: Sequence[str], resctrl: Sequence[str] = ()
    ) -> None:
        """Remove what no launcher holds (any more): processes by control group, the groups, the state."""
        _ending.sweep(self.root, name, groups, shared, resctrl)
        if name in self.restored:
            self.restored.discard(name)
            with contextlib.suppress(LauncherError):
                self.reaper().forget(name)

    @property
    def watched(self) -> bool:
        """Whether anybody wants to know what happens."""
        return self.seams is not None or bool(self.watches)

    def tell(
        self,
        kind: EventKind,
        container_id: str,
        pid: int = 0,
        returncode: int | None = None,
        *,
        oom: bool | None = None,
    ) -> None:
        """Report an event to those who listen."""
        if self.watched:
            from ociworks.runtime.events import Event

            self._tell(Event(kind=kind, container_id=container_id, pid=pid, returncode=returncode, oom=oom))

    def _tell(self, event: Event) -> None:
        for watch in self.watches:
            watch.put(event)
        if self.seams is not None:
            self.seams.on_event(event)

    def close(self) -> None:
        """Delete every container, and end the launcher."""
        try:
            for container in tuple(self.containers.values()):
                container.__exit__()
        finally:
            self.containers.clear()
            with self._lock:
                helpers = (self._helper, self._reaper)
                self._helper = self._reaper = None
            for helper in helpers:
                if helper is not None:
                    helper.close()
