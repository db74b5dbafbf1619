"""CR-15 and CR-03: network plugins that are hostile or hostilely configured, and ports that are not the pod's."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociworks._linux.mount import unmount
from ociworks.cri.network import Network, PodNetwork, PortMapping, _process, connect_in
from ociworks.errors import InvalidRequest, NetworkError, PluginFailed
from ociworks.spec import FrozenDict
from tests.cri import networks
from tests.cri.networks import Host, configuration, fake_plugin, in_pod_call, leases, network_below


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with networks.host(tmp_path) as made:
        yield made


def fake_network(place: Path, script: str, timeout: int = 30) -> Network:
    """A network of one plugin, which is this shell script."""
    fake_plugin(place, "fake", script)
    document = {"cniVersion": "1.0.0", "name": "podnet", "plugins": [{"type": "fake"}]}
    return network_below(place, document, cni_bin_dirs=(str(place / "bin"),), cni_timeout=timeout)


def open_files() -> set[str]:
    """What this process has open, by what it is."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize(
    "type",
    ["../../bin/sh", "/bin/sh", "a b", "", ".", "..", "sh\n", "-c", "bridge\0", "sub/plugin", "x" * 256],
)
def test_cr_15_the_type_is_a_plain_name(tmp_path: Path, type: str) -> None:
    (tmp_path / "bin" / "sub").mkdir(parents=True)
    for name in ("a b", "-c", "sub/plugin"):
        fake_plugin(tmp_path, name, "exit 0")
    for conf in ({"type": type}, {"type": "fake", "ipam": {"type": type}}):
        if not type and "ipam" in conf:
            continue
        fake_plugin(tmp_path, "fake", "exit 1")
        document = {"cniVersion": "1.0.0", "name": "podnet", "plugins": [conf]}
        network = network_below(tmp_path, document, cni_bin_dirs=(str(tmp_path / "bin"),))
        ready, reason, message = network.status()
        assert (ready, reason) == (False, "NetworkPluginNotReady")
        assert "10-net.conflist" in message


def test_cr_15_only_the_configured_directories_have_plugins(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    document = {"cniVersion": "1.0.0", "name": "podnet", "plugins": [{"type": "sh"}]}
    network = network_below(tmp_path, document, cni_bin_dirs=(str(tmp_path / "bin"),))
    ready, _, message = network.status()
    assert not ready
    assert f"{tmp_path}/bin" in message


def test_cr_15_plugins_that_others_may_write(tmp_path: Path) -> None:
    network = fake_network(tmp_path, "exit 0")
    (tmp_path / "bin" / "fake").chmod(0o777)
    assert "everybody may write" in network.status()[2]
    (tmp_path / "bin" / "fake").chmod(0o644)
    assert not network.status()[0]
    (tmp_path / "bin" / "fake").chmod(0o755)
    for name in ("bin", "net.d"):
        assert network.status()[0]
        (tmp_path / name).chmod(0o777)
        assert "everybody may" in network.status()[2]
        (tmp_path / name).chmod(0o755)


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def large(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(1 << 30)


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "change",
    [
        a_link,
        large,
        a_fifo,
        lambda path: path.chmod(0o666),
        lambda path: path.write_bytes(path.read_bytes() * 2),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b'{"cniVersion":"9.9.9","name":"x","plugins":[{"type":"fake"}]}'),
        lambda path: path.write_bytes(b'{"cniVersion":"1.0.0","name":"../x","plugins":[{"type":"fake"}]}'),
        lambda path: path.write_bytes(b'{"cniVersion":"1.0.0","name":"x","plugins":[]}'),
        lambda path: path.write_bytes(
            b'{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"fake","prevResult":{"ips":[{"address":"1.2.3.4/8"}]}}]}'
        ),
    ],
)
def test_cr_15_configuration_files(tmp_path: Path, change: Any) -> None:
    """The first file counts: a bad one is told by name, and no other network takes its place."""
    network = fake_network(tmp_path, "exit 0")
    file = tmp_path / "net.d" / "10-net.conflist"
    (tmp_path / "net.d" / "20-other.conflist").write_bytes(file.read_bytes())
    assert network.status() == (True, "", "")
    change(file)
    ready, reason, message = network.status()
    assert (ready, reason) == (False, "NetworkPluginNotReady")
    assert str(file) in message


@pytest.mark.parametrize("field", ["name", "namespace", "uid"])
@pytest.mark.parametrize(
    "text", ["x;K8S_POD_UID=y", "a=b", "a b", "a\nb", "a\0b", "../x", "-x", "é", "x" * 300, "x;", ";"]
)
def test_cr_15_arguments_are_tokens(field: str, text: str) -> None:
    values: dict[str, Any] = {"name": "pod", "namespace": "ns", "uid": "u"} | {field: text}
    with pytest.raises(InvalidRequest, match=field):
        PodNetwork(id="a" * 64, netns="/run/x", **values)


