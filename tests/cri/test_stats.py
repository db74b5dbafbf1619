"""Statistics over real processes in real control groups, and over the files of other kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.stats import usage
from ociworks.cri.stats.aged import Aged
from ociworks.cri.stats.network import parse
from ociworks.cri.stats.rates import Rates
from ociworks.errors import PodNotFound
from ociworks.runtime import cgroups
from tests.cri.counted import Counted, counted, in_groups

SECOND = 1_000_000_000
MIB = 1 << 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Counted]:
    with counted(tmp_path) as found:
        yield found


@pytest.fixture
def name() -> str:
    return f"/ociworks-test-{os.getpid()}"


@pytest.mark.root
def test_a_running_container(node: Counted, name: str) -> None:
    """Attributes, processor, memory, writable layer; found by the beginning of its ID too."""
    with in_groups(f"{name}/c") as process:
        pod = node.pod("web")
        main = node.container(pod, "main", process.pid)
        found = node.stats.container(main[:16])
    assert found.attributes.id == main
    assert found.attributes.metadata.name == "main"
    assert found.attributes.labels == {"part": "main"}
    assert found.cpu.timestamp > 0
    assert found.cpu.HasField("usage_core_nano_seconds")
    assert found.cpu.HasField("usage_nano_cores")
    assert found.memory.usage_bytes.value > 0
    assert found.memory.working_set_bytes.value <= found.memory.usage_bytes.value
    assert not found.memory.HasField("available_bytes")  # it has no limit
    assert found.writable_layer.used_bytes.value == 4096
    assert found.writable_layer.inodes_used.value == 2
    assert found.writable_layer.fs_id.mountpoint == "/"


@pytest.mark.root
def test_what_runs_is_listed(node: Counted, name: str) -> None:
    """By ID, pod and labels; what does not run is not listed, and by itself has only its writable layer."""
    with in_groups(f"{name}/c") as process:
        pod, other = node.pod("web"), node.pod("db")
        main, side = node.container(pod, "main", process.pid), node.container(other, "side", process.pid)
        ended = node.container(pod, "ended", phase="exited")
        node.container(pod, "just-ended")  # its runtime does not know it any more

        def listed(**filter: object) -> list[str]:
            found = node.stats.list_containers(api.ContainerStatsFilter(**filter))  # type: ignore[arg-type]
            return [item.attributes.id for item in found]

        assert listed() == [side, main] or listed() == [main, side]
        assert listed(id=main) == [main]
        assert listed(id=main[:10]) == [main]
        assert listed(pod_sandbox_id=other) == [side]
        assert listed(label_selector={"part": "main"}) == [main]
        assert listed(label_selector={"part": "main"}, pod_sandbox_id=other) == []
        assert listed(id="ff") == []
    idle = node.stats.container(ended)
    assert idle.attributes.id == ended
    assert idle.HasField("writable_layer")
    assert not idle.HasField("cpu")


def test_nobody(node: Counted) -> None:
    with pytest.raises(PodNotFound):
        node.stats.container("ab")
    with pytest.raises(PodNotFound):
        node.stats.pod("ab")
    assert node.stats.list_containers(api.ContainerStatsFilter()) == []
    assert node.stats.list_pods(api.PodSandboxStatsFilter()) == []


@pytest.mark.root
def test_a_pod(node: Counted, name: str) -> None:
    """As a whole, by the group that holds its containers, and each container."""
    with in_groups(f"{name}/pod/c") as process:
        pod = node.pod("web", cgroup_parent=f"{name}/pod")
        node.container(pod, "main", process.pid)
        found = node.stats.pod(pod)
        listed = node.stats.list_pods(api.PodSandboxStatsFilter(label_selector={"app": "web"}))
    assert found.attributes.metadata.name == "web"
    assert found.attributes.annotations == {"note": "web"}
    assert found.linux.process.process_count.value == 1
    assert found.linux.memory.usage_bytes.value > 0
    assert found.linux.cpu.HasField("usage_core_nano_seconds")
    assert [item.attributes.metadata.name for item in found.linux.containers] == ["main"]
    assert not found.linux.HasField("network")  # it is the host's
    assert [item.attributes.id for item in listed] == [pod]
    assert node.stats.list_pods(api.PodSandboxStatsFilter(label_selector={"app": "db"})) == []


def test_a_pod_that_is_not_ready(node: Counted) -> None:
    """It can be asked for, and is not listed."""
    pod = node.pod("web", phase="notready")
    assert node.stats.pod(pod).attributes.metadata.name == "web"
    assert not node.stats.pod(pod).HasField("linux")
    assert node.stats.list_pods(api.PodSandboxStatsFilter()) == []


@pytest.mark.root
def test_groups_are_looked_for_again(node: Counted, name: str) -> None:
    """A container that ended is not counted; nothing is remembered of it."""
    with in_groups(f"{name}/c") as process:
        main = node.container(node.pod("web"), "main", process.pid)
        assert node.stats.container(main).HasField("cpu")
    node.runtimes.pids.clear()
    assert not node.stats.container(main).HasField("cpu")
    assert node.stats.list_containers(api.ContainerStatsFilter()) == []


UNIFIED = {
    "cgroup.controllers": "cpu io memory pids\n",
    "cpu.stat": "usage_usec 5000000\nuser_usec 4000000\nsystem_usec 1000000\nnr_periods 9\nnr_throttled 2\n"
    "throttled_usec 3000000\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.50 avg300=0.10 total=2500000\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n",
    "memory.current": f"{30 * MIB}\n",
    "memory.max": f"{64 * MIB}\n",
    "memory.peak": f"{40 * MIB}\n",
    "memory.swap.current": f"{MIB}\n",
    "memory.swap.max": f"{4 * MIB}\n",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n",
    "memory.stat": f"anon {8 * MIB}\nfile {20 * MIB}\nkernel {2 * MIB}\nfile_mapped {3 * MIB}\n"
    f"inactive_file {10 * MIB}\npgfault 100\npgmajfault 3\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=6000000\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=5000000\n",
    "io.stat": "253:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
    "pids.current": "3\n",
    "pids.max": "max\n",
}
"""A group of version 2, as Linux 6 shows it."""


@pytest.fixture
def unified(tmp_path: Path) -> cgroups.ContainerStats:
    for name, content in UNIFIED.items():
        (tmp_path / name).write_text(content)
    return cgroups.stats([str(tmp_path)], brief=True)


def test_version_2(unified: cgroups.ContainerStats) -> None:
    """Every field, with the pressures of the kernel in nanoseconds."""
    cpu, memory = usage.cpu(unified, 5, 250), usage.memory(unified, 5)
    swap, io = usage.swap(unified, 5), usage.io(unified, 5)
    assert cpu is not None
    assert memory is not None
    assert swap is not None
    assert io is not None
    assert (cpu.timestamp, cpu.usage_core_nano_seconds.value, cpu.usage_nano_cores.value) == (
        5,
        5 * SECOND,
        250,
    )
    assert cpu.psi.Some == api.PsiData(Total=2_500_000_000, Avg10=1.5, Avg60=0.5, Avg300=0.1)
    assert cpu.psi.Full.Total == SECOND
    assert memory == api.MemoryUsage(
        timestamp=5,
        working_set_bytes=api.UInt64Value(value=20 * MIB),
        available_bytes=api.UInt64Value(value=44 * MIB),
        usage_bytes=api.UInt64Value(value=30 * MIB),
        rss_bytes=api.UInt64Value(value=8 * MIB),
        page_faults=api.UInt64Value(value=100),
        major_page_faults=api.UInt64Value(value=3),
        psi=api.PsiStats(Full=api.PsiData(), Some=api.PsiData()),
    )
    assert swap.swap_usage_bytes.value == MIB
    assert swap.swap_available_bytes.value == 3 * MIB
    assert io.psi.Full.Total == 5 * SECOND


def test_a_kernel_that_counts_nothing() -> None:
    """No part is made up."""
    nothing = cgroups.ContainerStats()
    assert usage.cpu(nothing, 1, 0) is None
    assert usage.memory(nothing, 1) is None
    assert usage.swap(nothing, 1) is None
    assert usage.io(nothing, 1) is None


def test_a_brief_reading_has_the_same_numbers(tmp_path: Path, unified: cgroups.ContainerStats) -> None:
    """It only leaves out what is not asked for."""
    whole = cgroups.stats([str(tmp_path)])
    assert evolve(whole, cpuset=None) == unified


def test_rates() -> None:
    """Over the period, or since the reading before when that is longer; at first since the start."""
    rates = Rates(10)
    assert rates.of("c", 100 * SECOND, 50 * SECOND, 0) == SECOND // 2
    assert rates.of("c", 101 * SECOND, 51 * SECOND, 0) == SECOND
    assert rates.of("c", 102 * SECOND, 51 * SECOND, 0) == SECOND // 2
    assert rates.of("c", 200 * SECOND, 51 * SECOND, 0) == 0
    assert rates.of("c", 200 * SECOND, 51 * SECOND, 0) == 0
    rates.keep([])
    assert rates.of("c", 200 * SECOND, 20 * SECOND, 100 * SECOND) == SECOND // 5
    assert rates.of("new", 5, 5, 5) == 0
    assert rates.of("reset", 10, 10, 0) == SECOND
    assert rates.of("reset", 20 * SECOND, 0, 0) == 0  # never less than nothing


def test_rates_remember_little() -> None:
    """However often they are asked."""
    rates = Rates(10)
    for number in range(10_000):
        rates.of("c", number * SECOND // 100, number, 0)
    assert len(rates._readings["c"]) <= 12


def test_aged_values() -> None:
    """Made once in a while, and by themselves again after others were forgotten."""
    values: Aged[int] = Aged(1000)
    assert values.get("a", lambda: 1) == 1
    assert values.get("a", lambda: 2) == 1
    values.keep(["b"])
    assert values.get("a", lambda: 3) == 3


DEV = """Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0   0
  eth0: 1500 10 1 2 0 0 0 0 3000 20 3 4 0 0 0 0
net:1:9999999999999999999 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 cut: 1 2
"""


def test_interfaces() -> None:
    """Names may have colons; counters fill 64 bits; a line that is cut counts as none."""
    first, second = parse(DEV)
    assert (first.name, first.rx_bytes, first.rx_packets, first.rx_errors, first.rx_dropped) == (
        "eth0",
        1500,
        10,
        1,
        2,
    )
    assert (first.tx_bytes, first.tx_packets, first.tx_errors, first.tx_dropped) == (3000, 20, 3, 4)
    assert (second.name, second.rx_bytes) == ("net:1", 9999999999999999999)


def test_default_interface() -> None:
    """``eth0``, or else the first."""
    found = usage.network(parse(DEV), 7)
    assert found is not None
    assert found.default_interface.name == "eth0"
    assert found.default_interface.tx_errors.value == 3
    assert [item.name for item in found.interfaces] == ["eth0", "net:1"]
    other = usage.network(parse(DEV)[1:], 7)
    assert other is not None
    assert other.default_interface.name == "net:1"


def test_a_pod_without_interfaces_has_no_network() -> None:
    """A kubelet looks for the default interface of every network that it is told of, and ends when there is none."""
    assert usage.network((), 7) is None
