"""CR-14: what a request for a pod says reaches files, groups, names and ports of the host only when it is judged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest
from ociworks.runtime import cgroups
from tests.cri.nodes import pod_config
from tests.cri.sandboxes import Pods, pods_below, traces

Change = Callable[[api.PodSandboxConfig], object]


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """Sandboxes of which nothing may be seen afterwards."""
    before = traces(tmp_path)
    with pods_below(tmp_path) as made:
        yield made
    assert traces(tmp_path) == before


def refused(pods: Pods, place: Path, change: Change) -> None:
    """The request is refused, and nothing has happened because of it."""
    config = pod_config(place)
    config.linux.security_context.namespace_options.network = api.POD
    change(config)
    with pytest.raises(InvalidRequest):
        pods.sandboxes.run(config, "")
    assert pods.store.sandboxes.all() == ()
    assert pods.network.calls == []
    assert pods.events == []
    assert os.listdir(pods.config.state) == []
    assert not (place / "logs").exists()


LINES = ("a\nnameserver 6.6.6.6", "a b", "a\tb", "a\0b", "", "-a", "a;b", "ä", "a\r")


@pytest.mark.parametrize("text", LINES)
def test_cr_14_words_of_the_resolver(pods: Pods, tmp_path: Path, text: str) -> None:
    """No word brings a line, a second word or a NUL into the file."""
    refused(pods, tmp_path, lambda c: c.dns_config.searches.append(text))
    refused(pods, tmp_path, lambda c: c.dns_config.options.append(text))
    refused(pods, tmp_path, lambda c: c.dns_config.servers.append(text))


@pytest.mark.parametrize("server", ["10.0.0.256", "dns.example", "::1%a b", "1.1.1.1%eth0", "010.0.0.1"])
def test_cr_14_servers_are_addresses(pods: Pods, tmp_path: Path, server: str) -> None:
    """In their one spelling."""
    refused(pods, tmp_path, lambda c: c.dns_config.servers.append(server))


def test_cr_14_lists_without_end(pods: Pods, tmp_path: Path) -> None:
    """Ten thousand of anything."""
    many = 10_000
    refused(pods, tmp_path, lambda c: c.dns_config.servers.extend(["1.1.1.1"] * many))
    refused(pods, tmp_path, lambda c: c.dns_config.searches.extend(["a"] * many))
    refused(pods, tmp_path, lambda c: c.dns_config.searches.extend(["a" * 250] * 9))
    refused(pods, tmp_path, lambda c: c.dns_config.options.extend(["a"] * many))
    maps = [api.IDMapping(container_id=n, host_id=100000 + n, length=1) for n in range(many)]
    users = api.UserNamespace(uids=maps, gids=maps)
    refused(
        pods, tmp_path, lambda c: c.linux.security_context.namespace_options.userns_options.CopyFrom(users)
    )


@pytest.mark.parametrize(
    "name", ["a" * 65, "..", ".", "a..b", "-a", "a-", "a_b", "a\nb", "a\0", "a/b", "a b", "ä", "a."]
)
def test_cr_14_host_names(pods: Pods, tmp_path: Path, name: str) -> None:
    """Only what a host may be called, at most 64 bytes."""
    refused(pods, tmp_path, lambda c: setattr(c, "hostname", name))


@pytest.mark.parametrize("parent", ["../x", "/a/../../b", "a\nb", "/", ".", "/cgroup.procs", "x/tasks"])
def test_cr_14_control_groups(pods: Pods, tmp_path: Path, parent: str) -> None:
    """No way out of the tree, no name of the kernel's."""
    refused(pods, tmp_path, lambda c: setattr(c.linux, "cgroup_parent", parent))


@pytest.mark.parametrize(
    "parent", ["/kubepods/pod1", "kubepods.slice/../x.slice", "/a.slice/b.slice", "x.scope"]
)
def test_cr_14_only_slices_under_systemd(tmp_path: Path, parent: str) -> None:
    """A slice, where systemd has it."""
    with pods_below(tmp_path, cgroup_driver="systemd") as pods:
        refused(pods, tmp_path, lambda c: setattr(c.linux, "cgroup_parent", parent))


@pytest.mark.root
def test_cr_14_a_user_namespace_without_a_parent_is_in_a_group_all_the_same(
    pods: Pods, tmp_path: Path
) -> None:
    """An empty parent is a group of the pod's own, never the root."""
    maps = [api.IDMapping(container_id=0, host_id=200000, length=65536)]
    config = pod_config(tmp_path)
    config.ClearField("log_directory")
    options = config.linux.security_context.namespace_options
    options.CopyFrom(
        api.NamespaceOption(pid=api.CONTAINER, userns_options=api.UserNamespace(uids=maps, gids=maps))
    )
    made = pods.sandboxes.run(config, "")
    assert pods.sandboxes.get(made).cgroup_parent == f"/ociworks/{made}"
    groups = [Path(f"{mount.mount_point}/ociworks/{made}") for mount in cgroups.detect().mounts]
    assert all(group.is_dir() for group in groups)
    pods.sandboxes.remove(made)
    assert not any(group.exists() for group in groups)


