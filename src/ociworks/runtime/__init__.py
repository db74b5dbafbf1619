"""Containers from Python: plan, launch, execute, end.

Files: ``runtime`` (Runtime), ``_running`` (its ``run``), ``container`` (Container), ``_alike`` (its half that is the
same for other runtimes), ``_first`` (its first process),
``_further`` (begins others), ``process`` (ContainerProcess), ``execs`` (ExecOptions), ``options`` (RunOptions),
``netdevices`` and ``_rtnetlink`` (network devices), ``_points`` (what the following stops for), ``completed``
(CompletedContainer), ``state`` (lifecycle table and state file), ``protocol`` (what every runtime can do), ``binary``
(other people's runtimes), ``features``, ``checkpoint`` with ``_criu``, ``seams`` (what a custom runtime overrides),
``events``, ``ids``, ``stdio``, ``console``, ``overlay`` (OverlayBundle), ``cli`` (the command), ``_making`` (from a
plan to a request), ``_progress`` (follows an init), ``_host`` (what containers share), ``_same`` (a cache key),
``_gate`` (start), ``_sealed`` (starts helpers), ``_installed`` (may it), ``_ending`` (kill and sweep), ``_root``
(where state is), ``_standard`` (streams 0 to 2), ``_command`` (run something else), ``_facts`` (small documents),
``_hooks`` (hooks of the runtime namespaces), ``plan`` (configuration → operations), ``launcher`` (the caller's side
of the helper process), ``_init`` (what runs in the helper and in the container), ``_listed`` (first
processes as lists of system calls), ``detach`` (options and results of
detached containers), ``attach``, ``logs``, ``_shim`` (the caller's side), ``shim`` (the process that holds a detached
container), ``systemd`` (its scopes), ``cgroups`` with ``_cgroupfs``, ``_cgroupkill``, ``_cgroupbpf``,
``_schemata`` (shares of cache that change), and ``seccomp``.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.attach import Attachment, Chunk, DetachKeys
    from ociworks.runtime.binary import BinaryContainer, RuntimeBinary
    from ociworks.runtime.cgroups.counters import ContainerStats
    from ociworks.runtime.cgroups.watch import GroupEvent, GroupWatch, PressureTrigger
    from ociworks.runtime.checkpoint import CheckpointOptions, RestoreOptions
    from ociworks.runtime.completed import CompletedContainer
    from ociworks.runtime.console import Console
    from ociworks.runtime.container import Container
    from ociworks.runtime.detach import Detach, Exit
    from ociworks.runtime.events import Event, Watch
    from ociworks.runtime.execs import ExecOptions
    from ociworks.runtime.logs import LogRecord
    from ociworks.runtime.options import RunOptions
    from ociworks.runtime.overlay import OverlayBundle, RootfsOverlay
    from ociworks.runtime.plan import Plan
    from ociworks.runtime.process import ContainerProcess
    from ociworks.runtime.protocol import OCIContainer, OCIRuntime
    from ociworks.runtime.runtime import Runtime
    from ociworks.runtime.seams import HostStep, Subject

__all__ = [
    "Attachment",
    "BinaryContainer",
    "CheckpointOptions",
    "Chunk",
    "CompletedContainer",
    "Console",
    "Container",
    "ContainerProcess",
    "ContainerStats",
    "Detach",
    "DetachKeys",
    "Event",
    "ExecOptions",
    "Exit",
    "GroupEvent",
    "GroupWatch",
    "HostStep",
    "LogRecord",
    "OCIContainer",
    "OCIRuntime",
    "OverlayBundle",
    "Plan",
    "PressureTrigger",
    "RestoreOptions",
    "RootfsOverlay",
    "RunOptions",
    "Runtime",
    "RuntimeBinary",
    "Subject",
    "Watch",
]

_HOMES = {
    "ContainerStats": "ociworks.runtime.cgroups.counters",
    "GroupEvent": "ociworks.runtime.cgroups.watch",
    "GroupWatch": "ociworks.runtime.cgroups.watch",
    "PressureTrigger": "ociworks.runtime.cgroups.watch",
    "Attachment": "ociworks.runtime.attach",
    "Chunk": "ociworks.runtime.attach",
    "BinaryContainer": "ociworks.runtime.binary",
    "OCIContainer": "ociworks.runtime.protocol",
    "OCIRuntime": "ociworks.runtime.protocol",
    "RuntimeBinary": "ociworks.runtime.binary",
    "CheckpointOptions": "ociworks.runtime.checkpoint",
    "RestoreOptions": "ociworks.runtime.checkpoint",
    "CompletedContainer": "ociworks.runtime.completed",
    "Console": "ociworks.runtime.console",
    "Container": "ociworks.runtime.container",
    "ContainerProcess": "ociworks.runtime.process",
    "Detach": "ociworks.runtime.detach",
    "DetachKeys": "ociworks.runtime.attach",
    "Event": "ociworks.runtime.events",
    "Exit": "ociworks.runtime.detach",
    "HostStep": "ociworks.runtime.seams",
    "LogRecord": "ociworks.runtime.logs",
    "ExecOptions": "ociworks.runtime.execs",
    "OverlayBundle": "ociworks.runtime.overlay",
    "Plan": "ociworks.runtime.plan",
    "RootfsOverlay": "ociworks.runtime.overlay",
    "RunOptions": "ociworks.runtime.options",
    "Runtime": "ociworks.runtime.runtime",
    "Subject": "ociworks.runtime.seams",
    "Watch": "ociworks.runtime.events",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    __import__(_HOMES[name])
    value: object = getattr(sys.modules[_HOMES[name]], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
