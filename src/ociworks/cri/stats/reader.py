"""Reading what is counted of a container or pod, and remembering what the next reading needs."""

from __future__ import annotations

from collections.abc import Collection

from ociworks.cri.config import CriConfig
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.cri.stats.aged import Aged
from ociworks.cri.stats.disk import Disk, Layers
from ociworks.cri.stats.processes import OpenFiles, open_files, soft_limit
from ociworks.cri.stats.rates import Rates
from ociworks.cri.stats.subjects import Groups, Place, Runtimes
from ociworks.errors import CgroupError
from ociworks.runtime import cgroups
from ociworks.runtime.cgroups import ContainerStats

__all__ = ["Reader"]


class Reader:
    """The kernel's counters of what a node runs."""

    def __init__(self, config: CriConfig, runtimes: Runtimes, layers: Layers) -> None:
        self._groups = Groups(runtimes)
        self._rates = Rates(config.stats_period)
        self.disk = Disk(layers, config.root, config.stats_period)
        self._opened: Aged[OpenFiles] = Aged(config.stats_period)
        self._limits: Aged[int | None] = Aged(config.stats_period)

    def container(self, record: ContainerRecord) -> tuple[Place, ContainerStats] | None:
        """Where it is counted, and the counters; None when it does not run any more."""
        place = self._groups.of_container(record)
        return None if place is None else self._read(record.id, place)

    def pod(self, record: SandboxRecord) -> tuple[Place, ContainerStats] | None:
        """The same of a pod as a whole; None when it has no group of its own."""
        place = self._groups.of_pod(record)
        return None if place is None else self._read(record.id, place)

    def rate(self, id: str, at: int, stats: ContainerStats, since: int) -> int:
        """Billionths of a processor that it keeps busy."""
        return 0 if stats.cpu is None else self._rates.of(id, at, stats.cpu.usage, since)

    def processes(self, place: Place) -> tuple[int, ...]:
        """The pids of a container."""
        return cgroups.processes(place.directories[:1])

    def process_count(self, record: ContainerRecord) -> int:
        """How many processes a container has."""
        place = self._groups.of_container(record)
        return 0 if place is None else len(self.processes(place))

    def opened(self, id: str, pids: tuple[int, ...]) -> OpenFiles:
        """What these processes have open; it may be a little old."""
        return self._opened.get(id, lambda: open_files(pids))

    def soft_limit(self, id: str, place: Place) -> int | None:
        """How many files the first process of a container may open; it may be a little old. None when it has ended."""
        return self._limits.get(id, lambda: soft_limit(place.pid))

    def keep(self, ids: Collection[str]) -> None:
        """Forget what is remembered of all others."""
        for memory in (self._groups, self._rates, self.disk, self._opened, self._limits):
            memory.keep(ids)

    def _read(self, id: str, place: Place) -> tuple[Place, ContainerStats] | None:
        try:
            return place, cgroups.stats(place.directories, brief=True)
        except CgroupError:  # the groups are gone; the next look finds those of its successor, if any
            self._groups.forget(id)
            return None
