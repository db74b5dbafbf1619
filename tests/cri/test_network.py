"""Networks of pods with plugins that are scripts: which configuration counts, what plugins are told, and when."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.cri.network import Network, PodNetwork, PortMapping, _results
from ociworks.cri.network._cache import Cache, Entry
from ociworks.cri.network._ranges import filled, parse_ranges
from ociworks.cri.network._turns import Turns
from ociworks.cri.network.request import parse_quantity, pod_network
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, NetworkError, OciworksError, PluginFailed, SpecError
from ociworks.spec import FrozenDict, cni
from tests.cri import networks
from tests.cri.networks import Host, fake_plugin, network_below

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")

ADDRESS = (
    '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],'
    '"ips":[{"address":"10.9.9.9/24","interface":0}]}'
)
RECORDING = """
echo "$CNI_COMMAND" >>{place}/{name}.asked
cat >{place}/{name}.$CNI_COMMAND
[ "$CNI_COMMAND" = ADD ] || exit 0
echo '{result}'
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with networks.host(tmp_path) as made:
        yield made


def recording(place: Path, name: str, result: str = ADDRESS) -> None:
    """A plugin that notes what it is asked."""
    fake_plugin(place, name, RECORDING.format(place=place, name=name, result=result))


def told(place: Path, name: str, command: str) -> Any:
    """The configuration that a plugin got."""
    return json.loads((place / f"{name}.{command}").read_bytes())


def network_of(place: Path, *plugins: dict[str, Any], **settings: Any) -> Network:
    document = {"cniVersion": "1.1.0", "name": "podnet", "plugins": list(plugins)} | settings
    return network_below(place, document, cni_bin_dirs=(str(place / "bin"),))


# --- configurations -----------------------------------------------------------------------------------


def test_without_a_configuration_the_directory_is_named(tmp_path: Path) -> None:
    network = network_below(tmp_path, cni_bin_dirs=())
    ready, reason, message = network.status()
    assert (ready, reason) == (False, "NetworkPluginNotReady")
    assert f"{tmp_path}/net.d" in message
    (tmp_path / "net.d").rmdir()
    assert f"{tmp_path}/net.d" in network.status()[2]


