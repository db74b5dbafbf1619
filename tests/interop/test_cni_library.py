"""The reference library (libcni, by its ``cnitool``) and this one see each other's attachments."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ociworks.cri.network import Network, PodNetwork
from ociworks.errors import PluginFailed
from tests.cri import networks
from tests.cri.networks import Host, configuration, in_pod, leases, network_below, plugin_directory
from tests.interop.peers import peer

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]

_SEES_ONLY_ITS_CACHE = """
mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/cni && mount --bind {cache} /var/lib/cni &&
NETCONFPATH={conf} CNI_PATH={plugins} CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAME=pod' exec {tool} {command} podnet {netns}
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with networks.host(tmp_path) as made:
        yield made


@pytest.fixture
def network(tmp_path: Path) -> Network:
    (tmp_path / "cache").mkdir()
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return network_below(tmp_path, configuration(tmp_path, portmap))


def pod_of(host: Host) -> PodNetwork:
    """A pod by the ID that cnitool makes of a path."""
    pod = host.pod()
    digest = hashlib.sha512(pod.netns.encode()).hexdigest()
    return attrs.evolve(pod, id=f"cnitool-{digest[:20]}")


def cnitool(host: Host, command: str, pod: PodNetwork) -> subprocess.CompletedProcess[str]:
    script = _SEES_ONLY_ITS_CACHE.format(
        cache=host.place / "cache",
        conf=host.place / "net.d",
        plugins=plugin_directory(),
        tool=peer("cnitool"),
        command=command,
        netns=pod.netns,
    )
    return host.shell("unshare", "--mount", "sh", "-c", script)


def test_it_checks_and_deletes_what_we_attached(host: Host, network: Network, tmp_path: Path) -> None:
    pod = pod_of(host)
    attached = host.run(lambda: network.add(pod))
    checked = cnitool(host, "check", pod)
    assert checked.returncode == 0, checked.stderr
    assert leases(tmp_path) == list(attached.addresses)
    deleted = cnitool(host, "del", pod)
    assert deleted.returncode == 0, deleted.stderr
    assert leases(tmp_path) == []
    host.run(lambda: network.remove(pod))


def test_we_check_and_delete_what_it_attached(host: Host, network: Network, tmp_path: Path) -> None:
    pod = pod_of(host)
    added = cnitool(host, "add", pod)
    assert added.returncode == 0, added.stderr
    host.run(lambda: network.check(pod))
    assert in_pod(pod, "ip", "link", "del", "eth0").returncode == 0
    with pytest.raises(PluginFailed):
        host.run(lambda: network.check(pod))
    host.run(lambda: network.remove(pod))
    assert leases(tmp_path) == []
    assert not list((tmp_path / "cache" / "results").iterdir())


def test_it_collects_what_we_attached(host: Host, network: Network, tmp_path: Path) -> None:
    pod = pod_of(host)
    host.run(lambda: network.add(pod))
    collected = cnitool(host, "gc", pod)
    assert collected.returncode == 0, collected.stderr
    assert leases(tmp_path) == []
