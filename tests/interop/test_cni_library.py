"""The reference library (libcni) and this one find each other's attachments: what it keeps, recorded, and its steps.

``RECORDED`` is what libcni 1.3 wrote for a network of these plugins; the plugins that are called here are Debian's.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ociworks.cri.network import Network, PodNetwork
from ociworks.errors import PluginFailed
from tests.cri import networks
from tests.cri.networks import Host, configuration, in_pod, leases, network_below, plugin_directory

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]

RECORDED: Mapping[str, Any] = {
    "kind": "cniCacheV1",
    "containerId": "cnitool-421b0ed65e2da3059d3b",
    "config": "",
    "ifName": "eth0",
    "networkName": "podnet",
    "netns": "/run/netns/pod",
    "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "pod"]],
    "result": {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"mac": "d6:d1:a6:73:85:09", "name": "ociw0"},
            {"mac": "26:92:c2:07:67:fc", "name": "veth8690962a"},
            {"mac": "fa:0d:ce:d5:0f:ef", "name": "eth0", "sandbox": "/run/netns/pod"},
        ],
        "ips": [{"address": "10.123.0.2/24", "gateway": "10.123.0.1", "interface": 2}],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with networks.host(tmp_path) as made:
        yield made


@pytest.fixture
def network(tmp_path: Path) -> Network:
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return network_below(tmp_path, configuration(tmp_path, portmap))


def file_of(place: Path, pod: PodNetwork) -> Path:
    """Where the library keeps an attachment."""
    return place / "cache" / "results" / f"podnet-{pod.id}-eth0"


class Library:
    """What the library does with one attachment, from a file that it, or we, have written."""

    def __init__(self, host: Host, file: Path) -> None:
        self._host, self._file = host, file

    def add(self, pod: PodNetwork, raw: bytes) -> None:
        """Attach the pod by this configuration, and keep that."""
        document = json.loads(json.dumps(RECORDED))
        document |= {"containerId": pod.id, "netns": pod.netns, "config": base64.b64encode(raw).decode()}
        document["result"] = None
        for plugin in json.loads(raw)["plugins"]:
            document["result"] = json.loads(self._call("ADD", document, plugin))
        self._file.parent.mkdir(parents=True)
        self._file.write_text(json.dumps(document))

    def each(self, command: str) -> None:
        """Have every plugin check it, or take it down, in its order."""
        document = json.loads(self._file.read_text())
        plugins = json.loads(base64.b64decode(document["config"]))["plugins"]
        for plugin in reversed(plugins) if command == "DEL" else plugins:
            self._call(command, document, plugin)
        if command == "DEL":
            self._file.unlink()

    def _call(self, command: str, document: Mapping[str, Any], plugin: Mapping[str, Any]) -> str:
        whole = json.loads(base64.b64decode(document["config"]))
        request = {**plugin, "name": whole["name"], "cniVersion": whole["cniVersion"]}
        if document["result"]:
            request["prevResult"] = document["result"]
        given = document.get("capabilityArgs", {})
        wanted = [name for name, wish in plugin.get("capabilities", {}).items() if wish and name in given]
        request["runtimeConfig"] = {name: given[name] for name in wanted}
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": document["containerId"],
            "CNI_NETNS": document["netns"],
            "CNI_IFNAME": document["ifName"],
            "CNI_ARGS": ";".join("=".join(pair) for pair in document["cniArgs"]),
            "CNI_PATH": plugin_directory(),
        }
        program = f"{plugin_directory()}/{plugin['type']}"
        done: subprocess.CompletedProcess[str] = self._host.run(
            lambda: subprocess.run(
                [program],
                input=json.dumps(request),
                env={**os.environ, **variables},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        )
        assert done.returncode == 0, (command, plugin["type"], done.stdout, done.stderr)
        return done.stdout


def test_what_we_keep_is_what_it_keeps(host: Host, network: Network, tmp_path: Path) -> None:
    """In a file of the same name, with members of the same names and kinds, and the very bytes of the configuration."""
    pod = host.pod()
    host.run(lambda: network.add(pod))
    kept = json.loads(file_of(tmp_path, pod).read_text())
    assert {name: type(kept[name]) for name in RECORDED} == {
        name: type(value) for name, value in RECORDED.items()
    }
    for name in ("kind", "ifName", "networkName"):
        assert kept[name] == RECORDED[name]
    assert (kept["containerId"], kept["netns"]) == (pod.id, pod.netns)
    assert base64.b64decode(kept["config"]) == (tmp_path / "net.d/10-net.conflist").read_bytes()
    assert all(len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in kept["cniArgs"])
    assert ["K8S_POD_NAME", "pod"] in kept["cniArgs"]
    result = kept["result"]
    assert result.keys() >= RECORDED["result"].keys()
    for name in ("interfaces", "ips", "routes"):
        assert [one.keys() for one in result[name]] == [one.keys() for one in RECORDED["result"][name]]
    host.run(lambda: network.remove(pod))


def test_it_checks_and_deletes_what_we_attached(host: Host, network: Network, tmp_path: Path) -> None:
    pod = host.pod()
    attached = host.run(lambda: network.add(pod))
    library = Library(host, file_of(tmp_path, pod))
    library.each("CHECK")
    assert leases(tmp_path) == list(attached.addresses)
    library.each("DEL")
    assert leases(tmp_path) == []
    host.run(lambda: network.remove(pod))


def test_we_check_and_delete_what_it_attached(host: Host, network: Network, tmp_path: Path) -> None:
    pod = host.pod()
    Library(host, file_of(tmp_path, pod)).add(pod, (tmp_path / "net.d/10-net.conflist").read_bytes())
    assert len(leases(tmp_path)) == 1
    host.run(lambda: network.check(pod))
    assert in_pod(pod, "ip", "link", "del", "eth0").returncode == 0
    with pytest.raises(PluginFailed):
        host.run(lambda: network.check(pod))
    host.run(lambda: network.remove(pod))
    assert leases(tmp_path) == []
    assert not file_of(tmp_path, pod).exists()


def test_we_collect_what_it_attached(host: Host, network: Network, tmp_path: Path) -> None:
    pod = host.pod()
    Library(host, file_of(tmp_path, pod)).add(pod, (tmp_path / "net.d/10-net.conflist").read_bytes())
    host.run(lambda: network.gc(()))
    assert leases(tmp_path) == []
    assert not file_of(tmp_path, pod).exists()