def test_changes_are_noticed(tmp_path: Path) -> None:
    """A file that comes, changes or goes counts at the next look, without any signal."""
    recording(tmp_path, "fake")
    network = network_below(tmp_path, cni_bin_dirs=(str(tmp_path / "bin"),))
    assert not network.status()[0]
    good = json.dumps({"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "fake"}]})
    file = tmp_path / "net.d" / "50-a.conflist"
    file.write_text(good)
    assert network.status()[0]
    file.write_text(good.replace("fake", "gone"))
    assert "gone" in network.status()[2]
    earlier = tmp_path / "net.d" / "10-b.conf"
    earlier.write_text(json.dumps({"cniVersion": "1.0.0", "name": "b", "type": "fake"}))
    assert network.status()[0]
    earlier.unlink()
    assert not network.status()[0]


def test_plugins_in_files_of_their_own(tmp_path: Path) -> None:
    """CNI 1.1: files in the directory of the network's name are further plugins, unless the list forbids it."""
    for name in ("fake", "more"):
        recording(tmp_path, name)
    network = network_of(tmp_path, {"type": "fake"})
    folder = tmp_path / "net.d" / "podnet"
    folder.mkdir()
    (folder / "10-more.conf").write_text(json.dumps({"type": "more"}))
    assert network.status()[0]
    assert (tmp_path / "more.asked").read_text().split() == ["STATUS"]
    (folder / "10-more.conf").write_text(json.dumps({"type": "missing"}))
    assert "missing" in network.status()[2]
    (folder / "10-more.conf").write_bytes(b"{")
    assert not network.status()[0]
    (folder / "10-more.conf").write_text(json.dumps({"type": "more"}))
    assert network.status()[0]
    network = network_of(tmp_path, {"type": "fake"}, loadOnlyInlinedPlugins=True)
    assert network.status()[0]


def test_one_plugin_in_a_file_of_the_older_kind(tmp_path: Path) -> None:
    recording(tmp_path, "fake")
    network = network_below(tmp_path, cni_bin_dirs=(str(tmp_path / "bin"),))
    for ending in ("conf", "json"):
        file = tmp_path / "net.d" / f"10-one.{ending}"
        file.write_text(json.dumps({"cniVersion": "0.4.0", "name": "one", "type": "fake", "own": {"k": 1}}))
        assert network.status() == (True, "", "")
        file.write_text(json.dumps({"type": "fake"}))
        assert "cniVersion" in network.status()[2]
        file.unlink()


@pytest.mark.parametrize(
    ("declared", "plugins", "spoken"),
    [
        (["1.0.0"], [["0.4.0", "1.0.0", "1.1.0"]], "1.0.0"),
        (["0.4.0", "1.0.0", "1.1.0"], [["0.4.0", "1.0.0"], ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]], "1.0.0"),
        (["1.1.0"], [["0.4.0", "1.0.0"]], "1.0.0"),
        (["1.1.0"], [["1.1.0"], ["0.4.0"]], None),
        (["0.4.0"], [["1.0.0"]], None),
        (["0.2.0"], [["0.2.0", "1.0.0"]], None),
        (["1.0.0", "9.0.0"], [["1.0.0"]], None),
    ],
)
def test_versions(tmp_path: Path, declared: list[str], plugins: list[list[str]], spoken: str | None) -> None:
    """The highest that is declared and known to all; where they know only older ones, the highest of these."""
    for number, known in enumerate(plugins):
        path = fake_plugin(tmp_path, f"p{number}", "")
        answer = json.dumps({"cniVersion": "1.0.0", "supportedVersions": known})
        path.write_text(f"#!/bin/sh\ncat >{tmp_path}/stdin; echo '{answer}'\n")
    document = {"cniVersions": declared[1:], "cniVersion": declared[0]} if len(declared) > 1 else {}
    confs = [{"type": f"p{number}"} for number in range(len(plugins))]
    network = network_of(tmp_path, *confs, **{"cniVersion": declared[0]} | document)
    if spoken is None:
        assert not network.status()[0]
    else:
        assert network.status()[0]
        current = network._configurations.current().configuration
        assert network._chain(current).version() == spoken


def test_a_plugin_is_asked_for_its_versions_once(tmp_path: Path) -> None:
    path = fake_plugin(tmp_path, "fake", "exit 0")
    path.write_text(path.read_text().replace("VERSION ]; then", f"VERSION ]; then echo x >>{tmp_path}/asked"))
    network = network_of(tmp_path, {"type": "fake"})
    for _ in range(3):
        assert network.status()[0]
    assert (tmp_path / "asked").read_text() == "x\n"
    os.utime(path, ns=(1, 1))
    assert network.status()[0]
    assert (tmp_path / "asked").read_text() == "x\nx\n"


# --- what plugins are told ----------------------------------------------------------------------------


@root_only
def test_a_chain(host: Host, tmp_path: Path) -> None:
    """Results go from one to the next, the last one goes back; capabilities only to those that declare them."""
    capabilities = {
        "portMappings": True,
        "bandwidth": False,
        "io.kubernetes.cri.pod-annotations": True,
        "mac": True,
    }
    recording(tmp_path, "one")
    recording(tmp_path, "two", ADDRESS.replace("10.9.9.9", "10.9.9.10"))
    network = network_of(tmp_path, {"type": "one", "own": [1]}, {"type": "two", "capabilities": capabilities})
    mapping = PortMapping(host_port=8080, container_port=80, protocol="udp", host_ip="127.0.0.1")
    pod = host.pod(
        port_mappings=(mapping,),
        annotations=FrozenDict({"a": "b;c=d"}),
        capabilities=FrozenDict({"mac": "m"}),
    )
    attached = host.run(lambda: network.add(pod))
    assert attached.addresses == ("10.9.9.10",)
    assert told(tmp_path, "one", "ADD") == {
        "cniVersion": "1.1.0",
        "name": "podnet",
        "type": "one",
        "own": [1],
    }
    second = told(tmp_path, "two", "ADD")
    assert second["prevResult"]["ips"][0]["address"] == "10.9.9.9/24"
    assert second["prevResult"]["cniVersion"] == "1.1.0"
    assert "capabilities" not in second
    assert second["runtimeConfig"] == {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1"}],
        "io.kubernetes.cri.pod-annotations": {"a": "b;c=d"},
        "mac": "m",
    }
    host.run(lambda: network.check(pod))
    host.run(lambda: network.remove(pod))
    for command in ("CHECK", "DEL"):
        for name in ("one", "two"):
            assert told(tmp_path, name, command)["prevResult"] == json.loads(attached.result)
    assert told(tmp_path, "two", "DEL")["runtimeConfig"] == second["runtimeConfig"]


@root_only
def test_garbage_is_collected_by_plugins_that_know_it(host: Host, tmp_path: Path) -> None:
    recording(tmp_path, "fake")
    network = network_of(tmp_path, {"type": "fake"})
    live, dead = host.pod("live"), host.pod("dead")
    for pod in (live, dead):
        host.run(lambda pod=pod: network.add(pod))  # type: ignore[misc]
    host.run(lambda: network.gc([live.id]))
    assert (tmp_path / "fake.asked").read_text().split() == ["ADD", "ADD", "DEL", "GC"]
    valid = [{"containerID": live.id, "ifname": "eth0"}]
    request = told(tmp_path, "fake", "GC")
    assert request["cni.dev/valid-attachments"] == valid
    assert request["cni.dev/attachments"] == valid
    network_of(tmp_path, {"type": "fake"}, disableGC=True).gc([live.id])
    network_of(tmp_path, {"type": "fake"}, cniVersion="1.0.0").gc([live.id])
    assert (tmp_path / "fake.asked").read_text().split().count("GC") == 1


@root_only
def test_a_check_that_the_configuration_disables(host: Host, tmp_path: Path) -> None:
    recording(tmp_path, "fake")
    network = network_of(tmp_path, {"type": "fake"}, disableCheck=True)
    pod = host.pod()
    host.run(lambda: network.add(pod))
    host.run(lambda: network.check(pod))
    assert "CHECK" not in (tmp_path / "fake.asked").read_text()


def test_a_plugin_that_is_not_ready(tmp_path: Path) -> None:
    """STATUS is asked since CNI 1.1.0; its words reach the kubelet, escaped."""
    fake_plugin(tmp_path, "fake", 'echo \'{"code":50,"msg":"no \\u001b pool"}\'; exit 1')
    ready, _, message = network_of(tmp_path, {"type": "fake"}).status()
    assert not ready
    assert "code 50" in message
    assert "\x1b" not in message
    assert network_of(tmp_path, {"type": "fake"}, cniVersion="1.0.0").status()[0]


@root_only
def test_nothing_to_remove(host: Host, tmp_path: Path) -> None:
    """Without a record the plugins are asked as they are configured; without a configuration there is nothing."""
    recording(tmp_path, "fake")
    pod = host.pod()
    network_below(tmp_path, cni_bin_dirs=()).remove(pod)
    network = network_of(tmp_path, {"type": "fake"})
    for _ in range(2):
        host.run(lambda: network.remove(pod))
    assert (tmp_path / "fake.asked").read_text().split() == ["DEL"]
    assert "prevResult" not in told(tmp_path, "fake", "DEL")


@root_only
def test_an_unknown_container_needs_no_cleaning(host: Host, tmp_path: Path) -> None:
    fake_plugin(tmp_path, "fake", 'echo \'{"code":3,"msg":"unknown"}\'; exit 1')
    network = network_of(tmp_path, {"type": "fake"})
    host.run(lambda: network.remove(host.pod()))


# --- the node's addresses -----------------------------------------------------------------------------


@root_only
def test_pod_ranges_reach_plugins_that_ask(host: Host, tmp_path: Path) -> None:
    recording(tmp_path, "fake")
    conf = {"type": "fake", "capabilities": {"ipRanges": True}}
    network_of(tmp_path, conf).set_pod_cidr("10.1.0.0/16, fd00::/64")
    pod = host.pod()
    again = network_of(tmp_path, conf)  # another server: the kubelet does not say it twice
    host.run(lambda: again.add(pod))
    ranges = [[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd00::/64"}]]
    assert told(tmp_path, "fake", "ADD")["runtimeConfig"] == {"ipRanges": ranges}


def test_a_template(tmp_path: Path) -> None:
    """It becomes a configuration, follows changes, and gives way to a configuration that somebody else made."""
    recording(tmp_path, "fake")
    template = {
        "cniVersion": "1.0.0",
        "name": "made",
        "plugins": [
            {"type": "fake", "ipam": {"type": "fake", "ranges": "${pod_cidr_ranges}", "routes": "${routes}"}}
        ],
    }
    (tmp_path / "template").write_text(json.dumps(template))
    settings = {"cni_bin_dirs": (str(tmp_path / "bin"),), "cni_conf_template": str(tmp_path / "template")}
    network = network_below(tmp_path, **settings)
    assert not network.status()[0]
    for text in ("10.1.0.0/16", "10.2.0.0/16"):
        network.set_pod_cidr(text)
        assert network.status()[0]
        made = json.loads((tmp_path / "net.d" / "10-ociworks.conflist").read_bytes())
        assert made["plugins"][0]["ipam"]["ranges"] == [[{"subnet": text}]]
        assert made["plugins"][0]["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}]
    (tmp_path / "net.d" / "05-other.conf").write_text(
        json.dumps({"cniVersion": "1.0.0", "name": "o", "type": "fake"})
    )
    network.set_pod_cidr("10.3.0.0/16")
    assert json.loads((tmp_path / "net.d" / "10-ociworks.conflist").read_bytes()) == made


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1/8", "10.0.0.0/33", "x", "10.0.0.0/8,", '10.0.0.0/8","type":"x', "1/8" * 20]
)
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRequest, match="pod_cidr"):
        parse_ranges(text)


def test_templates_that_are_none() -> None:
    for template in (
        b"",
        b"{{range}}",
        b"[]",
        b'{"name":"${pod_cidr}"}',
        b'{"cniVersion":"1.0.0","name":"a b"}',
    ):
        with pytest.raises(SpecError):
            filled(template, ("10.0.0.0/8",))


# --- requests -----------------------------------------------------------------------------------------


def test_a_request() -> None:
    config = api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name="web", namespace="prod", uid="u-1", attempt=0),
        dns_config=api.DNSConfig(servers=["10.0.0.10"], searches=["prod.svc"], options=["ndots:5"]),
        port_mappings=[
            api.PortMapping(
                protocol=api.Protocol.UDP, container_port=53, host_port=5353, host_ip="127.0.0.1"
            ),
            api.PortMapping(container_port=80),
        ],
        annotations={"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1.5Mi"},
        linux=api.LinuxPodSandboxConfig(cgroup_parent="/kubepods/pod1"),
    )
    pod = pod_network("a" * 64, config, "/run/net")
    assert pod.arguments()[-1] == ("K8S_POD_UID", "u-1")
    found = pod.capability_arguments()
    assert found["portMappings"] == (
        FrozenDict({"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}),
    )
    assert found["bandwidth"] == FrozenDict(
        {
            "ingressRate": 10_000_000,
            "ingressBurst": 2**32 - 1,
            "egressRate": 1_572_864,
            "egressBurst": 2**32 - 1,
        }
    )
    assert found["dns"] == FrozenDict(
        {"servers": ("10.0.0.10",), "searches": ("prod.svc",), "options": ("ndots:5",)}
    )
    assert found["cgroupPath"] == "/kubepods/pod1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("10M", 10**7),
        ("1.5Gi", 3 * 2**29),
        ("2e6", 2 * 10**6),
        ("1E", 10**18),
        ("100m", 1),
        (".5k", 500),
        ("5.", 5),
        ("1E-1", 1),
        ("0", 0),
    ],
)
def test_quantities(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "M", ".", "-1", "+1", "1 M", "1mi", "1e", "1e999", "٣", "1" * 30, "1_0", "0x1", "1M\n"]
)
def test_quantities_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRequest, match="quantity"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1", "999", "1001T", "x", "2P"])
def test_bandwidths_that_make_no_sense(text: str) -> None:
    config = api.PodSandboxConfig(annotations={"kubernetes.io/egress-bandwidth": text})
    with pytest.raises(InvalidRequest, match="egress-bandwidth"):
        pod_network("a", config, "/run/net")


