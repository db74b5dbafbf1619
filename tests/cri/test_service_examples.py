"""The examples: an application with a service of its own, and a client that runs a pod through it, with CNI.

Everything is in a network namespace of the test's own: bridge, addresses, firewall rules and the registry.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf import wrappers_pb2 as wrappers

from examples import cri_pod
from ociworks import testing
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.image import remote
from tests.cri.nodes import busybox_image
from tests.source_tree import CHECKOUT

IMAGE = "127.0.0.1:5000/busybox:1.36"

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(
        not Path("/usr/lib/cni/bridge").exists(), reason="containernetworking-plugins is not installed"
    ),
]


@pytest.fixture
def inside() -> Iterator[Sequence[str]]:
    """The beginning of a command that runs in a network namespace of the test's own."""
    name = f"ociworks-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ["nsenter", f"--net=/run/netns/{name}"]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextmanager
def running(*command: str | Path, says: str) -> Iterator[None]:
    """A program for the time of the block, which begins when it says so."""
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT)
        )
        assert process.stdout
        assert process.stderr
        complaints: list[str] = []
        reading = threading.Thread(target=lambda: complaints.extend(process.stderr or ()))
        reading.start()
        try:
            assert process.stdout.readline().startswith(says), complaints
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
            reading.join()
        assert status == 0, "".join(complaints)


@pytest.fixture
def application(place: Path, inside: Sequence[str]) -> Iterator[Path]:
    """The example's server with CNI, and a registry that it can reach; the socket."""
    configuration = {
        "cniVersion": "1.0.0",
        "name": "example",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "example0",
                "isGateway": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(place / "addresses"),
                    "ranges": [[{"subnet": "10.77.0.0/24"}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (place / "net.d").mkdir()
    (place / "net.d/10-example.conflist").write_text(json.dumps(configuration))
    options = testing.RegistryOptions(directory=place / "registry")
    with testing.Registry(options) as registry, remote.Client() as client:
        client.push(busybox_image(), f"{registry.host}/busybox:1.36")
    python = [*inside, sys.executable]
    socket = place / "sockets" / "cri.sock"
    serve = ["-m", "ociworks", "registry", "serve", "--dir", str(place / "registry"), "--quiet"]
    example = [CHECKOUT / "examples/cri_server.py", place, socket]
    with running(*python, *serve, says="serving on"), running(*python, *example, says="serving on"):
        yield socket


def test_the_client_runs_a_pod(application: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Address, program and log; afterwards no pod is left."""
    cri_pod.main(str(application), IMAGE, str(place / "logs/demo"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("address: 10.77.0.")
    assert lines[1] == "hostname: demo"
    assert lines[2].endswith("stdout F hello from demo")
    with grpc.insecure_channel(f"unix:{application}") as channel:
        node = cri_pod.Node(channel)
        assert not node.runtime.ListPodSandbox(api.ListPodSandboxRequest()).items
    assert not [name for name in os.listdir(place / "addresses/example") if name.startswith("10.")]


def test_the_application_has_its_own_service(application: Path, place: Path) -> None:
    """It counts what the interface runs."""
    pod = api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name="a", uid="a", namespace="b"), log_directory=f"{place}/logs/a"
    )
    config = api.ContainerConfig(
        metadata=api.ContainerMetadata(name="main"),
        image=api.ImageSpec(image=IMAGE),
        command=["sleep", "100"],
    )
    with grpc.insecure_channel(f"unix:{application}") as channel:
        count = channel.unary_unary(
            "/demo.Census/Count", wrappers.StringValue.SerializeToString, wrappers.Int64Value.FromString
        )
        node = cri_pod.Node(channel)
        assert count(wrappers.StringValue(value=IMAGE)).value == 0
        node.images.PullImage(api.PullImageRequest(image=config.image))
        with node.pod(pod) as sandbox:
            node.container(sandbox, pod, config)
            assert count(wrappers.StringValue(value=IMAGE)).value == 1
        assert count(wrappers.StringValue(value=IMAGE)).value == 0
