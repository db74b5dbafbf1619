"""What requests and plugins say about the networks of pods: ports and bandwidths, results, and the cache of them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.cri.network import _results
from ociworks.cri.network._cache import Cache, Entry
from ociworks.cri.network.request import parse_quantity, pod_network
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, NetworkError, OciworksError
from ociworks.spec import FrozenDict, cni

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
