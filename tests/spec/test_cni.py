"""The Container Network Interface as values, and its rules."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.errors import InvalidSpec
from ociworks.spec import cni
from ociworks.spec.validate.cni import is_plugin_type

PLUGINS = Path("/usr/lib/cni")

NETWORK = {
    "cniVersion": "1.1.0",
    "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
    "name": "pods",
    "disableCheck": True,
    "disableGC": False,
    "loadOnlyInlinedPlugins": True,
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "ipMasq": True,
            "keyA": ["own", {"x": 1}],
            "ipam": {"type": "host-local", "subnet": "10.1.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]},
            "dns": {
                "nameservers": ["10.1.0.1", "fd00::1"],
                "domain": "x",
                "search": ["y"],
                "options": ["ndots:5"],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "cni0", "mac": "00:11:22:33:44:55", "mtu": 1500},
        {"name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/run/netns/x", "pciID": "0000:00:1f.6"},
    ],
    "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1}, {"address": "fd00::5/64"}],
    "routes": [
        {
            "dst": "0.0.0.0/0",
            "gw": "10.1.0.1",
            "mtu": 1400,
            "advmss": 1,
            "priority": 0,
            "table": 254,
            "scope": 0,
        }
    ],
    "dns": {},
}


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (cni.NetworkConfigList, NETWORK),
        (cni.Result, RESULT),
        (cni.Result, {"ips": [{"version": "4", "address": "10.0.0.1/32"}], "cniVersion": "0.3.1"}),
        (cni.ErrorResult, {"cniVersion": "1.0.0", "code": 7, "msg": "Invalid", "details": "too small"}),
        (cni.VersionResult, {"cniVersion": "1.0.0", "supportedVersions": ["0.1.0", "1.0.0"]}),
        (
            cni.PluginConf,
            {
                "cniVersion": "1.1.0",
                "name": "pods",
                "type": "bridge",
                "runtimeConfig": {"portMappings": [{"hostPort": 80}]},
                "args": {"cni": {"ips": ["10.0.0.1"]}},
                "prevResult": RESULT,
                "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}],
                "cni.dev/later": None,
            },
        ),
    ],
)
def test_documents_are_written_back_unchanged(kind: type[spec.Model], document: dict[str, object]) -> None:
    """Plugins' own keys included, whose values a runtime must pass on (SPEC.md section 3)."""
    value = spec.parse(kind, json.dumps(document).encode())
    assert json.loads(spec.to_json(value)) == document
    assert spec.validate(value) == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": "a/b"}, "$.name"),
        ({"name": ""}, "$.name"),
        ({"name": "-x"}, "$.name"),
        ({"name": "pods\n"}, "$.name"),
        ({"cniVersion": "1"}, "$.cniVersion"),
        ({"cniVersion": "2.0.0"}, "$.cniVersion"),
        ({"cniVersions": ["1.0.0", "x"]}, "$.cniVersions[1]"),
        ({"plugins": []}, "$.plugins"),
        ({"plugins": [{"type": "x", "runtimeConfig": {"a": 1}}]}, "$.plugins[0]"),
        ({"plugins": [{"type": "x", "prevResult": {}}]}, "$.plugins[0]"),
        ({"plugins": [{"type": "x", "cni.dev/x": 1}]}, "$.plugins[0]"),
        ({"plugins": [{"type": "x", "ipam": {"type": "../x"}}]}, "$.plugins[0].ipam.type"),
        (
            {"plugins": [{"type": "x", "dns": {"nameservers": ["dns.example"]}}]},
            "$.plugins[0].dns.nameservers[0]",
        ),
    ],
)
def test_rules_of_networks(changes: dict[str, object], path: str) -> None:
    """Each broken rule is one problem that cites its section."""
    (problem,) = spec.validate(spec.parse(cni.NetworkConfigList, json.dumps({**NETWORK, **changes}).encode()))
    assert problem.path == path
    assert problem.section.startswith("CNI section")