@pytest.mark.parametrize(
    ("field", "mode"),
    [
        ("network", api.CONTAINER),
        ("network", api.TARGET),
        ("ipc", api.CONTAINER),
        ("ipc", api.TARGET),
        ("pid", api.TARGET),
        ("network", 4),
        ("ipc", 99),
        ("pid", -1),
    ],
)
def test_cr_14_modes_that_a_pod_cannot_have(pods: Pods, tmp_path: Path, field: str, mode: int) -> None:
    """Another pod's container is no target of a pod."""

    def change(config: api.PodSandboxConfig) -> None:
        options = config.linux.security_context.namespace_options
        setattr(options, field, mode)
        options.target_id = "f" * 64 if mode == api.TARGET else ""

    refused(pods, tmp_path, change)


@pytest.mark.parametrize(
    "mapping",
    [
        api.PortMapping(container_port=80, host_port=-1),
        api.PortMapping(container_port=80, host_port=65536),
        api.PortMapping(container_port=0, host_port=80),
        api.PortMapping(container_port=-80, host_port=80),
        api.PortMapping(container_port=80, host_port=80, protocol=7),  # type: ignore[arg-type]
        api.PortMapping(container_port=80, host_port=80, host_ip="224.0.0.1"),
        api.PortMapping(container_port=80, host_port=80, host_ip="ff02::1"),
        api.PortMapping(container_port=80, host_port=80, host_ip="1.2.3.4 -j ACCEPT"),
        api.PortMapping(container_port=80, host_port=80, host_ip="localhost"),
    ],
)
def test_cr_14_ports(pods: Pods, tmp_path: Path, mapping: api.PortMapping) -> None:
    """A port and an address that a host can have."""
    refused(pods, tmp_path, lambda c: c.port_mappings.append(mapping))


def test_cr_14_the_same_port_twice(pods: Pods, tmp_path: Path) -> None:
    """One of the two would not be served."""
    mapping = api.PortMapping(container_port=80, host_port=8080)
    refused(pods, tmp_path, lambda c: c.port_mappings.extend([mapping, mapping]))


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "vm.overcommit_memory",
        "fs.file-max",
        "kernel.msgmax",
        "net.ipv4.ip_forward",
        "net/../kernel/core_pattern",
        "net.ipv4..tcp_rmem",
        "net.ipv4.conf.eth0/100.x",
        "kernel.shm_rmid_forced\n",
        "",
    ],
)
def test_cr_14_settings_of_the_kernel(pods: Pods, tmp_path: Path, name: str) -> None:
    """Only safe ones, by their exact names."""
    refused(pods, tmp_path, lambda c: c.linux.sysctls.update({name: "1"}))


def test_cr_14_settings_of_the_hosts_namespaces(pods: Pods, tmp_path: Path) -> None:
    """A pod in a namespace of the host cannot set what is in it."""

    def network(config: api.PodSandboxConfig) -> None:
        config.linux.security_context.namespace_options.network = api.NODE
        config.linux.sysctls["net.ipv4.tcp_syncookies"] = "0"

    def ipc(config: api.PodSandboxConfig) -> None:
        config.linux.security_context.namespace_options.ipc = api.NODE
        config.linux.sysctls["kernel.shm_rmid_forced"] = "1"

    refused(pods, tmp_path, network)
    refused(pods, tmp_path, ipc)


@pytest.mark.parametrize("value", ["1\n2", "x" * 5000, "\x1b[2J"])
def test_cr_14_values_of_settings(pods: Pods, tmp_path: Path, value: str) -> None:
    """One line that can be printed."""
    refused(pods, tmp_path, lambda c: c.linux.sysctls.update({"net.ipv4.tcp_rmem": value}))


# --- beside CR-06 and CR-08: the log directory and the names of pods ------------------------------------


@pytest.mark.parametrize(
    "name",
    ["logs/x", "{}/logs", "{}/logs/../x", "{}/other/x", "/var/log/pods/x", "{}/logs/a\nb", "{}/logs/./x"],
)
def test_cr_06_log_directories_of_pods_are_below_the_configured_one(
    pods: Pods, tmp_path: Path, name: str
) -> None:
    """Whole names, without dots and control characters."""
    refused(pods, tmp_path, lambda c: setattr(c, "log_directory", name.format(tmp_path)))


@pytest.mark.root
@pytest.mark.parametrize("kind", ["link", "file", "foreign", "open"])
def test_cr_06_log_directories_of_pods_are_ours(pods: Pods, tmp_path: Path, kind: str) -> None:
    """No link on the way, no file, nobody else's; what a link points to stays as it is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    above = tmp_path / "logs" / "a"
    above.parent.mkdir()
    if kind == "link":
        above.symlink_to(outside)
    elif kind == "file":
        above.touch()
    else:
        above.mkdir()
        os.chown(above, 65534 if kind == "foreign" else 0, -1)
        above.chmod(0o777 if kind == "open" else 0o755)
    config = pod_config(tmp_path)
    config.log_directory = str(above / "b")
    with pytest.raises(InvalidRequest, match="log_directory"):
        pods.sandboxes.run(config, "")
    assert list(outside.iterdir()) == []
    assert pods.store.sandboxes.all() == ()


@pytest.mark.parametrize("value", ["../x", "a/b", "a\0", "a\nb", "x" * (64 << 10), ".", "..", "-a", "ä"])
@pytest.mark.parametrize("field", ["name", "namespace", "uid"])
def test_cr_08_names_of_pods(pods: Pods, tmp_path: Path, field: str, value: str) -> None:
    """Letters, digits, and a few signs in between."""
    refused(pods, tmp_path, lambda c: setattr(c.metadata, field, value))
