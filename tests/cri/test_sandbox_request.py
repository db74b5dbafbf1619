"""What a request for a pod may say: judged before anything is made. No privileges needed."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cri.config import CriConfig
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.sandbox import groups
from ociworks.cri.sandbox.names import reserved_name
from ociworks.cri.sandbox.program import assemble
from ociworks.cri.sandbox.request import Pod, checked
from ociworks.cri.sandbox.resolver import hosts_file, resolver_file
from ociworks.errors import InvalidRequest, NotSupported

SETTINGS = CriConfig(pod_logs=("/var/log/pods",))
Change = Callable[[api.PodSandboxConfig], object]


def pod(change: Change = lambda _: None, settings: CriConfig = SETTINGS) -> Pod:
    """A valid request, changed, and judged."""
    config = api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name="a", namespace="b", uid="c"), hostname="a"
    )
    change(config)
    return checked(config, settings)


def options(config: api.PodSandboxConfig) -> api.NamespaceOption:
    """Where the namespaces are asked for."""
    return config.linux.security_context.namespace_options


def security(config: api.PodSandboxConfig) -> api.LinuxSandboxSecurityContext:
    """The security context."""
    return config.linux.security_context


def mapped(*maps: tuple[int, int, int]) -> Change:
    """A user namespace with these (inside, outside, length)."""
    entries = [api.IDMapping(container_id=a, host_id=b, length=c) for a, b, c in maps]

    def change(config: api.PodSandboxConfig) -> None:
        options(config).userns_options.CopyFrom(api.UserNamespace(mode=api.POD, uids=entries, gids=entries))

    return change


# --- whole requests ----------------------------------------------------------------------------------


def test_a_plain_pod_has_its_own_namespaces_and_the_settings_of_the_node() -> None:
    """Nothing asked for: nothing shared."""
    made = pod()
    assert not made.sharing.host_network
    assert not made.sharing.host_ipc
    assert made.sharing.shared_pid  # the default of the interface: POD is 0
    assert made.sysctls == (
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        ("net/ipv4/ping_group_range", "0 2147483647"),
    )
    assert made.resolver == b""


def test_settings_of_the_node_give_way_to_the_request() -> None:
    """The same setting from the pod counts."""
    made = pod(lambda c: c.linux.sysctls.update({"net.ipv4.ip_unprivileged_port_start": "80"}))
    assert ("net/ipv4/ip_unprivileged_port_start", "80") in made.sysctls


def test_a_pod_on_the_hosts_network_gets_no_settings_of_it() -> None:
    """They would be the host's."""
    assert pod(lambda c: setattr(options(c), "network", api.NODE)).sysctls == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: setattr(c.metadata, "name", ""), "metadata.name"),
        (lambda c: setattr(c.metadata, "name", "../x"), "metadata.name"),
        (lambda c: setattr(c.metadata, "uid", "a\nb"), "metadata.uid"),
        (lambda c: setattr(c.metadata, "namespace", "x" * 254), "metadata.namespace"),
        (lambda c: setattr(options(c), "network", api.CONTAINER), "network"),
        (lambda c: setattr(options(c), "ipc", api.TARGET), "ipc"),
        (lambda c: setattr(options(c), "pid", api.TARGET), "pid"),
        (lambda c: setattr(options(c), "pid", 17), "pid"),
        (lambda c: setattr(options(c), "target_id", "x"), "target_id"),
        (lambda c: security(c).run_as_group.CopyFrom(api.Int64Value(value=1)), "run_as_group"),
        (lambda c: security(c).run_as_user.CopyFrom(api.Int64Value(value=-1)), "run_as_user"),
        (lambda c: security(c).supplemental_groups.append(1 << 32), "supplemental_groups"),
        (lambda c: setattr(security(c).seccomp, "profile_type", 2), "seccomp.localhost_ref"),
        (lambda c: setattr(security(c).apparmor, "profile_type", 9), "apparmor.profile_type"),
        (lambda c: setattr(security(c).selinux_options, "type", "a:b"), "selinux_options.type"),
        (lambda c: setattr(security(c).selinux_options, "level", "s0\n"), "selinux_options.level"),
        (lambda c: c.linux.sysctls.update({"kernel.msgmax": "1"}), "sysctls"),
        (lambda c: c.linux.sysctls.update({"net.ipv4.tcp_rmem": "1\n2"}), "sysctls"),
        (mapped(), "userns_options.uids"),
        (mapped((1, 100000, 10)), "userns_options.uids"),
        (mapped((0, 100000, 0)), "userns_options.uids"),
        (mapped((0, 1 << 31, 1 << 31)), "userns_options.uids"),
        (mapped((0, 100000, 10), (5, 200000, 10)), "overlap"),
        (mapped((0, 100000, 10), (10, 100005, 10)), "overlap"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: Change, field: str) -> None:
    """InvalidRequest names the field."""
    with pytest.raises(InvalidRequest, match=field):
        pod(change)