@pytest.mark.parametrize(
    "name", ["../../bin/sh", "/bin/sh", "a b", "", ".", "..", "-x", "a\\b", "x\n", "x\0", "a" * 256]
)
def test_cr_15_plugin_types(name: str) -> None:
    """The type is a plain file name, wherever it is given."""
    assert not is_plugin_type(name)
    for conf in (cni.PluginConf(type=name), cni.PluginConf(type="x", ipam=cni.IPAM(type=name))):
        assert spec.validate(conf)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"cniVersion": "0.2.0"}, "$.cniVersion"),
        ({"ips": [{"address": "10.1.0.5"}]}, "$.ips[0].address"),
        ({"ips": [{"address": "10.1.0.5/255.255.0.0"}]}, "$.ips[0].address"),
        ({"ips": [{"address": "10.1.0.5/33"}]}, "$.ips[0].address"),
        ({"ips": [{"address": "10.1.0.5/+8"}]}, "$.ips[0].address"),
        ({"ips": [{"address": "10.1.0.05/8"}]}, "$.ips[0].address"),
        ({"ips": [{"address": "10.1/8"}]}, "$.ips[0].address"),
        ({"ips": [{"address": "fe80::1%eth0/64"}]}, "$.ips[0].address"),
        ({"ips": [{"address": "fd00::1/129"}]}, "$.ips[0].address"),
        ({"ips": [{"address": "10.1.0.5/8", "gateway": "10.1.0.1/8"}]}, "$.ips[0].gateway"),
        ({"ips": [{"address": "10.1.0.5/8", "interface": 2}]}, "$.ips[0].interface"),
        ({"routes": [{"dst": "default"}]}, "$.routes[0].dst"),
        ({"routes": [{"dst": "0.0.0.0/0", "gw": "2130706433"}]}, "$.routes[0].gw"),
        ({"interfaces": [{"name": "../x"}, {"name": "b"}]}, "$.interfaces[0].name"),
        ({"interfaces": [{"name": "a" * 16}, {"name": "b"}]}, "$.interfaces[0].name"),
        ({"interfaces": [{"name": ""}, {"name": "b"}]}, "$.interfaces[0].name"),
        ({"interfaces": [{"name": "a", "mac": "x"}, {"name": "b"}]}, "$.interfaces[0].mac"),
        ({"interfaces": [{"name": "a", "sandbox": "netns"}, {"name": "b"}]}, "$.interfaces[0].sandbox"),
    ],
)
def test_cr_15_results(changes: dict[str, object], path: str) -> None:
    """Results come from programs; addresses and names are read strictly."""
    (problem,) = spec.validate(spec.parse(cni.Result, json.dumps({**RESULT, **changes}).encode()))
    assert problem.path == path


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (cni.NetworkConfigList, {**NETWORK, "plugins": {}}),
        (cni.NetworkConfigList, {"cniVersion": "1.0.0"}),
        (cni.PluginConf, {"name": "x"}),
        (cni.PluginConf, {"type": "x", "capabilities": {"a": "true"}}),
        (cni.Result, {**RESULT, "ips": [{"address": "10.0.0.1/8", "interface": -1}]}),
        (cni.ErrorResult, {"code": "7", "msg": "x"}),
    ],
)
def test_sp_04_shapes(kind: type[spec.Model], document: dict[str, object]) -> None:
    """Nothing is coerced."""
    with pytest.raises(InvalidSpec):
        spec.parse(kind, json.dumps(document).encode())


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
own = st.dictionaries(
    words.map("own-".__add__), st.none() | st.integers(0, 9) | words | st.lists(words), max_size=3
)


@given(words, own)
def test_any_plugin_configuration_reads_back(name: str, extra: dict[str, object]) -> None:
    """Whatever a plugin calls its keys."""
    raw = json.dumps({"type": name, **extra}).encode()
    value = spec.parse(cni.PluginConf, raw)
    assert json.loads(spec.to_json(value)) == json.loads(raw)
    spec.validate(value)


@pytest.mark.interop
@pytest.mark.skipif(
    not (PLUGINS / "host-local").exists(), reason="Debian's containernetworking-plugins is not installed"
)
class TestRealPlugins:
    """What Debian's plugins print is read and follows the rules."""

    def run(self, command: str, request: dict[str, object], plugin: str = "host-local") -> bytes:
        """One invocation; the address manager touches nothing but its own directory."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/proc/self/ns/net",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": os.fspath(PLUGINS),
        }
        argv = [os.fspath(PLUGINS / plugin)]
        return subprocess.run(
            argv, input=json.dumps(request).encode(), env=environment, stdout=-1, check=False
        ).stdout

    def test_versions(self) -> None:
        """VERSION of several plugins."""
        for plugin in ("host-local", "bridge", "loopback", "portmap"):
            value = spec.parse(cni.VersionResult, self.run("VERSION", {"cniVersion": "1.0.0"}, plugin))
            assert "1.0.0" in value.supported_versions

    def test_addresses_and_errors(self, tmp_path: Path) -> None:
        """ADD, then ADD on a network that is full, then DEL."""
        conf = cni.PluginConf(
            cni_version="1.0.0",
            name="tiny",
            type="host-local",
            ipam=cni.IPAM(
                type="host-local",
                extra=spec.FrozenDict({"subnet": "10.9.0.0/30", "dataDir": str(tmp_path), "routes": ()}),
            ),
        )
        assert spec.validate(conf) == []
        request = json.loads(spec.to_json(conf))
        result = spec.parse(cni.Result, self.run("ADD", request))
        assert spec.validate(result) == []
        assert result.ips[0].address == "10.9.0.2/30"
        failed = spec.parse(cni.ErrorResult, self.run("ADD", request))
        assert spec.validate(failed) == []
        assert failed.code
        assert failed.msg
        assert self.run("DEL", request) == b""
