"""The control group that holds a pod's containers: found or made, limited, and removed if it was ours (RT-32).

With the driver systemd it is a slice (:mod:`~ociworks.cri.sandbox.slices`). What is about to be made is noted in the
pod's directory, so that it is also found after a crash in between.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.sandbox import slices
from ociworks.cri.sandbox.files import replace_file, write_file
from ociworks.errors import CgroupError, InvalidRequest, quote
from ociworks.runtime import _cgroupfs, cgroups
from ociworks.runtime._cgroupkill import read_text, write
from ociworks.runtime.cgroups.operations import cgroup_errors
from ociworks.runtime.cgroups.paths import DEFAULT_PARENT, normalise
from ociworks.runtime.cgroups.rollback import apply_all
from ociworks.runtime.systemd.scope import expand
from ociworks.spec.runtime import CPU, HugepageLimit, Memory, Resources

if TYPE_CHECKING:
    from ociworks.runtime.cgroups.settings import Setting

__all__ = ["change_groups", "check_parent", "default_parent", "make_groups", "pod_resources", "remove_groups"]

_MAX_NOTE: Final = 1 << 20
_RETRIES: Final = 64
_ONE_AT_A_TIME: Final = threading.Lock()
"""What one pod is about to make, another one may be about to remove."""


def check_parent(parent: str, driver: Literal["cgroupfs", "systemd"]) -> str:
    """The parent in its one form: ``/a/b``, or ``a-b.slice`` under systemd. Empty when none is asked for.

    InvalidRequest for anything that leaves the tree, for a name of the kernel's, and for what is no slice.
    """
    if not parent:
        return ""
    try:
        parts, _ = normalise(parent, "")
        if driver == "cgroupfs":
            return "/" + "/".join(parts)
        if parts not in ((parts[-1],), expand(parts[-1])):
            raise CgroupError(f"{quote(parent)} is not where systemd has {quote(parts[-1])}")
    except CgroupError as error:
        raise InvalidRequest(f"config.linux.cgroup_parent: {error}") from None
    return parts[-1]


def default_parent(id: str, driver: Literal["cgroupfs", "systemd"]) -> str:
    """The parent of a pod that asks for none: a group of its own, so that its limits hold."""
    return f"/{DEFAULT_PARENT}/{id}" if driver == "cgroupfs" else f"{DEFAULT_PARENT}-{id}.slice"


def make_groups(parent: str, resources: Resources, note: str) -> None:
    """Make the group where it is missing, with these limits.

    What is about to be made is noted in a new file first. A group that is there already is its owner's to limit.
    Raises CgroupError, and NotSupported for what this host cannot limit.
    """
    with _ONE_AT_A_TIME:
        if slices.is_slice(parent):
            _make_slice(parent, resources, note)
        else:
            _make_all(cgroups.plan(cgroups.detect(), parent, "", resources, devices=False), note)


def change_groups(parent: str, resources: Resources) -> None:
    """Write other limits of the pod: all of them or none. CgroupError when its group is gone or refuses."""
    if resources == Resources():
        return
    slices.limit(parent, resources) if slices.is_slice(parent) else _limit(parent, resources)


def remove_groups(note: str, left: str) -> None:
    """Remove what the note says was made, as far as nothing is in it. Again is harmless.

    What another pod still uses is kept in mind in the file ``left``, and goes with that.
    """
    with _ONE_AT_A_TIME:
        before = _read(left)
        known = {*_read(note), *before}
        units = {name for name in known if slices.is_slice(name)}
        paths = sorted(known - units, key=len, reverse=True)
        with cgroup_errors():
            _cgroupfs.remove([f"{path}/" for path in paths], 0)
        still = [path for path in paths if os.path.isdir(path) and not _is_common(path)]
        if units:
            still += slices.stop(units - _noted_by_others(note))
        if sorted(still) != before:
            replace_file(left, json.dumps(sorted(still)).encode())


def pod_resources(*parts: api.LinuxContainerResources) -> Resources:
    """The sum of resources (the containers' and the overhead's) as limits of one group; what is 0 is no limit.

    Ranges of CPUs and memory nodes cannot be summed: those of the first that has them count.
    """
    memory = _sum(part.memory_limit_in_bytes for part in parts)
    swap = _sum(part.memory_swap_limit_in_bytes for part in parts) if memory else 0
    period = max((part.cpu_period for part in parts if part.cpu_quota > 0), default=0)
    quota = sum(
        part.cpu_quota * period // (part.cpu_period or period) for part in parts if part.cpu_quota > 0
    )
    shares = sum(part.cpu_shares for part in parts)
    cpus = next((part.cpuset_cpus for part in parts if part.cpuset_cpus), None)
    mems = next((part.cpuset_mems for part in parts if part.cpuset_mems), None)
    pages = {entry.page_size: entry.limit for part in parts for entry in part.hugepage_limits}
    has_cpu = bool(quota or shares or cpus or mems)
    return Resources(
        memory=Memory(limit=memory or None, swap=swap or None) if memory else None,
        cpu=CPU(
            shares=shares or None,
            quota=quota or None,
            period=period if quota else None,
            cpus=cpus,
            mems=mems,
        )
        if has_cpu
        else None,
        hugepage_limits=tuple(HugepageLimit(page_size=size, limit=limit) for size, limit in pages.items()),
        unified={name: value for part in parts for name, value in part.unified.items()},
    )


def _make_slice(parent: str, resources: Resources, note: str) -> None:
    above = expand(parent)
    missing = [name for name in above if not slices.is_there(name)]
    shared = _noted_by_others(note)
    write_file(note, json.dumps([name for name in above if name in missing or name in shared]).encode())
    if parent in missing:
        slices.start(parent, resources)


def _limit(parent: str, resources: Resources) -> None:
    hierarchies = cgroups.detect()
    planned = cgroups.plan(hierarchies, parent, "", resources, devices=False)
    slices.hand_down(planned)
    cgroups.update(hierarchies, planned.directories, resources)


def _make_all(planned: cgroups.CgroupPlan, note: str) -> None:
    wanted = (*planned.parents, *planned.directories)
    noted = [path for path in wanted if _is_common(path) or not os.path.isdir(path)]
    write_file(note, json.dumps(noted).encode())
    with cgroup_errors():
        made = [path for path in wanted if _make(path)]
        _inherit(planned.inherit, made)
    fresh = [directory for directory in planned.directories if directory in made]
    apply_all([setting for setting in planned.settings if _is_ours(setting, planned.directories, fresh)])
    for path, words in planned.attempts:
        with suppress(OSError):
            write(path, words)


def _read(name: str) -> list[str]:
    """The paths and slices in a note; none in one whose writer was killed, which was before it made anything."""
    try:
        with open(name, "rb") as stream:
            return [str(path) for path in json.loads(stream.read(_MAX_NOTE))]
    except (FileNotFoundError, ValueError):
        return []


def _noted_by_others(note: str) -> set[str]:
    """What is in the notes of the other pods."""
    own = os.path.dirname(note)
    with os.scandir(os.path.dirname(own)) as entries:
        others = [entry.path for entry in entries if entry.path != own]
    return {name for other in others for name in _read(f"{other}/{os.path.basename(note)}")}


def _sum(values: Iterable[int]) -> int:
    """The sum of the limits; what is not above 0 is none."""
    return sum(value for value in values if value > 0)


def _is_common(path: str) -> bool:
    """Whether it is the group of everything without a parent; whoever empties it removes it."""
    return os.path.basename(path) == DEFAULT_PARENT


def _make(path: str) -> bool:
    """Make one group; whether it was missing."""
    for _ in range(_RETRIES):
        try:
            os.mkdir(path)
        except FileExistsError:
            return False
        except FileNotFoundError:  # the last pod in the common parent has just ended
            os.makedirs(os.path.dirname(path), exist_ok=True)
        else:
            return True
    raise CgroupError(f"{path}: what is above it vanishes again and again")


def _inherit(pairs: Sequence[tuple[str, str]], made: Sequence[str]) -> None:
    """A new cpuset group of version 1 is empty and takes no process: it gets what the one above has."""
    for source, target in pairs:
        if os.path.dirname(target) in made:
            write(target, read_text(source).strip().encode("ascii"))


def _is_ours(setting: Setting, directories: Sequence[str], fresh: Sequence[str]) -> bool:
    """Whether a setting hands controllers down to the group, or limits one that we made."""
    directory = os.path.dirname(setting[0][0])
    return directory not in directories or directory in fresh