@pytest.mark.parametrize("name", ["../x", "x" * 16, "", "a b", "a/b", ".", "..", "a:b", "a\0"])
def test_cr_15_interface_names(name: str) -> None:
    with pytest.raises(InvalidRequest, match="interface"):
        PodNetwork(id="a" * 64, netns="/run/x", ifname=name)


@pytest.mark.parametrize("id", ["", "../x", "a/b", "a;b", "a\n", "x" * 200])
def test_cr_15_pod_ids(id: str) -> None:
    with pytest.raises(InvalidRequest, match="id"):
        PodNetwork(id=id, netns="/run/x")


@pytest.mark.parametrize(
    "values",
    [
        {"annotations": FrozenDict({"a": "b\0"})},
        {"annotations": FrozenDict({"a": "b" * (1 << 21)})},
        {"dns_servers": ("10.0.0.1\0",)},
        {"cgroup_parent": "/\0"},
    ],
)
def test_cr_15_what_is_recorded_can_be_read_again(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="NUL"):
        PodNetwork(id="a", netns="/run/x", **values)


@pytest.mark.root
def test_cr_15_a_plugin_that_hangs(host: Host, tmp_path: Path) -> None:
    """It and all that it started are killed; the pod gets an error, and DEL is tried."""
    script = f"""
        echo $CNI_COMMAND >>{tmp_path}/asked
        [ $CNI_COMMAND = ADD ] || exit 0
        sleep 1000 & echo $! >{tmp_path}/child
        wait
    """
    network = fake_network(tmp_path, script, timeout=3)
    pod = host.pod()
    before = open_files()
    with pytest.raises(PluginFailed, match="in time") as caught:
        host.run(lambda: network.add(pod))
    assert caught.value.command == "ADD"
    assert (tmp_path / "asked").read_text().split() == ["ADD", "DEL"]
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"
    assert open_files() == before
    assert not list((tmp_path / "cache" / "results").iterdir())


@pytest.mark.root
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("head -c 1073741824 /dev/zero", "more than"),
        ('echo "{}{}"', "CNI result"),
        ('echo \'{"code":7,"msg":"no"}\'', "CNI result"),
        ("echo", "CNI result"),
        ("echo '[]'", "CNI result"),
        ("printf '\\377\\376{}'", "CNI result"),
        ('echo \'{"cniVersion":"1.0.0"}\'', "no address"),
        ('echo \'{"ips":[{"address":"10.0.0.300/8"}]}\'', "CNI result"),
        ('echo \'{"ips":[{"address":"10.0.0.3/8","interface":4}]}\'', "CNI result"),
        ('echo \'{"ips":[{"address":"127.0.0.1/8"}]}\'', "127.0.0.1"),
        ('echo \'{"ips":[{"address":"0.0.0.0/0"}]}\'', "0.0.0.0"),
        ('echo \'{"ips":[{"address":"ff02::1/128"}]}\'', "ff02::1"),
        ('echo \'{"ips":[{"address":"10.0.0.3/8"}],"cniVersion":"7.0.0"}\'', "CNI result"),
        ('echo \'{"code":100,"msg":"no\\u001b[2Jroom"}\'; exit 1', "code 100: 'no.x1b.2Jroom'"),
        ("echo oops >&2; exit 3", "exit code 3: 'oops'"),
        ("kill -9 $$", "signal 9"),
        ("yes >&2 & yes >&2 & sleep 0.1; exit 1", "exit code 1"),
    ],
)
def test_cr_15_what_a_plugin_says(host: Host, tmp_path: Path, output: str, message: str) -> None:
    """Whatever it is, it is an error in bounded memory and time; the plugin is asked to undo, nothing is left."""
    script = f'echo $CNI_COMMAND >>{tmp_path}/asked\n[ "$CNI_COMMAND" = ADD ] || exit 0\n{output}'
    network = fake_network(tmp_path, script)
    pod = host.pod()
    before, threads = open_files(), threading.active_count()
    with pytest.raises(NetworkError, match=message):
        host.run(lambda: network.add(pod))
    assert (tmp_path / "asked").read_text().split() == ["ADD", "DEL"]
    assert open_files() == before
    assert not list((tmp_path / "cache" / "results").iterdir())
    assert threading.active_count() == threads


