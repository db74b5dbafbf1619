"""A server of the interface under test, its client, and pods to ask for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from attrs import frozen

from ociworks.cri import CriConfig, CriService
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire
from ociworks.image import Image
from ociworks.spec import FrozenDict
from ociworks.spec.image import Config
from ociworks.testing import File, image_from_files
from tests.interop.peers import busybox

__all__ = [
    "IMAGE",
    "Client",
    "busybox_image",
    "client_of",
    "config_below",
    "container_config",
    "pod_config",
    "serving",
]

IMAGE = "registry.example/busybox:1.36"
"""The image that the registry of the fixture ``cri`` has."""


@frozen(kw_only=True)
class Client:
    """What a kubelet has."""

    runtime: wire.RuntimeServiceStub
    images: wire.ImageServiceStub
    target: str
    """``unix:…``, for further channels."""
    service: CriService
    """Behind the socket; in this process."""

    @property
    def node(self) -> Node:
        """The parts behind it."""
        return self.service._serving()

    def remove_pods(self) -> None:
        """End and forget every pod."""
        for item in self.runtime.ListPodSandbox(api.ListPodSandboxRequest()).items:
            self.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=item.id))
            self.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=item.id))


def config_below(place: Path, mirror: str = "", **settings: Any) -> CriConfig:
    """A configuration that touches nothing outside ``place``."""
    mirrors = {"registry.example": (mirror,)} if mirror else {}
    values: dict[str, Any] = {
        "root": str(place / "root"),
        "state": str(place / "state"),
        "pod_logs": (str(place / "logs"),),
        "cni_conf_dir": str(place / "cni"),
        "cni_cache_dir": str(place / "cni-cache"),
        "seccomp_profile_root": str(place / "seccomp"),
        "cdi_spec_dirs": (str(place / "cdi"),),
        "registry_mirrors": FrozenDict(mirrors),
        "restrict_oom_score_adj": True,
    }
    return CriConfig(**(values | settings))


_APPLETS = ("sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "env", "hostname", "mount", "ip", "ps")


def busybox_image() -> Image:
    """A static busybox with two users; the test is skipped without it."""
    files: dict[str, bytes | File] = {
        "bin/busybox": File(busybox().read_bytes(), 0o755),
        "etc/passwd": b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        "etc/group": b"root:x:0:\nnobody:x:65534:\n",
        **{f"bin/{name}": File(link="busybox") for name in _APPLETS},
    }
    return image_from_files(files, config=Config(env=("PATH=/bin",), cmd=("sh",)))


@contextmanager
def serving(service: CriService, place: Path) -> Iterator[Client]:
    """The service on a gRPC server with a socket below ``place``."""
    target = f"unix:{place}/cri.sock"
    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool)
    service.add_to_server(server)
    server.add_insecure_port(target)
    server.start()
    try:
        with client_of(target, service) as client:
            yield client
    finally:
        server.stop(None).wait()
        pool.shutdown()


@contextmanager
def client_of(target: str, service: CriService) -> Iterator[Client]:
    """Stubs on a channel of their own."""
    with grpc.insecure_channel(target) as channel:
        yield Client(
            runtime=wire.RuntimeServiceStub(channel),
            images=wire.ImageServiceStub(channel),
            target=target,
            service=service,
        )


def pod_config(place: Path, name: str = "pod", **settings: Any) -> api.PodSandboxConfig:
    """A pod on the host's network, with a log directory below ``place``; ``settings`` are fields of the message."""
    config = api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="tests", attempt=0),
        hostname=name,
        log_directory=str(place / "logs" / name),
        labels={"app": name},
        linux=api.LinuxPodSandboxConfig(
            security_context=api.LinuxSandboxSecurityContext(
                namespace_options=api.NamespaceOption(network=api.NamespaceMode.NODE)
            )
        ),
    )
    config.MergeFrom(api.PodSandboxConfig(**settings))
    return config


def container_config(
    *command: str, name: str = "main", image: str = IMAGE, **settings: Any
) -> api.ContainerConfig:
    """A container of the registry's busybox that runs ``command`` (default: sleeps)."""
    config = api.ContainerConfig(
        metadata=api.ContainerMetadata(name=name),
        image=api.ImageSpec(image=image),
        command=command or ("sleep", "1000"),
        log_path=f"{name}.log",
    )
    config.MergeFrom(api.ContainerConfig(**settings))
    return config
