"""Statistics, metrics and checkpoints of real pods, through a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.stats.descriptors import BASE
from tests.cri.nodes import IMAGE, Client, container_config, pod_config

pytestmark = pytest.mark.root


@contextmanager
def running(cri: Client, place: Path, *command: str) -> Iterator[tuple[str, str]]:
    """A pod with a running container, both IDs; removed after the block."""
    config = pod_config(place)
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    pod = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
    request = api.CreateContainerRequest(
        pod_sandbox_id=pod, config=container_config(*command), sandbox_config=config
    )
    try:
        container = cri.runtime.CreateContainer(request).container_id
        cri.runtime.StartContainer(api.StartContainerRequest(container_id=container))
        yield pod, container
    finally:
        remove(cri, pod)


def remove(cri: Client, pod: str) -> None:
    cri.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod))
    cri.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod))


def test_a_pod_is_counted(cri: Client, place: Path) -> None:
    """Statistics of pod and container, and metrics, whose labels say whose they are; nothing once it is gone."""
    with running(cri, place, "sh", "-c", "x=$(cat /bin/busybox | wc -c); sleep 1000") as (pod, container):
        found = cri.runtime.ContainerStats(api.ContainerStatsRequest(container_id=container)).stats
        assert found.attributes.metadata.name == "main"
        assert found.memory.usage_bytes.value > 0
        assert found.cpu.usage_core_nano_seconds.value > 0
        assert found.writable_layer.fs_id.mountpoint
        whole = cri.runtime.PodSandboxStats(api.PodSandboxStatsRequest(pod_sandbox_id=pod)).stats
        assert whole.linux.process.process_count.value >= 1
        assert whole.linux.memory.usage_bytes.value > 0
        assert [item.attributes.id for item in whole.linux.containers] == [container]
        listed = cri.runtime.ListPodSandboxStats(
            api.ListPodSandboxStatsRequest(filter=api.PodSandboxStatsFilter(id=pod))
        ).stats
        assert [item.attributes.id for item in listed] == [pod]
        (metrics,) = cri.runtime.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest()).pod_metrics
        values = {item.name: item.value.value for item in metrics.container_metrics[0].metrics}
        assert values["container_memory_usage_bytes"] > 0
        assert values["container_processes"] >= 1
        assert values["container_start_time_seconds"] > 1_700_000_000
        labels = dict(zip(BASE, metrics.container_metrics[0].metrics[0].label_values, strict=False))
        assert (labels["container"], labels["pod"], labels["image"]) == ("main", "pod", IMAGE)
        streamed = [
            item.pod_sandbox_id
            for answer in cri.runtime.StreamPodSandboxMetrics(api.StreamPodSandboxMetricsRequest())
            for item in answer.pod_sandbox_metrics
        ]
        assert streamed == [pod]
    assert not cri.runtime.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest()).pod_metrics
    assert not cri.runtime.ListContainerStats(api.ListContainerStatsRequest()).stats


def test_an_ended_container_has_its_layer_only(cri: Client, place: Path) -> None:
    """It is not listed."""
    with running(cri, place) as (_, container):
        cri.runtime.StopContainer(api.StopContainerRequest(container_id=container, timeout=0))
        found = cri.runtime.ContainerStats(api.ContainerStatsRequest(container_id=container)).stats
        assert found.HasField("writable_layer")
        assert not found.HasField("memory")
        assert not cri.runtime.ListContainerStats(api.ListContainerStatsRequest()).stats


def test_what_cannot_be_checkpointed(cri: Client, place: Path) -> None:
    """UNIMPLEMENTED with a message that says why; nothing is written, and the container goes on."""
    with running(cri, place) as (_, container):
        request = api.CheckpointContainerRequest(container_id=container, location=f"{place}/x.tar")
        with pytest.raises(grpc.RpcError) as found:
            cri.runtime.CheckpointContainer(request)
        assert found.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "cannot be checkpointed" in (found.value.details() or "")
        assert not (place / "x.tar").exists()
        status = cri.runtime.ContainerStatus(api.ContainerStatusRequest(container_id=container)).status
        assert status.state == api.ContainerState.CONTAINER_RUNNING


def test_pods_that_cannot_be_restored(cri: Client, place: Path) -> None:
    """INVALID_ARGUMENT, and no pod is there."""
    request = api.RestorePodRequest(checkpoint_path=f"{place}/none", config=pod_config(place))
    with pytest.raises(grpc.RpcError) as found:
        cri.runtime.RestorePod(request)
    assert found.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not cri.runtime.ListPodSandbox(api.ListPodSandboxRequest()).items