@pytest.mark.root
def test_cr_15_nothing_but_what_was_made_for_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin gets no variable and no descriptor of the server's."""
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    reader, writer = socket.socketpair()
    writer.set_inheritable(True)
    _process._inherited.cache_clear()
    script = f"""
        env >{tmp_path}/env; ls -l /proc/self/fd >{tmp_path}/fds; cat >{tmp_path}/stdin
        echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.9.9.9/24"}}]}}'
    """
    network = fake_network(tmp_path, script)
    pod = host.pod()
    with reader, writer:
        assert host.run(lambda: network.add(pod)).addresses == ("10.9.9.9",)
    _process._inherited.cache_clear()
    found = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert {name for name in found if name not in ("PWD", "SHLVL", "_", "OLDPWD")} == {
        *("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH", "PATH")
    }
    assert found["CNI_ARGS"] == (
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=tests;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID=id-pod;K8S_POD_UID=u-pod"
    )
    assert json.loads((tmp_path / "stdin").read_bytes()) == {
        "cniVersion": "1.0.0",
        "name": "podnet",
        "type": "fake",
    }
    listed = [line.partition(" -> ") for line in (tmp_path / "fds").read_text().splitlines()[1:]]
    assert {left.split()[-1] for left, _, _ in listed} == {"0", "1", "2", "3"}  # 3 is the listing itself
    assert not [target for _, _, target in listed if "socket:" in target]


@pytest.mark.root
def test_cr_15_the_namespace_is_replaced(host: Host, tmp_path: Path) -> None:
    """DEL is not run in another pod's namespace, nor in the host's, that took the place of the pod's."""
    script = f"""
        echo "$CNI_COMMAND $CNI_NETNS" >>{tmp_path}/asked
        [ $CNI_COMMAND = ADD ] || exit 0
        echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.9.9.9/24"}}]}}'
    """
    network = fake_network(tmp_path, script)
    victim = host.pod("victim")
    for number, source in enumerate((victim.netns, str(tmp_path / "net-host"), "/dev/null")):
        pod = host.pod(f"p{number}")
        host.run(lambda pod=pod: network.add(pod))  # type: ignore[misc]
        unmount(pod.netns, 2)
        host.run(lambda source=source, pod=pod: networks.bind(source, pod.netns))  # type: ignore[misc]
        host.run(lambda pod=pod: network.remove(pod))  # type: ignore[misc]
    lines = (tmp_path / "asked").read_text().splitlines()
    assert [line for line in lines if line.startswith("DEL")] == ["DEL "] * 3


@pytest.mark.root
def test_cr_15_no_namespace_of_its_own(host: Host, tmp_path: Path) -> None:
    """A pod is never attached in the host's namespace, by a link, or by a path to something else."""
    network = fake_network(tmp_path, f"touch {tmp_path}/ran")
    (tmp_path / "link").symlink_to(host.pod("other").netns)
    (tmp_path / "file").touch()
    hosts = str(tmp_path / "net-host")
    for path in (hosts, f"{tmp_path}/link", f"{tmp_path}/file", "/dev/null", "/proc/self/ns/uts", "/missing"):
        pod = PodNetwork(id="id-pod", netns=path)
        with pytest.raises(NetworkError):
            host.run(lambda pod=pod: network.add(pod))  # type: ignore[misc]
    assert not (tmp_path / "ran").exists()


@pytest.mark.root
def test_cr_15_every_plugin_is_asked_to_delete(host: Host, tmp_path: Path) -> None:
    """After a failed ADD too, the last plugin first, whatever the others say; what failed is tried again."""
    for name in ("one", "two", "three"):
        fake_plugin(
            tmp_path,
            name,
            f"""
            echo "$CNI_COMMAND {name}" >>{tmp_path}/asked
            [ -e {tmp_path}/broken-{name}-$CNI_COMMAND ] && exit 1
            [ $CNI_COMMAND = ADD ] || exit 0
            echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.9.9.9/24"}}]}}'
            """,
        )
    plugins = [{"type": name} for name in ("one", "two", "three")]
    document = {"cniVersion": "1.0.0", "name": "podnet", "plugins": plugins}
    network = network_below(tmp_path, document)
    pod = host.pod()
    (tmp_path / "broken-two-ADD").touch()
    (tmp_path / "broken-three-DEL").touch()
    with pytest.raises(PluginFailed) as caught:
        host.run(lambda: network.add(pod))
    assert caught.value.plugin == "two"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["ADD one", "ADD two", "DEL three", "DEL two", "DEL one"]
    with pytest.raises(PluginFailed) as caught:
        host.run(lambda: network.remove(pod))
    assert caught.value.plugin == "three"
    (tmp_path / "broken-three-DEL").unlink()
    host.run(lambda: network.remove(pod))
    assert not list((tmp_path / "cache" / "results").iterdir())


