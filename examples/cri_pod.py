"""Run a pod through the Container Runtime Interface, as a kubelet does: image, sandbox, container, exec, log, end.

::

    python cri_pod.py /run/ociworks/cri.sock registry.example/busybox:1.36

Prints the pod's address, what a program in the container says, and the container's log.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire

__all__ = ["Node"]


class Node:
    """The two services behind one socket."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.runtime = wire.RuntimeServiceStub(channel)
        self.images = wire.ImageServiceStub(channel)

    @contextmanager
    def pod(self, config: api.PodSandboxConfig) -> Iterator[str]:
        """A pod for the time of the block; its ID."""
        pod = self.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
        try:
            yield pod
        finally:
            self.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod))
            self.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod))

    def container(self, pod: str, pod_config: api.PodSandboxConfig, config: api.ContainerConfig) -> str:
        """A running container in the pod; its ID."""
        request = api.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=pod_config)
        container = self.runtime.CreateContainer(request).container_id
        self.runtime.StartContainer(api.StartContainerRequest(container_id=container))
        return container

    def run(self, container: str, *command: str) -> str:
        """What a further program in the container prints."""
        request = api.ExecSyncRequest(container_id=container, cmd=command, timeout=10)
        return self.runtime.ExecSync(request).stdout.decode()


def main(socket: str, image: str, logs: str = "/var/log/pods/demo") -> None:
    """The whole road."""
    name = f"demo-{uuid.uuid4()}"
    pod_config = api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name=name, uid=name, namespace="default"),
        hostname="demo",
        log_directory=logs,
    )
    config = api.ContainerConfig(
        metadata=api.ContainerMetadata(name="main"),
        image=api.ImageSpec(image=image),
        command=["sh", "-c", "echo hello from $HOSTNAME; sleep 100"],
        log_path="main.log",
    )
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        node = Node(channel)
        node.images.PullImage(api.PullImageRequest(image=config.image))
        with node.pod(pod_config) as pod:
            status = node.runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod)).status
            print("address:", status.network.ip)
            container = node.container(pod, pod_config, config)
            print("hostname:", node.run(container, "hostname").strip())
            print("log:", Path(logs, "main.log").read_text().strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
