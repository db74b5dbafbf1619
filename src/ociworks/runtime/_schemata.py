"""Cache and memory bandwidth that change while a container runs (``update --l3-cache-schema``, resctrl)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from ociworks.errors import NotSupported
from ociworks.runtime._init import resctrl as groups
from ociworks.runtime.plan import resctrl
from ociworks.spec.runtime import IntelRdt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ociworks.runtime.state import Record

__all__ = ["check", "update"]


def check(l3_cache: str, bandwidth: str) -> None:
    """NotSupported, in runc's words, for what this host does not have."""
    root = resctrl.mount_point()
    for wanted, resource, words in (
        (l3_cache, "L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
        (bandwidth, "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ):
        if wanted and (root is None or not os.path.isdir(f"{root}/info/{resource}")):
            raise NotSupported(words)


def update(
    record: Record, rdt: IntelRdt | None, l3_cache: str, bandwidth: str, processes: Iterable[int]
) -> IntelRdt:
    """Write the schemata of a container's group in one go, which the kernel takes as a whole or not at all.

    A container without a group gets one, with all its processes; ``record`` then says so. Gives what the configuration
    says from now on. Raises NotSupported and OSError.
    """
    check(l3_cache, bandwidth)
    lines = "\n".join(line for line in (l3_cache, bandwidth) if line)
    if record.resctrl_tasks:
        groups.write(f"{os.path.dirname(record.resctrl_tasks[0])}/schemata", lines)
    else:
        _enter(record, lines, processes)
    rdt = rdt or IntelRdt()
    return attrs.evolve(
        rdt,
        l3_cache_schema=l3_cache or rdt.l3_cache_schema,
        mem_bw_schema=bandwidth or rdt.mem_bw_schema,
    )


def _enter(record: Record, lines: str, processes: Iterable[int]) -> None:
    planned = resctrl.plan_resctrl(IntelRdt(), record.id)
    schemata = f"{planned.make[0]}/schemata"
    groups.make(planned.make, ((schemata, lines),), planned.remove)
    try:
        for pid in processes:
            groups.write(planned.tasks[0], str(pid))
    except BaseException:
        groups.remove(planned.remove)
        raise
    record.resctrl, record.resctrl_tasks = planned.remove, planned.tasks
