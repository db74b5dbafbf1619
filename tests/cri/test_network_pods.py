"""Pods with networks of their own, through a server that runs as a program on a host of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire
from tests.cri import networks
from tests.cri.networks import Host, configuration, leases, plugin_directory
from tests.cri.nodes import pod_config
from tests.interop.peers import busybox

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]


@pytest.fixture
def host(place: Path) -> Iterator[Host]:
    with networks.host(place) as made:
        yield made


@contextmanager
def server(host: Host) -> Iterator[wire.RuntimeServiceStub]:
    """A client of a server on ``host``, which is killed, as by a crash, after the block."""
    place, config = host.place, host.place / "cri.toml"
    lines = [f'{name} = "{place}/{name}"' for name in ("root", "state", "cni_conf_dir", "cni_cache_dir")]
    lines += [f'pod_logs = ["{place}/logs"]', f'cni_bin_dirs = ["{plugin_directory()}"]']
    lines += ["restrict_oom_score_adj = true"]
    config.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "ociworks", "cri", "serve", "--config", str(config)]
    command += ["--socket", str(place / "cri.sock")]
    process = host.run(lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    try:
        assert process.stdout
        assert process.stdout.readline().startswith("serving on ")
        with grpc.insecure_channel(f"unix:{place}/cri.sock") as channel:
            yield wire.RuntimeServiceStub(channel)
    finally:
        process.kill()
        process.communicate()


def network_ready(runtime: wire.RuntimeServiceStub) -> api.RuntimeCondition:
    conditions = runtime.Status(api.StatusRequest()).status.conditions
    return next(one for one in conditions if one.type == "NetworkReady")


def on_network(place: Path, name: str) -> api.PodSandboxConfig:
    config = pod_config(place, name)
    config.linux.security_context.namespace_options.network = api.NamespaceMode.POD
    return config


def run(runtime: wire.RuntimeServiceStub, config: api.PodSandboxConfig) -> tuple[str, str]:
    """A pod's ID and address."""
    made = runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
    request = api.PodSandboxStatusRequest(pod_sandbox_id=made)
    return made, runtime.PodSandboxStatus(request).status.network.ip


def test_a_pod_is_on_the_network_across_crashes_of_the_server(host: Host, place: Path) -> None:
    """Not ready, then ready without a restart; addresses in the status; what a killed server made the next removes."""
    directory = place / "cni_conf_dir"
    directory.mkdir()
    with server(host) as runtime:
        before = network_ready(runtime)
        assert (before.status, before.reason) == (False, "NetworkPluginNotReady")
        assert str(directory) in before.message
        with pytest.raises(grpc.RpcError) as caught:
            run(runtime, on_network(place, "early"))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert not runtime.ListPodSandbox(api.ListPodSandboxRequest()).items
        document = configuration(place, {"type": "portmap", "capabilities": {"portMappings": True}})
        (directory / "10-net.conflist").write_text(json.dumps(document))
        assert network_ready(runtime).status
        first, address = run(runtime, on_network(place, "first"))
        assert host.shell(str(busybox()), "ping", "-c", "1", "-W", "5", address).returncode == 0
        assert leases(place) == [address]
    with server(host) as runtime:
        status = runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=first)).status
        assert (status.state, status.network.ip) == (api.PodSandboxState.SANDBOX_READY, address)
        assert host.shell(str(busybox()), "ping", "-c", "1", "-W", "5", address).returncode == 0
        second, other = run(runtime, on_network(place, "second"))
        assert other != address
        for made in (first, second):
            for _ in range(2):
                runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=made))
            runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=made))
        assert leases(place) == []
    assert not list((place / "cni_cache_dir" / "results").iterdir())
