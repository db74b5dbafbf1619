"""The metrics of all pods in one pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.stats import network, samples
from ociworks.cri.stats.disk import block_devices
from ociworks.cri.stats.network import Interface
from ociworks.cri.stats.reader import Reader
from ociworks.cri.stats.sheets import Sheet
from ociworks.cri.stats.subjects import Container, Place, Pod
from ociworks.runtime.cgroups import ContainerStats

__all__ = ["Metrics"]

_POD: Final = "POD"
"""What cAdvisor calls the container that has a pod's network."""


@frozen(kw_only=True)
class _Pass:
    """What one pass read for all pods together."""

    interfaces: Mapping[str, tuple[Interface, ...]]
    devices: Mapping[tuple[int, int], str]


class Metrics:
    """Metrics, with the messages of the pass before: only their numbers change. One pass at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._sheets: dict[str, Sheet] = {}

    def read(
        self, pods: Sequence[Pod], containers: Mapping[str, Sequence[ContainerRecord]]
    ) -> list[api.PodSandboxMetrics]:
        """Those of every pod, and of its containers that run."""
        common = _Pass(
            interfaces=network.interfaces({pod.record.id: pod.network for pod in pods if pod.network}),
            devices=block_devices(),
        )
        with self._lock:
            before, self._sheets = self._sheets, {}
            return [self._pod(pod, containers.get(pod.record.id, ()), common, before) for pod in pods]

    def _pod(
        self, pod: Pod, records: Sequence[ContainerRecord], common: _Pass, before: Mapping[str, Sheet]
    ) -> api.PodSandboxMetrics:
        pod_id = pod.record.id
        sheet = before.get(pod_id) or Sheet(_network_labels(pod))
        self._sheets[pod_id] = sheet
        network = sheet.fill(samples.of_network(common.interfaces.get(pod_id, ())), time.time_ns())
        found = (self._container(pod, record, common, before) for record in records)
        return api.PodSandboxMetrics(
            pod_sandbox_id=pod_id,
            metrics=[*network, *self._group(pod, before)],
            container_metrics=[item for item in found if item is not None],
        )

    def _group(self, pod: Pod, before: Mapping[str, Sheet]) -> Sequence[api.Metric]:
        """Those of a pod's own control group; none when it has no group of its own."""
        read = self._reader.pod(pod.record)
        if read is None:
            return ()
        place, stats = read
        key = f"{pod.record.id}/group"
        sheet = before.get(key) or Sheet(_group_labels(pod, place))
        self._sheets[key] = sheet
        return sheet.fill(samples.of_pod(stats), time.time_ns())

    def _container(
        self, pod: Pod, record: ContainerRecord, common: _Pass, before: Mapping[str, Sheet]
    ) -> api.ContainerMetrics | None:
        """None when it does not run any more."""
        read = self._reader.container(record)
        if read is None:
            return None
        place, stats = read
        container = Container.of(record)
        sheet = before.get(record.id) or Sheet(_labels(pod, container, place))
        self._sheets[record.id] = sheet
        reading = self._reading(container, place, stats, common)
        filled = sheet.fill(samples.of_container(reading), reading.at)
        return api.ContainerMetrics(container_id=record.id, metrics=filled)

    def _reading(
        self, container: Container, place: Place, stats: ContainerStats, common: _Pass
    ) -> samples.Reading:
        name = container.record.id
        pids = self._reader.processes(place)
        return samples.Reading(
            at=time.time_ns(),
            started_at=container.record.started_at,
            stats=stats,
            resources=container.resources,
            processes=len(pids),
            opened=self._reader.opened(name, pids),
            soft_limit=self._reader.soft_limit(name, place),
            written=self._reader.disk.written(name)[0],
            space=self._reader.disk.space(),
            devices=common.devices,
        )


def _group_labels(pod: Pod, place: Place) -> tuple[str, ...]:
    metadata = pod.config.metadata
    return ("", place.group, "", "", metadata.namespace, metadata.name)


def _network_labels(pod: Pod) -> tuple[str, ...]:
    metadata = pod.config.metadata
    return (_POD, pod.record.cgroup_parent, "", pod.record.id, metadata.namespace, metadata.name)


def _labels(pod: Pod, container: Container, place: Place) -> tuple[str, ...]:
    metadata, image = pod.config.metadata, container.config.image
    return (
        container.config.metadata.name,
        place.group,
        image.user_specified_image or image.image,
        container.record.id,
        metadata.namespace,
        metadata.name,
    )
