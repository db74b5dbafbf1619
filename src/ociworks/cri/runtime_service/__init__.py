"""RuntimeService: functions of a node and a request, thin. Each file is one group.

- ``status``: Version, Status, RuntimeConfig, UpdateRuntimeConfig
- ``pods``, ``containers``: their lives; ``checkpoints``: on disk
- ``streams``: ExecSync, Exec, Attach, PortForward
- ``usage``: stats and metrics; ``events``: GetContainerEvents
"""

from __future__ import annotations

from ociworks.cri.runtime_service import checkpoints, containers, events, pods, status, streams, usage

__all__ = ["GROUPS"]

GROUPS = (status, pods, containers, streams, usage, events, checkpoints)
"""The modules; each RPC is a function of one of them, by its name in words joined by underscores."""
