"""Which containers and pods there are to count, and in which control groups.

A container's groups are those of its first process when it is first looked at, whatever runtime made it; they are
looked for again when they are gone. A hierarchy whose top group it is in does not count it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Protocol

from attrs import frozen

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.errors import CgroupError, OciworksError
from ociworks.runtime import cgroups
from ociworks.runtime.protocol import OCIRuntime
from ociworks.runtime.systemd.scope import expand

__all__ = ["Container", "Groups", "Place", "Pod", "Runtimes", "has_labels"]


class Runtimes(Protocol):
    """The runtimes of this node."""

    def get(self, name: str) -> OCIRuntime:
        """The one by that name; empty: the default one."""


@frozen(kw_only=True)
class Pod:
    """A pod with its configuration."""

    record: SandboxRecord
    config: api.PodSandboxConfig

    @classmethod
    def of(cls, record: SandboxRecord) -> Pod:
        """The pod of a record."""
        return cls(record=record, config=api.PodSandboxConfig.FromString(record.config))

    @property
    def network(self) -> str:
        """What pins its network namespace; empty on the host's network."""
        pin = f"{self.record.pins}/net" if self.record.pins else ""
        return pin if pin and os.path.exists(pin) else ""


@frozen(kw_only=True)
class Container:
    """A container with its configuration."""

    record: ContainerRecord
    config: api.ContainerConfig

    @classmethod
    def of(cls, record: ContainerRecord) -> Container:
        """The container of a record."""
        return cls(record=record, config=api.ContainerConfig.FromString(record.config))

    @property
    def alive(self) -> bool:
        """Whether it may have processes."""
        return self.record.phase in ("created", "running")

    @property
    def resources(self) -> api.LinuxContainerResources:
        """Its limits as they are now."""
        if self.record.resources:
            return api.LinuxContainerResources.FromString(self.record.resources)
        return self.config.linux.resources


@frozen(kw_only=True)
class Place:
    """Where a container or pod is counted."""

    directories: tuple[str, ...]
    """One control group in each hierarchy that counts it."""
    pid: int = 0
    """The first process of a container."""

    @property
    def group(self) -> str:
        """The name of its group, as ``/proc/PID/cgroup`` writes it."""
        for mount in cgroups.detect().mounts:
            for directory in self.directories:
                if directory.startswith(f"{mount.mount_point}/"):
                    return mount.name(directory)
        return ""


class Groups:
    """Where containers and pods are counted, found once for each."""

    def __init__(self, runtimes: Runtimes) -> None:
        self._runtimes = runtimes
        self._places: dict[str, Place] = {}

    def of_container(self, record: ContainerRecord) -> Place | None:
        """Where the container is counted; None when it has no processes."""
        found = self._places.get(record.id)
        if found is None:
            found = self._find(record)
            if found is not None:
                self._places[record.id] = found
        return found

    def of_pod(self, record: SandboxRecord) -> Place | None:
        """Where the pod is counted as a whole; None when it has no group of its own."""
        found = self._places.get(record.id)
        if found is None and record.cgroup_parent:
            directories = _directories(record.cgroup_parent)
            if directories:
                found = self._places[record.id] = Place(directories=directories)
        return found

    def forget(self, id: str) -> None:
        """Look for the groups of this one again."""
        self._places.pop(id, None)

    def keep(self, ids: Collection[str]) -> None:
        """Forget all others."""
        for name in self._places.keys() - set(ids):
            self.forget(name)

    def _find(self, record: ContainerRecord) -> Place | None:
        try:
            pid = self._runtimes.get(record.handler).get(record.id).pid
            directories = cgroups.groups_of(pid, tops=False) if pid else ()
        except (OciworksError, OSError):  # it has ended just now, or its runtime is not here any more
            return None
        return Place(directories=directories, pid=pid) if directories else None


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether all that is wanted is there."""
    return all(labels.get(name) == value for name, value in wanted.items())


def _directories(parent: str) -> tuple[str, ...]:
    """The groups of a pod's ``cgroup_parent``, a path or a slice, where they exist."""
    try:
        path = "/" + "/".join(expand(parent)) if parent.endswith(".slice") and "/" not in parent else parent
        planned = cgroups.plan(cgroups.detect(), path, "", None, devices=False)
    except CgroupError:
        return ()
    return tuple(directory for directory in planned.directories if os.path.isdir(directory))
