"""What the containers of one Runtime share: the state root and the helper process."""

from __future__ import annotations

import os
import threading

from ociworks._linux.path import remove_tree_at
from ociworks.runtime import cgroups, state
from ociworks.runtime.launcher import Launcher

__all__ = ["Host"]


class Host:
    """The state root, and one launcher that is started when it is first needed."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._helper: Launcher | None = None

    def launcher(self) -> Launcher:
        """The running launcher; a new one after a fork or when the last was closed."""
        with self._lock:
            if self._helper is None or not self._helper.usable:
                self._helper = Launcher()
            return self._helper

    def directory(self) -> str:
        """The state root, made (mode 0700) when it is missing."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        return self.root

    def save(self, record: state.Record) -> None:
        """Write the state file of a container."""
        state.save(os.path.join(self.root, record.id), record)

    def remove(self, container_id: str) -> None:
        """Remove a container that our launcher holds."""
        self.launcher().remove(container_id)

    def remove_foreign(self, record: state.Record) -> None:
        """Remove what a container of another process left; its processes have ended."""
        if record.cgroups:
            cgroups.kill(record.cgroups)
            cgroups.remove(record.cgroups)
        place = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree_at(place, record.id, missing_ok=True)
        finally:
            os.close(place)

    def close(self) -> None:
        """End the launcher and every container that it holds."""
        with self._lock:
            helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()
