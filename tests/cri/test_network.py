"""Networks of pods with plugins that are scripts: which configuration counts, what plugins are told, and when."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociworks.cri.network import Network, PodNetwork, PortMapping
from ociworks.cri.network._ranges import filled, parse_ranges
from ociworks.cri.network._turns import Turns
from ociworks.errors import InvalidRequest, PluginFailed, SpecError
from ociworks.spec import FrozenDict
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