@pytest.mark.root
def test_cr_15_the_configuration_of_then_deletes(host: Host, tmp_path: Path) -> None:
    """What attached a pod detaches it, though the configuration has changed, is broken, or gone."""
    network = network_below(tmp_path, configuration(tmp_path))
    pod = host.pod()
    host.run(lambda: network.add(pod))
    assert leases(tmp_path)
    (tmp_path / "net.d" / "10-net.conflist").write_bytes(b"{")
    host.run(lambda: network.remove(pod))
    assert not leases(tmp_path)


@pytest.mark.root
@pytest.mark.parametrize("port", [0, -1, 65536, "80", "80@10.0.0.1", 80.0, True, None, 1 << 64])
def test_cr_03_ports_are_integers_in_range(host: Host, port: Any) -> None:
    with open(host.pod().netns, "rb") as netns, pytest.raises(InvalidRequest, match="1 to 65535"):
        connect_in(netns.fileno(), port)


@pytest.mark.root
def test_cr_03_never_the_servers_own_namespace(host: Host, tmp_path: Path) -> None:
    """A listener of the host on the same port is not reached; nor is one whose namespace took the pod's place."""
    pod = host.pod()
    with host.listener() as listener, open(pod.netns, "rb") as netns:
        port = listener.getsockname()[1]
        fd = netns.fileno()
        unmount(pod.netns, 2)
        networks.bind("/proc/self/ns/net", pod.netns)
        with pytest.raises(NetworkError, match="cannot connect"):
            host.run(lambda: connect_in(fd, port, timeout=5))
    with open("/proc/self/ns/net", "rb") as own, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(NetworkError, match="no network of its own"):
            connect_in(own.fileno(), port)
        connect_in(own.fileno(), port, own=True).close()
    with open("/dev/null", "rb") as other, pytest.raises(NetworkError, match="network namespace"):
        connect_in(other.fileno(), 80)


@pytest.mark.root
def test_cr_03_ipv6_after_ipv4(host: Host) -> None:
    """127.0.0.1 is asked first, then ::1; a name is never looked up."""
    pod = host.pod()
    with open(pod.netns, "rb") as netns:
        networks.loopback_up(pod)
        server = in_pod_call(pod, lambda: socket.create_server(("::1", 7000), family=socket.AF_INET6))
        with server, connect_in(netns.fileno(), 7000) as connection:
            assert connection.getpeername()[0] == "::1"
            assert connection.gettimeout() is None


@pytest.mark.root
def test_cr_03_a_port_that_never_answers(host: Host) -> None:
    """A full backlog ends in an error within the time, and no thread or descriptor is left."""
    pod = host.pod()
    networks.loopback_up(pod)
    with open(pod.netns, "rb") as netns:
        server = in_pod_call(pod, lambda: socket.create_server(("127.0.0.1", 7000), backlog=0))
        with server, connect_in(netns.fileno(), 7000):
            before, threads = open_files(), threading.active_count()
            started = time.monotonic()
            waiting = []
            for _ in range(3):
                try:
                    waiting.append(connect_in(netns.fileno(), 7000, timeout=0.2))
                except NetworkError:
                    break
            assert len(waiting) < 3
            assert time.monotonic() - started < 30
            for one in waiting:
                one.close()
            assert (open_files(), threading.active_count()) == (before, threads)


@pytest.mark.root
def test_cr_03_a_connection_to_itself_is_none(host: Host) -> None:
    """When the kernel gives the caller the very port that it asks for, nobody listens there."""
    pod = host.pod()
    networks.loopback_up(pod)
    in_pod_call(pod, lambda: _one_ephemeral_port(7777))
    with open(pod.netns, "rb") as netns, pytest.raises(NetworkError, match="refused"):
        connect_in(netns.fileno(), 7777)


def _one_ephemeral_port(port: int) -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as stream:
        stream.write(f"{port} {port}")


def test_cr_14_port_mappings() -> None:
    for values in (
        {"host_port": 0, "container_port": 80},
        {"host_port": -1, "container_port": 80},
        {"host_port": 80, "container_port": 65536},
        {"host_port": 80, "container_port": 80, "host_ip": "224.0.0.1"},
        {"host_port": 80, "container_port": 80, "host_ip": "1.2.3"},
        {"host_port": 80, "container_port": 80, "host_ip": "fe80::1%eth0"},
        {"host_port": 80, "container_port": 80, "protocol": "icmp"},
    ):
        with pytest.raises(InvalidRequest, match="port_mappings"):
            PortMapping(**values)
    twice = (PortMapping(host_port=80, container_port=80), PortMapping(host_port=80, container_port=81))
    with pytest.raises(InvalidRequest, match="twice"):
        PodNetwork(id="a", netns="/run/x", port_mappings=twice)
