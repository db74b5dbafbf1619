"""Networks of pods with the reference plugins (containernetworking-plugins), in network namespaces of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ociworks import spec
from ociworks._linux.mount import unmount
from ociworks.cri.network import Attached, Bandwidth, Network, PodNetwork, PortMapping, connect_in
from ociworks.errors import NetworkError, PluginFailed
from ociworks.spec import cni
from tests.cri import networks
from tests.cri.networks import Host, configuration, in_pod, in_pod_call, leases, network_below
from tests.interop.peers import busybox

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with networks.host(tmp_path) as made:
        yield made


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return network_below(tmp_path, configuration(tmp_path))


def test_two_pods_reach_each_other(host: Host, network: Network) -> None:
    first, second = host.pod("first"), host.pod("second")
    one = host.run(lambda: network.add(first))
    two = host.run(lambda: network.add(second))
    assert one.addresses != two.addresses
    assert in_pod(first, "ping", "-c", "1", "-W", "5", two.addresses[0]).returncode == 0
    assert in_pod(second, "ping", "-c", "1", "-W", "5", one.addresses[0]).returncode == 0
    assert host.shell(str(busybox()), "ping", "-c", "1", "-W", "5", one.addresses[0]).returncode == 0


def test_the_result_is_kept_where_other_tools_look(host: Host, network: Network, tmp_path: Path) -> None:
    pod = host.pod()
    attached = host.run(lambda: network.add(pod))
    (file,) = (tmp_path / "cache" / "results").iterdir()
    assert file.name == f"podnet-{pod.id}-eth0"
    document = json.loads(file.read_bytes())
    assert document["kind"] == "cniCacheV1"
    assert document["containerId"] == pod.id
    assert document["ifName"] == "eth0"
    assert document["networkName"] == "podnet"
    assert ["K8S_POD_NAME", "pod"] in document["cniArgs"]
    assert document["result"] == json.loads(attached.result)
    assert file.stat().st_mode & 0o777 == 0o600


def test_loopback_is_up(host: Host, network: Network) -> None:
    pod = host.pod()
    host.run(lambda: network.add(pod))
    assert in_pod(pod, "ping", "-c", "1", "-W", "5", "127.0.0.1").returncode == 0


def test_removing_frees_the_address_and_again_is_harmless(
    host: Host, network: Network, tmp_path: Path
) -> None:
    pod = host.pod()
    attached = host.run(lambda: network.add(pod))
    assert leases(tmp_path) == [attached.addresses[0]]
    for _ in range(2):
        host.run(lambda: network.remove(pod))
        assert leases(tmp_path) == []
    assert "eth0" not in in_pod(pod, "ip", "link").stdout
    assert not list((tmp_path / "cache" / "results").iterdir())


def test_removing_without_the_namespace_frees_the_address(
    host: Host, network: Network, tmp_path: Path
) -> None:
    pod = host.pod()
    host.run(lambda: network.add(pod))
    unmount(pod.netns, 2)
    host.run(lambda: network.remove(pod))
    assert leases(tmp_path) == []


def test_a_port_of_the_host_leads_to_the_pod(host: Host, tmp_path: Path) -> None:
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    network = network_below(tmp_path, configuration(tmp_path, portmap))
    mapping = PortMapping(host_port=8123, container_port=80)
    pod, client = host.pod("server", port_mappings=(mapping,)), host.pod("client")
    attached = host.run(lambda: network.add(pod))
    host.run(lambda: network.add(client))
    server = in_pod_call(pod, lambda: socket.create_server(("0.0.0.0", 80)))
    gateway = str(spec.parse(cni.Result, attached.result).ips[0].gateway)
    with server:
        # By the host's address on the bridge, from another pod: the mapping is what leads on.
        connection = in_pod_call(client, lambda: socket.create_connection((gateway, 8123), 10))
        with connection, server.accept()[0] as accepted:
            connection.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
    host.run(lambda: network.remove(pod))
    with pytest.raises(OSError):
        in_pod_call(client, lambda: socket.create_connection((gateway, 8123), 10))


def test_check_notices_a_link_that_is_gone(host: Host, network: Network) -> None:
    pod = host.pod()
    with pytest.raises(NetworkError, match="no network"):
        host.run(lambda: network.check(pod))
    host.run(lambda: network.add(pod))
    host.run(lambda: network.check(pod))
    assert in_pod(pod, "ip", "link", "del", "eth0").returncode == 0
    with pytest.raises(PluginFailed) as caught:
        host.run(lambda: network.check(pod))
    assert (caught.value.plugin, caught.value.command) == ("bridge", "CHECK")


def test_collection_frees_the_leases_of_dead_pods(host: Host, network: Network, tmp_path: Path) -> None:
    pods = [host.pod(name) for name in ("a", "b", "c")]
    kept = [host.run(lambda pod=pod: network.add(pod)) for pod in pods][1]  # type: ignore[misc]
    host.run(lambda: network.gc([pods[1].id]))
    assert leases(tmp_path) == [kept.addresses[0]]
    host.run(lambda: network.check(pods[1]))


def test_twenty_pods_four_at_a_time(host: Host, tmp_path: Path) -> None:
    further = ({"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "firewall"})
    network = network_below(tmp_path, configuration(tmp_path, *further))
    pods = [
        host.pod(f"p{number}", port_mappings=(PortMapping(host_port=9000 + number, container_port=80),))
        for number in range(20)
    ]

    def add(pod: PodNetwork) -> Attached:
        return host.run(lambda: network.add(pod))

    def remove(pod: PodNetwork) -> None:
        host.run(lambda: network.remove(pod))

    with ThreadPoolExecutor(4) as workers:
        attached = list(workers.map(add, pods))
        assert len({one.addresses for one in attached}) == 20
        list(workers.map(remove, pods))
    assert leases(tmp_path) == []
    assert "dport" not in host.shell("iptables-save", "-t", "nat").stdout


def test_a_crash_before_the_result_is_recorded(host: Host, network: Network, tmp_path: Path) -> None:
    """The plugins have run, and the server is killed before anything says so: removal by another one cleans up."""
    pod = host.pod()
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            _KILLED,
            str(tmp_path),
            pod.netns,
            str(host.netns),
            networks.plugin_directory(),
        ],
        pass_fds=(host.netns,),
        check=False,
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL
    assert len(leases(tmp_path)) == 1
    host.run(lambda: network.remove(pod))
    assert leases(tmp_path) == []
    assert "eth0" not in in_pod(pod, "ip", "link").stdout


_KILLED = """
import os, signal, sys
from ociworks.cri import CriConfig
from ociworks.cri.network import Network, PodNetwork, _namespace, client
place, netns, host, plugins = sys.argv[1:]
client._results.addresses = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
config = CriConfig(cni_conf_dir=place + "/net.d", cni_cache_dir=place + "/cache", cni_bin_dirs=(plugins,))
pod = PodNetwork(id="id-pod", netns=netns)
_namespace.inside(int(host), lambda: Network(config).add(pod))
"""


def test_a_conversation_with_a_port_in_a_pod(host: Host, network: Network) -> None:
    pod = host.pod()
    host.run(lambda: network.add(pod))
    server = in_pod_call(pod, lambda: socket.create_server(("127.0.0.1", 7000)))
    with server, open(pod.netns, "rb") as netns:
        with connect_in(netns.fileno(), 7000) as connection, server.accept()[0] as accepted:
            connection.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
        with pytest.raises(NetworkError, match="7001"):
            connect_in(netns.fileno(), 7001)


def test_other_plugins_in_the_chain(host: Host, tmp_path: Path) -> None:
    """tuning, bandwidth and firewall after ptp: everything is undone, in reverse."""
    further = (
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        {"type": "firewall"},
    )
    document = configuration(tmp_path, *further, type="ptp")
    network = network_below(tmp_path, document)
    pod = host.pod(bandwidth=Bandwidth(ingress=10_000_000, egress=5_000_000))
    host.run(lambda: network.add(pod))
    assert in_pod(pod, "cat", "/proc/sys/net/core/somaxconn").stdout.strip() == "500"
    assert "tbf" in host.shell("tc", "qdisc").stdout
    host.run(lambda: network.check(pod))
    host.run(lambda: network.remove(pod))
    assert leases(tmp_path) == []


def test_both_kinds_of_addresses(host: Host, tmp_path: Path) -> None:
    document = configuration(tmp_path)
    ranges = [[{"subnet": "fd00:123::/64"}], [{"subnet": networks.SUBNET}]]
    document["plugins"][0]["ipam"] |= {"ranges": ranges, "routes": []}
    network = network_below(tmp_path, document)
    first, second = host.pod("first"), host.pod("second")
    found = [host.run(lambda pod=pod: network.add(pod)).addresses for pod in (first, second)]  # type: ignore[misc]
    assert [len(one) for one in found] == [2, 2]
    assert found[1][0].startswith("10.123.")
    assert in_pod(first, "ping", "-c", "1", "-W", "5", found[1][1]).returncode == 0
    assert in_pod(first, "ping", "-c", "1", "-W", "5", found[1][0]).returncode == 0


def test_plugins_that_are_older_than_the_configuration(host: Host, tmp_path: Path) -> None:
    """A configuration of 1.1.0 with plugins of 1.0.0 speaks 1.0.0; one of 0.3.1 its own version."""
    for version, spoken in (("1.1.0", "1.0.0"), ("0.3.1", "0.3.1"), ("0.4.0", "0.4.0")):
        network = network_below(tmp_path, configuration(tmp_path) | {"cniVersion": version})
        pod = host.pod(f"at-{version}")
        attached = host.run(lambda: network.add(pod))  # noqa: B023
        assert spec.parse(cni.Result, attached.result).cni_version == spoken
        assert host.run(network.status) == (True, "", "")
        host.run(lambda: network.remove(pod))  # noqa: B023
    assert leases(tmp_path) == []