# --- results and the cache ----------------------------------------------------------------------------


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_results_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(NetworkError):
        _results.read(raw)


def interfaces() -> st.SearchStrategy[cni.Interface]:
    return st.builds(
        cni.Interface, name=st.sampled_from(["eth0", "net1"]), sandbox=st.sampled_from([None, "/run/n"])
    )


def ips() -> st.SearchStrategy[cni.IPConfig]:
    address = st.ip_addresses().map(lambda ip: f"{ip}/{ip.max_prefixlen}")
    return st.builds(cni.IPConfig, address=address, interface=st.sampled_from([None, 0, 1]))


@given(
    st.builds(
        cni.Result,
        cni_version=st.sampled_from(cni.VERSIONS),
        interfaces=st.tuples(interfaces(), interfaces()),
        ips=st.lists(ips(), max_size=4).map(tuple),
    ),
    st.sampled_from(cni.VERSIONS),
)
def test_results_in_every_version(result: cni.Result, version: str) -> None:
    """Another version and back says the same; what is written can be read; addresses are addresses."""
    there = _results.as_version(_results.as_version(result, version), "1.0.0")
    assert there == _results.as_version(result, "1.0.0")
    written = _results.read(spec.to_json(_results.as_version(result, version)))
    assert written.cni_version == version
    try:
        found = _results.addresses(written, "eth0")
    except NetworkError:
        return
    assert found
    assert all(any(ip.address.startswith(f"{one}/") for ip in result.ips) for one in found)


