"""Containers through gRPC, in pods of the node's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from tests.cri.nodes import IMAGE, Client, container_config, pod_config
from tests.cri.stands import until

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


def test_users_of_a_pod(cri: Client, place: Path) -> None:
    """In a pod with a user namespace root is nobody on the host, and files of the image are root's inside.

    A volume on a file system that takes no mapped owners is what this host cannot do.
    """
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    ids = [api.IDMapping(host_id=200000, container_id=0, length=65536)]
    users = api.UserNamespace(mode=api.NamespaceMode.POD, uids=ids, gids=ids)
    connect(place)
    pod = pod_config(place)
    pod.linux.security_context.namespace_options.network = api.NamespaceMode.POD
    pod.linux.security_context.namespace_options.userns_options.CopyFrom(users)
    (place / "data").mkdir()
    sandbox = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=pod)).pod_sandbox_id
    script = (
        "id -u; ls -ln /bin/busybox | tr -s ' ' | cut -d' ' -f3; cat /proc/self/uid_map; echo x >/data/new"
    )
    config = container_config(
        "sh",
        "-c",
        script,
        mounts=[
            api.Mount(host_path=str(place / "data"), container_path="/data", uidMappings=ids, gidMappings=ids)
        ],
    )
    config.linux.security_context.namespace_options.userns_options.CopyFrom(users)
    request = api.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
    made = cri.runtime.CreateContainer(request).container_id
    cri.runtime.StartContainer(api.StartContainerRequest(container_id=made))
    cri.node.containers.open(made).wait(60)
    lines = (place / "logs/pod/main.log").read_text().splitlines()
    told = [" ".join(line.split()[3:]) for line in lines]
    assert told == ["0", "0", "0 200000 65536"]
    assert (place / "data/new").stat().st_uid == 0
    request.config.metadata.attempt = 1
    request.config.mounts[0].host_path = "/sys"
    with pytest.raises(grpc.RpcError) as caught:
        cri.runtime.CreateContainer(request)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "does not take mapped owners" in str(caught.value.details())
    cri.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=sandbox))


def test_processes_that_outlive_the_first_one(cri: Client, place: Path) -> None:
    """In a process namespace that the pod shares they end with it, also while they hold its output."""
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    pod = pod_config(place)
    sandbox = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=pod)).pod_sandbox_id
    config = container_config("sh", "-c", "sleep 1234 & echo $!; exit 5")
    request = api.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
    made = cri.runtime.CreateContainer(request).container_id
    cri.runtime.StartContainer(api.StartContainerRequest(container_id=made))
    until(lambda: status(cri, made).state == api.ContainerState.CONTAINER_EXITED)
    assert (status(cri, made).exit_code, status(cri, made).reason) == (5, "Error")
    assert b"sleep\x001234\x00" not in set(commands())
    cri.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=sandbox))


def commands() -> Iterator[bytes]:
    """Of every process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # gone since
            yield path.read_bytes()


def status(cri: Client, made: str) -> api.ContainerStatus:
    """A container's status."""
    return cri.runtime.ContainerStatus(api.ContainerStatusRequest(container_id=made)).status


def connect(place: Path) -> None:
    """Give pods a network of their own: a pair of interfaces, and addresses that nobody else has here."""
    if not Path("/usr/lib/cni/ptp").exists():
        pytest.skip("needs containernetworking-plugins")
    addresses = {
        "type": "host-local",
        "dataDir": str(place / "addresses"),
        "ranges": [[{"subnet": "10.253.77.0/24"}]],
    }
    network = {"cniVersion": "1.0.0", "name": place.name, "plugins": [{"type": "ptp", "ipam": addresses}]}
    (place / "cni").mkdir()
    with open(place / "cni/10-pair.conflist", "x") as file:
        json.dump(network, file)
