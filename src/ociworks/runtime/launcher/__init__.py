"""The caller's side of the launcher: start it, ask it for processes, hear how they end.

``ociworks.runtime._sealed`` starts a bare interpreter from a sealed memfd, if ``_installed`` finds that only root may
write what it runs; ``client`` speaks the protocol of ``_init.wire``, ``request`` is what it asks
for; ``reaper`` is the same for the helper that runs
other runtimes.
"""

from __future__ import annotations

from ociworks.runtime.launcher.client import Launcher, Spawned, reaped
from ociworks.runtime.launcher.request import SpawnRequest

__all__ = ["Launcher", "SpawnRequest", "Spawned", "reaped"]
