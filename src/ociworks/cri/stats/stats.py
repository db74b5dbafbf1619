"""The six questions about use, answered from records and the kernel's counters."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from ociworks.cri.config import CriConfig
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.cri.stats import descriptors, network, usage
from ociworks.cri.stats.disk import Layers
from ociworks.cri.stats.metrics import Metrics
from ociworks.cri.stats.network import Interface
from ociworks.cri.stats.reader import Reader
from ociworks.cri.stats.subjects import Container, Pod, Runtimes, has_labels
from ociworks.cri.store import Store
from ociworks.runtime.cgroups import ContainerStats

__all__ = ["Layers", "Runtimes", "Stats"]

_NOTHING: Final = ContainerStats()


class Stats:
    """What containers and pods use. Safe for several threads; nothing runs between two calls."""

    def __init__(self, config: CriConfig, store: Store, runtimes: Runtimes, layers: Layers) -> None:
        self._store = store
        self._reader = Reader(config, runtimes, layers)
        self._metrics = Metrics(self._reader)

    def container(self, id: str) -> api.ContainerStats:
        """One container, by its ID or the beginning of it; of one that does not run, only its writable layer.

        PodNotFound when there is none.
        """
        container = Container.of(self._store.containers.find(id))
        return self._container(container) or self._idle(container)

    def list_containers(self, filter: api.ContainerStatsFilter) -> list[api.ContainerStats]:
        """Those that run and match."""
        records = self._containers()
        wanted = (
            Container.of(record)
            for record in records
            if record.id.startswith(filter.id) and record.sandbox_id.startswith(filter.pod_sandbox_id)
        )
        labels = filter.label_selector
        found = (self._container(item) for item in wanted if has_labels(item.config.labels, labels))
        return [item for item in found if item is not None]

    def pod(self, id: str) -> api.PodSandboxStats:
        """One pod, by its ID or the beginning of it; of one that is not ready, only who it is. PodNotFound."""
        pod = Pod.of(self._store.sandboxes.find(id))
        if pod.record.phase != "ready":
            return api.PodSandboxStats(attributes=_attributes(pod))
        return self._pods([pod], self._store.containers.of_sandbox(pod.record.id))[0]

    def list_pods(self, filter: api.PodSandboxStatsFilter) -> list[api.PodSandboxStats]:
        """Those that are ready and match."""
        wanted = (Pod.of(record) for record in self._ready() if record.id.startswith(filter.id))
        pods = [pod for pod in wanted if has_labels(pod.config.labels, filter.label_selector)]
        return self._pods(pods, self._containers())

    def metric_descriptors(self) -> list[api.MetricDescriptor]:
        """Which metrics there are."""
        return descriptors.messages()

    def pod_metrics(self) -> list[api.PodSandboxMetrics]:
        """The metrics of every pod that is ready, and of its containers that run."""
        pods = [Pod.of(record) for record in self._ready()]
        return self._metrics.read(pods, _by_pod(self._containers()))

    def _ready(self) -> list[SandboxRecord]:
        return [record for record in self._store.sandboxes.all() if record.phase == "ready"]

    def _containers(self) -> list[ContainerRecord]:
        """All that run. What is remembered of others is forgotten."""
        records = self._store.containers.all()
        self._reader.keep({name for record in records for name in (record.id, record.sandbox_id)})
        return [record for record in records if record.phase in ("created", "running")]

    def _container(self, container: Container) -> api.ContainerStats | None:
        """None when it does not run."""
        read = self._reader.container(container.record) if container.alive else None
        if read is None:
            return None
        _, stats = read
        at = time.time_ns()
        rate = self._reader.rate(container.record.id, at, stats, container.record.started_at)
        return self._message(container, stats, at, rate)

    def _idle(self, container: Container) -> api.ContainerStats:
        return self._message(container, _NOTHING, time.time_ns(), 0)

    def _message(self, container: Container, stats: ContainerStats, at: int, rate: int) -> api.ContainerStats:
        record, config = container.record, container.config
        return api.ContainerStats(
            attributes=api.ContainerAttributes(
                id=record.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
            ),
            cpu=usage.cpu(stats, at, rate),
            memory=usage.memory(stats, at),
            swap=usage.swap(stats, at),
            io=usage.io(stats, at),
            writable_layer=self._reader.disk.writable_layer(record.id, at),
        )

    def _pods(self, pods: list[Pod], records: Iterable[ContainerRecord]) -> list[api.PodSandboxStats]:
        containers = _by_pod(records)
        interfaces = network.interfaces({pod.record.id: pod.network for pod in pods if pod.network})
        return [
            api.PodSandboxStats(
                attributes=_attributes(pod),
                linux=self._pod(pod, containers.get(pod.record.id, []), interfaces.get(pod.record.id, ())),
            )
            for pod in pods
        ]

    def _pod(
        self, pod: Pod, records: Iterable[ContainerRecord], interfaces: tuple[Interface, ...]
    ) -> api.LinuxPodSandboxStats:
        containers = [Container.of(record) for record in records]
        listed = [stats for stats in map(self._container, containers) if stats is not None]
        at = time.time_ns()
        read = self._reader.pod(pod.record)
        stats = read[1] if read else _NOTHING
        rate = self._reader.rate(pod.record.id, at, stats, pod.record.created_at)
        count = sum(self._reader.process_count(record) for record in records)
        return api.LinuxPodSandboxStats(
            cpu=usage.cpu(stats, at, rate),
            memory=usage.memory(stats, at),
            io=usage.io(stats, at),
            network=usage.network(interfaces, at),
            process=api.ProcessUsage(timestamp=at, process_count=api.UInt64Value(value=count)),
            containers=listed,
        )


def _attributes(pod: Pod) -> api.PodSandboxAttributes:
    return api.PodSandboxAttributes(
        id=pod.record.id,
        metadata=pod.config.metadata,
        labels=pod.config.labels,
        annotations=pod.config.annotations,
    )


def _by_pod(records: Iterable[ContainerRecord]) -> Mapping[str, list[ContainerRecord]]:
    found: dict[str, list[ContainerRecord]] = {}
    for record in records:
        found.setdefault(record.sandbox_id, []).append(record)
    return found
