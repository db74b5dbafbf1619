"""Pods through gRPC, with containers in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from ociworks.cri import CriService
from ociworks.cri.proto import runtime_v1_pb2 as api
from tests.cri.nodes import IMAGE, Client, config_below, container_config, pod_config, serving
from tests.cri.sandboxes import group_of, traces

pytestmark = pytest.mark.root


def shared(place: Path, pid: api.NamespaceMode = api.POD) -> api.PodSandboxConfig:
    """A pod on the host's network whose containers share processes."""
    config = pod_config(place)
    config.linux.cgroup_parent = f"{group_of(place)}/pod"
    config.linux.security_context.namespace_options.pid = pid
    return config


def run(cri: Client, config: api.PodSandboxConfig) -> str:
    """A pod."""
    return cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id


def start(cri: Client, pod: str, config: api.PodSandboxConfig, container: api.ContainerConfig) -> str:
    """A container of it."""
    container.linux.security_context.namespace_options.CopyFrom(
        config.linux.security_context.namespace_options
    )
    request = api.CreateContainerRequest(pod_sandbox_id=pod, config=container, sandbox_config=config)
    made = cri.runtime.CreateContainer(request).container_id
    cri.runtime.StartContainer(api.StartContainerRequest(container_id=made))
    return made


def ask(cri: Client, container: str, command: Sequence[str]) -> tuple[int, str]:
    """What a program in it says."""
    request = api.ExecSyncRequest(container_id=container, cmd=command, timeout=30)
    answer = cri.runtime.ExecSync(request)
    return answer.exit_code, answer.stdout.decode()


def remove(cri: Client, pod: str) -> None:
    """Stop and remove it."""
    cri.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod))
    cri.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod))


def test_containers_that_share_processes(cri: Client, place: Path) -> None:
    """They see each other; the first process is ours, ends with none of them, and leads nowhere."""
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    before = traces(place)
    config = shared(place)
    pod = run(cri, config)
    first = start(cri, pod, config, container_config("sleep", "1111", name="one"))
    second = start(cri, pod, config, container_config("sleep", "2222", name="two"))
    _, processes = ask(cri, first, ["ps", "-o", "pid,args"])
    assert "sleep 1111" in processes
    assert "sleep 2222" in processes
    assert processes.splitlines()[1].split() == ["1", "ociworks-pause"]
    code, found = ask(cri, first, ["ls", "/proc/1/root", "/proc/1/cwd"])
    assert (code != 0, found) == (True, "")
    assert ask(cri, first, ["ls", "/proc/1/fd"])[1] == ""
    cri.runtime.StopContainer(api.StopContainerRequest(container_id=second, timeout=0))
    _, processes = ask(cri, first, ["ps", "-o", "pid,args"])
    assert "sleep 1111" in processes
    assert "sleep 2222" not in processes
    remove(cri, pod)
    assert traces(place) == before


def test_a_pod_survives_its_server(place: Path) -> None:
    """Another server with the same directories finds it ready, and ends it."""
    config = shared(place)
    settings = config_below(place)
    with CriService(settings) as service, serving(service, place) as client:
        pod = run(client, config)
    with CriService(settings) as service, serving(service, place) as client:
        status = client.runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod)).status
        assert status.state == api.SANDBOX_READY
        with pytest.raises(grpc.RpcError) as again:
            run(client, config)
        assert again.value.code() == grpc.StatusCode.ALREADY_EXISTS
        remove(client, pod)
        remove(client, pod)
    mounts, groups = traces(place)
    assert (mounts, groups) == ([], [])


def test_limits_of_a_pod_through_grpc(cri: Client, place: Path) -> None:
    """Changed while it is ready; refused for a pod that nobody has."""
    config = shared(place, api.CONTAINER)
    pod = run(cri, config)
    limits = api.LinuxContainerResources(memory_limit_in_bytes=96 << 20)
    cri.runtime.UpdatePodSandboxResources(
        api.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod, resources=limits)
    )
    with pytest.raises(grpc.RpcError) as unknown:
        cri.runtime.UpdatePodSandboxResources(
            api.UpdatePodSandboxResourcesRequest(pod_sandbox_id="f" * 64, resources=limits)
        )
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
    remove(cri, pod)
