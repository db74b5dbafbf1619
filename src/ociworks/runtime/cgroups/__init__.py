"""Control groups, version 1, version 2 and hybrids of both: plan, then do.

=================  =====================================================================================
``detect``         what is mounted where, and what this process may do: :func:`detect` → :class:`Hierarchies`
``paths``          names: ``linux.cgroupsPath``, checked
``plan``           :func:`plan`: spec → :class:`CgroupPlan`, directories, files and values as data
``v1``, ``v2``     one function per controller: the part of ``linux.resources`` → files and values
``settings``       what both share: the shape of a setting, checked numbers and words
``rules``          device rules, folded into a default and exceptions
``devices_bpf``    the same as an eBPF program, for version 2
``operations``     apply, join, kill, freeze, thaw, remove, processes, and proof of membership
``changing``       new limits for groups that exist, all or none (``rollback``), and what is in force then (``merging``)
``counters``       :class:`ContainerStats` and its parts: what a container used
``reading``        :func:`stats`, which reads them, and :func:`groups_of` a process
``watch``          :class:`GroupWatch`: out of memory, killed for it, short of it, stopped
=================  =====================================================================================

The loops themselves are in ``runtime/_cgroupfs.py`` and ``_cgroupkill.py``, which the launcher runs without any of
the above: planning happens in the caller, doing in the process that can still clean up when the caller is killed.

    >>> hierarchies = detect()
    >>> made = apply(plan(hierarchies, None, "job-7", resources))
"""

from __future__ import annotations

import sys

from ociworks.runtime.cgroups.detect import Hierarchies, Hierarchy, detect
from ociworks.runtime.cgroups.paths import DEFAULT_PARENT
from ociworks.runtime.cgroups.plan import CgroupPlan, delegated, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.cgroups.changing import update
    from ociworks.runtime.cgroups.counters import ContainerStats
    from ociworks.runtime.cgroups.merging import merge
    from ociworks.runtime.cgroups.operations import (
        apply,
        freeze,
        frozen,
        join,
        kill,
        processes,
        remove,
        thaw,
        verify_membership,
    )
    from ociworks.runtime.cgroups.reading import groups_of, stats
    from ociworks.runtime.cgroups.watch import GroupEvent, GroupWatch, PressureTrigger

__all__ = [
    "DEFAULT_PARENT",
    "CgroupPlan",
    "ContainerStats",
    "GroupEvent",
    "GroupWatch",
    "Hierarchies",
    "Hierarchy",
    "PressureTrigger",
    "apply",
    "delegated",
    "detect",
    "freeze",
    "frozen",
    "groups_of",
    "join",
    "kill",
    "merge",
    "plan",
    "processes",
    "remove",
    "stats",
    "thaw",
    "update",
    "verify_membership",
]

_LATER = {
    "ContainerStats": "counters",
    "GroupEvent": "watch",
    "GroupWatch": "watch",
    "PressureTrigger": "watch",
    **dict.fromkeys(
        ("apply", "freeze", "frozen", "join", "kill", "processes", "remove", "thaw", "verify_membership"),
        "operations",
    ),
    "merge": "merging",
    "groups_of": "reading",
    "stats": "reading",
    "update": "changing",
}
"""What planning a container does not need, by module."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_LATER[name]}"
    __import__(home)
    value: object = getattr(sys.modules[home], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
