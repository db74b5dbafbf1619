"""Containers through gRPC, in pods of the node's own."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from tests.cri.nodes import IMAGE, Client, container_config, pod_config

pytestmark = pytest.mark.root


def test_a_pod_s_container(cri: Client, place: Path) -> None:
    """From the pull to the removal of the pod, which takes its containers along; errors have their status."""
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    pod = pod_config(place)
    sandbox = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=pod)).pod_sandbox_id
    config = container_config("sh", "-c", "hostname; cat /etc/hostname; sleep 1000")
    request = api.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
    made = cri.runtime.CreateContainer(request).container_id
    with pytest.raises(grpc.RpcError) as again:
        cri.runtime.CreateContainer(request)
    assert again.value.code() == grpc.StatusCode.ALREADY_EXISTS
    cri.runtime.StartContainer(api.StartContainerRequest(container_id=made))
    with pytest.raises(grpc.RpcError) as twice:
        cri.runtime.StartContainer(api.StartContainerRequest(container_id=made))
    assert twice.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    status = cri.runtime.ContainerStatus(api.ContainerStatusRequest(container_id=made, verbose=True))
    assert status.status.state == api.ContainerState.CONTAINER_RUNNING
    assert '"pid"' in status.info["info"]
    with pytest.raises(grpc.RpcError) as part:
        cri.runtime.StopContainer(api.StopContainerRequest(container_id=made[:12]))
    assert part.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    cri.runtime.StopContainer(api.StopContainerRequest(container_id=made, timeout=0))
    cri.runtime.StopContainer(api.StopContainerRequest(container_id="0" * 64, timeout=0))
    found = cri.runtime.ListContainers(api.ListContainersRequest()).containers
    assert [each.state for each in found] == [api.ContainerState.CONTAINER_EXITED]
    cri.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=sandbox))
    cri.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
    assert not cri.runtime.ListContainers(api.ListContainersRequest()).containers
    assert (place / "logs/pod/main.log").exists()