def test_the_first_ipv4_address_is_the_primary_one() -> None:
    ips = ("fd00::5/64", "10.0.0.5/8", "fd00::6/64")
    result = cni.Result(ips=tuple(cni.IPConfig(address=ip) for ip in ips))
    assert _results.addresses(result, "eth0") == ("10.0.0.5", "fd00::5", "fd00::6")


def entry(id: str, network: str = "net") -> Entry:
    return Entry(container_id=id, config=b"{}", if_name="eth0", network_name=network)


def test_the_cache(tmp_path: Path) -> None:
    """Attachments of a pod by its whole ID; what cannot be read is left alone; dropping again is harmless."""
    cache = Cache(str(tmp_path / "cache"))
    assert cache.all() == []
    cache.drop(entry("a"))
    for pod in ("a", "a-b", "b"):
        cache.put(entry(pod))
    cache.put(entry("a", "other"))
    assert [(one.network_name, one.container_id) for one in cache.of("a")] == [("net", "a"), ("other", "a")]
    place = tmp_path / "cache" / "results"
    (place / "net-a-eth1").write_bytes(b"junk")
    (place / "net-a-eth2").symlink_to("net-b-eth0")
    (place / "net-a-eth3").mkdir()
    assert len(cache.of("a")) == 2
    assert len(cache.all()) == 4
    cache.drop(entry("a"))
    cache.drop(entry("a"))
    assert [one.network_name for one in cache.of("a")] == ["other"]
    with pytest.raises(OciworksError):
        cache.put(entry("../a"))
    assert not [name for name in os.listdir(place) if name.startswith(".")]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(NetworkError, match="cache"):
        Cache(str(tmp_path / "cache")).put(entry("a"))