def test_no_namespace_of_the_host_beside_a_user_namespace() -> None:
    """Its root would be nobody there."""

    def change(config: api.PodSandboxConfig) -> None:
        mapped((0, 100000, 65536))(config)
        options(config).network = api.NODE

    with pytest.raises(InvalidRequest, match="no namespace of the host"):
        pod(change)


def test_other_settings_when_they_are_allowed() -> None:
    """By name or by the beginning of it; what is the whole host's is never allowed."""
    settings = CriConfig(allowed_unsafe_sysctls=("fs.mqueue.*", "kernel.msgmax", "vm.*"))
    made = pod(lambda c: c.linux.sysctls.update({"fs.mqueue.msg_max": "100"}), settings)
    assert ("fs/mqueue/msg_max", "100") in made.sysctls
    with pytest.raises(InvalidRequest, match="whole host"):
        pod(lambda c: c.linux.sysctls.update({"vm.swappiness": "1"}), settings)


def test_the_other_spelling_of_a_setting_is_no_way_around() -> None:
    """With slashes, dots are part of names (sysctl(8))."""
    made = pod(lambda c: c.linux.sysctls.update({"net/ipv4/tcp_syncookies": "1"}))
    assert ("net/ipv4/tcp_syncookies", "1") in made.sysctls
    with pytest.raises(InvalidRequest, match="twice"):
        pod(lambda c: c.linux.sysctls.update(dict.fromkeys(("net/ipv4/tcp_wmem", "net.ipv4.tcp_wmem"), "1")))


# --- names -------------------------------------------------------------------------------------------

words = st.text("ab._-/", max_size=4)


@given(words, words, words, st.integers(0, 3), words, words, words, st.integers(0, 3))
def test_different_metadata_have_different_names(  # noqa: PLR0913, PLR0917 - two times four
    n1: str, s1: str, u1: str, a1: int, n2: str, s2: str, u2: str, a2: int
) -> None:
    """Joining is unambiguous (CR-08)."""
    try:
        first = reserved_name(api.PodSandboxMetadata(name=n1, namespace=s1, uid=u1, attempt=a1))
        second = reserved_name(api.PodSandboxMetadata(name=n2, namespace=s2, uid=u2, attempt=a2))
    except InvalidRequest:
        return
    assert (first == second) == ((n1, s1, u1, a1) == (n2, s2, u2, a2))


# --- files -------------------------------------------------------------------------------------------


def test_a_resolver_file() -> None:
    """One line of each kind, and one for each server."""
    config = api.DNSConfig(
        servers=["10.0.0.10", "fe80::1%eth0"],
        searches=["a.svc.cluster.local", "local."],
        options=["ndots:5", "edns0"],
    )
    assert resolver_file(config) == (
        b"search a.svc.cluster.local local.\n"
        b"nameserver 10.0.0.10\nnameserver fe80::1%eth0\n"
        b"options ndots:5 edns0\n"
    )


