"""Limits of the interface → limits of the specification. Zero, the interface's word for nothing said, stays unsaid."""

from __future__ import annotations

import logging
import os
import re
from typing import Final

from ociworks.cri.config import CriConfig
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, NotSupported, quote
from ociworks.runtime import cgroups
from ociworks.spec import FrozenDict
from ociworks.spec.runtime import CPU, HugepageLimit, Memory, Resources

__all__ = ["merged", "oom_score", "resources"]

_log = logging.getLogger(__name__)

_LIST: Final = re.compile(r"[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*", re.ASCII)
_PAGE: Final = re.compile(r"[1-9][0-9]{0,8}[KMG]B", re.ASCII)
_FILE: Final = re.compile(r"[a-z]+(\.[a-z0-9_]+)+", re.ASCII)
_MOST: Final = 1000
_SCORES: Final = 1000


def resources(given: api.LinuxContainerResources, server: CriConfig, *, foreign: bool = False) -> Resources:
    """Without device rules; ``foreign``: for another runtime than our own.

    InvalidRequest for values that mean nothing, NotSupported for missing huge pages.
    """
    return Resources(
        memory=_memory(given),
        cpu=_cpu(given),
        hugepage_limits=_hugepages(given, server, foreign=foreign),
        unified=_unified(given),
    )


def merged(
    before: api.LinuxContainerResources, change: api.LinuxContainerResources
) -> api.LinuxContainerResources:
    """What holds after an update: what the change says nothing of stays."""
    after = api.LinuxContainerResources()
    after.CopyFrom(before)
    if change.hugepage_limits:
        del after.hugepage_limits[:]
    after.MergeFrom(change)
    return after


def oom_score(given: api.LinuxContainerResources, server: CriConfig) -> int:
    """The score; not below the server's own where only that may be had (``restrict_oom_score_adj``)."""
    score = given.oom_score_adj
    if not -_SCORES <= score <= _SCORES:
        raise InvalidRequest(f"resources.oom_score_adj: expected -1000 to 1000, got {score}")
    return max(score, _own_score()) if server.restrict_oom_score_adj else score


def _own_score() -> int:
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        return int(file.read())  # trusted: the kernel's


def _memory(given: api.LinuxContainerResources) -> Memory | None:
    limit, swap = given.memory_limit_in_bytes, given.memory_swap_limit_in_bytes
    for name, value in (("memory_limit_in_bytes", limit), ("memory_swap_limit_in_bytes", swap)):
        if value < -1:
            raise InvalidRequest(f"resources.{name}: expected -1 or more, got {value}")
    if swap and not _counts_swap():
        _log.debug("memory_swap_limit_in_bytes: this kernel does not count swap: left out")
        swap = 0
    if not limit and not swap:
        return None
    return Memory(limit=limit or None, swap=swap or None)


def _cpu(given: api.LinuxContainerResources) -> CPU | None:
    if given.cpu_shares < 0 or given.cpu_period < 0 or given.cpu_quota < -1:
        raise InvalidRequest("resources: cpu_shares and cpu_period: expected 0 or more, cpu_quota -1 or more")
    for name in ("cpuset_cpus", "cpuset_mems"):
        text = getattr(given, name)
        if text and _LIST.fullmatch(text) is None:
            raise InvalidRequest(f"resources.{name}: expected a list like 0-3,8, got {quote(text)}")
    found = CPU(
        shares=given.cpu_shares or None,
        period=given.cpu_period or None,
        quota=given.cpu_quota or None,
        cpus=given.cpuset_cpus or None,
        mems=given.cpuset_mems or None,
    )
    return None if found == CPU() else found


def _hugepages(
    given: api.LinuxContainerResources, server: CriConfig, *, foreign: bool
) -> tuple[HugepageLimit, ...]:
    if not given.hugepage_limits:
        return ()
    if len(given.hugepage_limits) > _MOST:
        raise InvalidRequest(f"resources.hugepage_limits: expected at most {_MOST}")
    for each in given.hugepage_limits:
        if _PAGE.fullmatch(each.page_size) is None:
            raise InvalidRequest(
                f"resources.hugepage_limits: expected a page size like 2MB, got {quote(each.page_size)}"
            )
    if not _counts_huge_pages(foreign=foreign):
        if not server.tolerate_missing_hugetlb:
            raise NotSupported("resources.hugepage_limits: this host has no control group for huge pages")
        return ()
    return tuple(HugepageLimit(page_size=each.page_size, limit=each.limit) for each in given.hugepage_limits)


def _counts_huge_pages(*, foreign: bool) -> bool:
    """Whether the runtime can limit them: beside version 1, others than ours do not use the unified hierarchy."""
    groups = cgroups.detect()
    found = groups.find("hugetlb")
    return found is not None and not (foreign and found.version == 2 and groups.mode == "hybrid")


def _unified(given: api.LinuxContainerResources) -> FrozenDict[str, str]:
    if len(given.unified) > _MOST:
        raise InvalidRequest(f"resources.unified: expected at most {_MOST}")
    for name, value in given.unified.items():
        if _FILE.fullmatch(name) is None or len(value) > 4096:
            raise InvalidRequest(f"resources.unified: expected files like memory.high, got {quote(name)}")
    return FrozenDict(given.unified)


def _counts_swap() -> bool:
    """Whether the memory controller limits swap: some kernels are booted without that.

    The root of a unified hierarchy has no limits, so its groups tell.
    """
    memory = cgroups.detect().find("memory")
    if memory is None:
        return False
    if memory.version == 1:
        return os.path.exists(f"{memory.mount_point}/memory.memsw.limit_in_bytes")
    names = [memory.locate(memory.own), *_below(memory.mount_point)]
    groups = [name for name in names if os.path.exists(f"{name}/memory.max")]
    return not groups or any(os.path.exists(f"{name}/memory.swap.max") for name in groups)


def _below(directory: str) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