def test_turns() -> None:
    """Whoever goes alone waits for those who share, and keeps new ones out."""
    turns, events = Turns(), []
    inside, leave = threading.Event(), threading.Event()

    def share() -> None:
        with turns.shared():
            inside.set()
            leave.wait(30)
            events.append("shared")

    def alone() -> None:
        with turns.alone():
            events.append("alone")

    sharing = threading.Thread(target=share)
    sharing.start()
    assert inside.wait(30)
    waiting = [threading.Thread(target=alone) for _ in range(3)]
    for thread in waiting:
        thread.start()
    leave.set()
    for thread in (sharing, *waiting):
        thread.join(30)
    assert events == ["shared", "alone", "alone", "alone"]
    with turns.shared(), turns.shared():
        pass


def test_messages_of_plugin_failures_say_what_to_look_at(tmp_path: Path) -> None:
    fake_plugin(tmp_path, "fake", 'echo \'{"code":11,"msg":"busy","details":"later"}\'; exit 1')
    network = network_of(tmp_path, {"type": "fake"})
    with pytest.raises(PluginFailed) as caught:
        network.remove(PodNetwork(id="a", netns="/missing"))
    assert caught.value.code == 11
    assert str(caught.value) == f"network plugin {tmp_path}/bin/fake: DEL: code 11: 'busy' ('later')"
