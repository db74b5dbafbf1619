"""Values → messages. A container's metrics are made once, and after that get new values while they are the same.

Twenty pods have more than a thousand metrics, of which nothing changes from one call to the next but numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.stats.descriptors import DESCRIPTORS
from ociworks.cri.stats.samples import Sample

__all__ = ["Sheet"]

_MASK: Final = (1 << 64) - 1


class Sheet:
    """The metrics of one container, or of one pod, with the labels that are common to them. Of one thread at a time."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self._keys: list[tuple[str, tuple[str, ...]]] = []
        self.metrics: list[api.Metric] = []
        """As they were filled in last."""
        self._values: list[api.UInt64Value] = []

    def fill(self, samples: Iterable[Sample], at: int) -> list[api.Metric]:
        """The metrics with these values, read ``at`` so many nanoseconds since 1970."""
        listed = list(samples)
        keys = [(name, labels) for name, labels, _ in listed]
        if keys != self._keys:
            self._keys = keys
            self.metrics = [self._metric(name, labels) for name, labels in keys]
            self._values = [metric.value for metric in self.metrics]
        for metric, value, sample in zip(self.metrics, self._values, listed, strict=True):
            metric.timestamp = at
            value.value = sample[2] & _MASK
        return self.metrics

    def _metric(self, name: str, labels: tuple[str, ...]) -> api.Metric:
        descriptor = DESCRIPTORS[name]
        return api.Metric(
            name=name,
            metric_type=descriptor.kind,
            label_values=(*self.labels, *labels),
            value=api.UInt64Value(),
        )