texts = st.lists(
    st.text(max_size=12) | st.sampled_from(["a.b", "1.1.1.1", "ndots:1", "a b", "x\ny"]), max_size=4
)


@given(texts, texts, texts)
def test_a_resolver_file_never_has_more_lines_than_words(
    servers: list[str], searches: list[str], options: list[str]
) -> None:
    """Whatever is asked for is refused, or is there as whole words in their own line."""
    try:
        made = resolver_file(api.DNSConfig(servers=servers, searches=searches, options=options))
    except InvalidRequest:
        return
    lines = made.decode("ascii").splitlines()
    expected = [["search", *searches]] if searches else []
    expected += [["nameserver", server] for server in servers]
    expected += [["options", *options]] if options else []
    assert [line.split() for line in lines] == expected


@given(st.lists(st.ip_addresses(), max_size=4))
def test_a_hosts_file_names_each_address(
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> None:
    """Addresses are read again before they are written."""
    lines = hosts_file([str(address) for address in addresses], "pod").decode().splitlines()
    assert [line for line in lines if line.endswith("\tpod")] == [f"{address}\tpod" for address in addresses]


def test_a_hosts_file_takes_no_other_text() -> None:
    """A plugin's answer is no text for a file."""
    with pytest.raises(ValueError, match="does not appear"):
        hosts_file(["10.0.0.1 evil"], "pod")


# --- control groups ----------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", ["../x", "/a/../b", "/", "a\nb", "/x/cgroup.procs", "/" + "x" * 300])
def test_a_parent_that_leaves_the_tree_is_refused(parent: str) -> None:
    """Whatever the driver."""
    with pytest.raises(InvalidRequest, match="cgroup_parent"):
        groups.check_parent(parent, "cgroupfs")
    with pytest.raises(InvalidRequest, match="cgroup_parent"):
        groups.check_parent(parent, "systemd")


def test_parents_have_one_form() -> None:
    """A path, or the name of a slice, which the kubelet gives with everything above it."""
    assert groups.check_parent("kubepods/pod1", "cgroupfs") == "/kubepods/pod1"
    assert groups.check_parent("/kubepods.slice/kubepods-pod1.slice", "systemd") == "kubepods-pod1.slice"
    assert groups.check_parent("kubepods-pod1.slice", "systemd") == "kubepods-pod1.slice"
    for wrong in ("/kubepods/pod1", "/other.slice/kubepods-pod1.slice", "a--b.slice"):
        with pytest.raises(InvalidRequest, match="cgroup_parent"):
            groups.check_parent(wrong, "systemd")


def test_limits_of_a_pod_are_the_sum_with_the_overhead() -> None:
    """Quotas in the longer period."""
    both = groups.pod_resources(
        api.LinuxContainerResources(
            cpu_period=100000, cpu_quota=50000, cpu_shares=512, memory_limit_in_bytes=100
        ),
        api.LinuxContainerResources(
            cpu_period=50000, cpu_quota=10000, cpu_shares=10, memory_limit_in_bytes=11
        ),
    )
    assert both.memory is not None
    assert both.cpu is not None
    assert both.memory.limit == 111
    assert (both.cpu.quota, both.cpu.period, both.cpu.shares) == (70000, 100000, 522)
    assert groups.pod_resources(api.LinuxContainerResources()) == groups.pod_resources()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_program_that_holds_a_namespace_is_one_page(machine: str) -> None:
    """An ELF file without anything else."""
    program = assemble(65534, 65534, machine)
    assert program.startswith(b"\x7fELF")
    assert len(program) < 1024
    assert program != assemble(65534, 65533, machine)


def test_no_program_for_other_machines() -> None:
    """It says so."""
    with pytest.raises(NotSupported, match="riscv64"):
        assemble(65534, 65534, "riscv64")
