"""The caller's side of the reaper: run other runtimes' programs, hear how they and what they leave behind end."""

from __future__ import annotations

import _socket
import os
from collections.abc import Sequence
from typing import Any

from ociworks.errors import LauncherError
from ociworks.runtime._init import wire
from ociworks.runtime.launcher.client import Launcher, Spawned, until_reported

__all__ = ["Reaper"]


class Reaper(Launcher):
    """A running reaper. ``close`` ends it, after it has done what it was entrusted with."""

    module = "ociworks.runtime._init.reaper"

    def start(
        self,
        argv: Sequence[str],
        fds: Sequence[int],
        pid_file: str = "",
        *,
        root: tuple[object, ...] | None = None,
        outlives: bool = False,
        name: str = "",
        remains: tuple[str, tuple[str, ...], tuple[str, ...]] | None = None,
    ) -> Spawned:
        """Start a program (an absolute path and arguments) with these descriptors as 0, 1, 2 and so on.

        With ``root`` (what ``_init.beside`` takes: a directory, another one, the plain form of an overlay or None, and
        so on) it has a mount namespace of its own, in which the first directory, or the overlay, is mounted on the
        second; when it fails or is killed, what it has made ends with it. With ``pid_file``, :meth:`left_behind` tells
        more; with ``outlives``, what is left behind is for whoever adopts it, who alone learns its status. ``remains``
        of the container ``name`` (its directory, its control groups, and all that were made for it) go with the caller,
        unless it said :meth:`forget`.

        Raises CreateFailed when it cannot be started.
        """
        request: dict[str, Any] = {
            "kind": "run",
            "argv": tuple(argv),
            "env": dict(os.environ),
            "pid_file": pid_file,
            "root": root,
            "outlives": outlives,
            "name": name,
            "remains": remains,
        }
        monitor = self._ask(request, tuple(fds))
        try:
            pid, pidfd = self._spawned(monitor)
        except BaseException:
            monitor.close()
            raise
        return Spawned(pid, pidfd, monitor, monitor)

    def hold(self, request: dict[str, Any], fds: Sequence[int], patience: float) -> Spawned:
        """Have a shim made that has a program make a container (``shim.foreign``); the container's first process.

        Raises CreateFailed with the step ``create``, and the path ``program`` for a failure that the program told;
        LauncherError when the shim does not report in time.
        """
        monitor = self._ask({"kind": "hold", **request}, tuple(fds))
        try:
            until_reported(monitor, request["claim"].rpartition("/")[2], patience)
            pid, pidfd = self._spawned(monitor)
        except BaseException:
            monitor.close()
            raise
        return Spawned(pid, pidfd, monitor, monitor)

    def restore(self, request: dict[str, Any], fds: Sequence[int]) -> _socket.socket:
        """Have a shim made that has criu restore a container (``shim.restored``); its monitor, for :meth:`restored`."""
        return self._ask({**request, "kind": "restore"}, tuple(fds))

    def restored(self, monitor: _socket.socket, name: str, patience: float) -> Spawned:
        """The first process of what was restored. Raises CreateFailed and LauncherError as :meth:`hold`."""
        until_reported(monitor, name, patience)
        pid, pidfd = self._spawned(monitor)
        return Spawned(pid, pidfd, monitor, monitor)

    def left_behind(self, command: Spawned) -> Spawned:
        """The process that a command left behind, after the command ended well; the command's channel becomes its."""
        kind, body, fds = wire.receive(command.monitor)
        if kind != wire.SPAWNED:
            raise LauncherError("the program did not say which process it left behind")
        return Spawned(wire.unpack_number(body), fds[0] if fds else -1, command.monitor, command.monitor)

    def trust(self, name: str, argv: Sequence[str]) -> None:
        """Have a program run when this process is gone."""
        request: dict[str, Any] = {
            "kind": "trust",
            "name": name,
            "argv": tuple(argv),
            "env": dict(os.environ),
        }
        self._done(request)

    def forget(self, name: str) -> None:
        """Take a trust back."""
        self._done({"kind": "forget", "name": name})
