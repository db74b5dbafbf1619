"""Metrics: their names and labels, and their values of real processes and of other kernels."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.stats import network, samples
from ociworks.cri.stats.descriptors import BASE, DESCRIPTORS
from ociworks.cri.stats.disk import Space, block_devices
from ociworks.cri.stats.processes import OpenFiles, open_files, soft_limit
from ociworks.cri.stats.sheets import Sheet
from ociworks.runtime import cgroups
from tests.cri.counted import Counted, counted, in_groups
from tests.cri.test_stats import UNIFIED

MIB = 1 << 20
HOST_ONLY = {
    "container_blkio_device_usage_total",
    "container_fs_reads_bytes_total",
    "container_fs_reads_total",
    "container_fs_writes_bytes_total",
    "container_fs_writes_total",
    "container_hugetlb_max_usage_bytes",
    "container_hugetlb_usage_bytes",
}
"""What a machine need not count."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Counted]:
    with counted(tmp_path) as found:
        yield found


@pytest.fixture
def name() -> str:
    return f"/ociworks-test-{os.getpid()}"


@contextmanager
def pinned_network(place: Path) -> Iterator[str]:
    """A directory that pins a network namespace with one more interface, up."""
    pins = place / "ns"
    pins.mkdir()
    (pins / "net").touch()
    script = "ip tuntap add dev eth0 mode tap && ip link set eth0 up"
    try:
        subprocess.run(["unshare", f"--net={pins}/net", "sh", "-c", script], check=True, timeout=60)
        yield str(pins)
    finally:
        subprocess.run(["umount", f"{pins}/net"], check=True, timeout=60)


def test_there_are_56(node: Counted) -> None:
    """Each with a text, and labels of which the common ones are first."""
    found = node.stats.metric_descriptors()
    assert len({item.name for item in found}) == len(found) == 56
    for item in found:
        assert item.help
        assert tuple(item.label_keys[: len(BASE)]) == BASE
        assert len(set(item.label_keys)) == len(item.label_keys)


def values(metrics: object) -> dict[tuple[str, ...], int]:
    """By name and own labels."""
    found = {}
    for item in metrics:  # type: ignore[attr-defined]
        assert len(item.label_values) == len(BASE) + len(DESCRIPTORS[item.name].labels)
        assert item.metric_type == DESCRIPTORS[item.name].kind
        found[(item.name, *item.label_values[len(BASE) :])] = item.value.value
    assert len(found) == len(metrics)  # type: ignore[arg-type]
    return found


@pytest.mark.root
def test_every_metric_has_values(node: Counted, tmp_path: Path, name: str) -> None:
    """All that this machine counts; the pod has those of its network, which nobody else sees, and of its group."""
    with in_groups(f"{name}/pod/c") as process, pinned_network(tmp_path) as pins:
        pod = node.pod("web", cgroup_parent=f"{name}/pod", pins=pins)
        main = node.container(pod, "main", process.pid)
        (found,) = node.stats.pod_metrics()
        again = node.stats.pod_metrics()[0]
    assert found.pod_sandbox_id == pod
    (container,) = found.container_metrics
    assert container.container_id == main
    names = {item.name for item in (*found.metrics, *container.metrics)}
    assert DESCRIPTORS.keys() - names <= HOST_ONLY | {
        item for item in DESCRIPTORS if item.startswith("container_pressure_")
    }
    of_network = [item for item in found.metrics if item.name.startswith("container_network_")]
    labels = {tuple(item.label_values) for item in of_network}
    assert labels == {("POD", f"{name}/pod", "", pod, "tests", "web", "eth0")}
    of_group = [item for item in found.metrics if item not in of_network]
    labels = {tuple(item.label_values[: len(BASE)]) for item in of_group}
    assert labels == {("", f"{name}/pod", "", "", "tests", "web")}
    whole = values(of_group)
    assert whole["container_memory_usage_bytes",] > 0
    assert whole["container_cpu_usage_seconds_total", "total"] >= 0
    labels = {tuple(item.label_values[: len(BASE)]) for item in container.metrics}
    assert labels == {("main", f"{name}/pod/c", "registry.example/app:1", main, "tests", "web")}
    got = values(container.metrics)
    assert got["container_processes",] == 1
    assert got["container_threads",] == 1
    assert got["container_threads_max",] == 0
    assert got["container_file_descriptors",] >= 3
    assert got["container_memory_usage_bytes",] > 0
    assert got["container_start_time_seconds",] == 1_700_000_001
    assert got["container_spec_cpu_quota",] == 20_000
    assert got["container_spec_cpu_shares",] == 512
    assert got["container_spec_memory_limit_bytes",] == 64 * MIB
    assert got["container_spec_memory_swap_limit_bytes",] == 0
    assert [item.name for item in again.container_metrics[0].metrics] == [
        item.name for item in container.metrics
    ]
    assert again.container_metrics[0].metrics[0].timestamp > container.metrics[0].timestamp


@pytest.mark.root
def test_what_does_not_run_has_none(node: Counted, name: str) -> None:
    """Pods that are not ready, containers that ended, and those that end just now."""
    with in_groups(f"{name}/c") as process:
        pod = node.pod("web")
        node.pod("old", phase="notready")
        node.container(pod, "ended", phase="exited")
        node.container(pod, "gone")
        main = node.container(pod, "main", process.pid)
        (found,) = node.stats.pod_metrics()
        assert [item.container_id for item in found.container_metrics] == [main]
        assert list(found.metrics) == []
    (found,) = node.stats.pod_metrics()
    assert list(found.container_metrics) == []


@pytest.mark.root
def test_more_than_ten_pods_at_once(node: Counted, name: str) -> None:
    """Each with its own labels; asking again and again is not held back."""
    with in_groups(f"{name}/c") as process:
        for number in range(30):
            node.container(node.pod(f"pod-{number}"), "main", process.pid)
        for _ in range(5):
            found = node.stats.pod_metrics()
    assert len(found) == 30
    pods = {item.container_metrics[0].metrics[0].label_values[BASE.index("pod")] for item in found}
    assert pods == {f"pod-{number}" for number in range(30)}


def test_interfaces_of_pins_that_are_gone(tmp_path: Path) -> None:
    """They are nobody's; files that are no namespaces too."""
    (tmp_path / "file").touch()
    assert network.interfaces({"a": str(tmp_path / "none"), "b": str(tmp_path / "file")}) == {}


def reading(stats: cgroups.ContainerStats) -> samples.Reading:
    return samples.Reading(
        at=9_500_000_000,
        started_at=3_000_000_000,
        stats=stats,
        resources=api.LinuxContainerResources(unified={"memory.low": str(MIB)}),
        processes=2,
        opened=OpenFiles(files=5, sockets=1),
        soft_limit=1024,
        written=77,
        space=Space(device="/dev/vda1", size=1000, inodes=100, inodes_free=90),
        devices={(253, 0): "/dev/vda"},
    )


def test_version_2(tmp_path: Path) -> None:
    """Every value of a recorded group, in whole seconds and bytes."""
    for file, content in UNIFIED.items():
        (tmp_path / file).write_text(content)
    stats = cgroups.stats([str(tmp_path)], brief=True)
    sheet = Sheet(("",) * len(BASE))
    got = values(sheet.fill(samples.of_container(reading(stats)), 9))
    assert got["container_last_seen",] == 9
    assert got["container_cpu_usage_seconds_total", "total"] == 5
    assert got["container_cpu_user_seconds_total",] == 4
    assert got["container_cpu_cfs_throttled_seconds_total",] == 3
    assert got["container_pressure_cpu_waiting_seconds_total",] == 2
    assert got["container_pressure_cpu_stalled_seconds_total",] == 1
    assert got["container_pressure_io_waiting_seconds_total",] == 6
    assert got["container_memory_rss",] == 8 * MIB
    assert got["container_memory_cache",] == 20 * MIB
    assert got["container_memory_kernel_usage",] == 2 * MIB
    assert got["container_memory_mapped_file",] == 3 * MIB
    assert got["container_memory_max_usage_bytes",] == 40 * MIB
    assert got["container_memory_working_set_bytes",] == 20 * MIB
    assert got["container_memory_failcnt",] == 7
    assert got["container_oom_events_total",] == 1
    assert got["container_memory_failures_total", "pgfault", "container"] == 100
    assert got["container_memory_failures_total", "pgmajfault", "hierarchy"] == 3
    assert got["container_blkio_device_usage_total", "/dev/vda", "253", "0", "Write"] == 8192
    assert got["container_fs_reads_total", "/dev/vda"] == 1
    assert got["container_fs_usage_bytes", "/dev/vda1"] == 77
    assert got["container_threads",] == 3
    assert got["container_ulimits_soft", "max_open_files"] == 1024
    assert got["container_spec_memory_reservation_limit_bytes",] == MIB
    assert got["container_spec_cpu_period",] == 100_000
    assert ("container_spec_cpu_quota",) not in got


@pytest.mark.parametrize("text", ["", "max", "-1", "1e3", "٣", "9" * 5000])
def test_reservations_that_are_no_numbers(text: str) -> None:
    """They count as none."""
    given = api.LinuxContainerResources(unified={"memory.low": text})
    assert samples._reserved(given) == 0


def test_a_sheet_follows_what_there_is() -> None:
    """New metrics come, others go, numbers beyond 64 bits wrap."""
    sheet = Sheet(("",) * len(BASE))
    first = sheet.fill([("container_processes", (), 1)], 1)
    assert sheet.fill([("container_processes", (), 2)], 2) is first
    assert (first[0].value.value, first[0].timestamp) == (2, 2)
    second = sheet.fill([("container_threads", (), 1 << 64), ("container_processes", (), 2)], 3)
    assert [item.name for item in second] == ["container_threads", "container_processes"]
    assert second[0].value.value == 0


def test_open_files_and_limits() -> None:
    """Of this process; one that has ended has none."""
    before = open_files([os.getpid()])
    with socket.socket():
        after = open_files([os.getpid()])
    assert after.files - before.files == after.sockets - before.sockets == 1
    assert (soft_limit(os.getpid()) or 0) > 0
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert open_files([child.pid]) == OpenFiles()
    assert soft_limit(child.pid) is None


def test_block_devices_have_names() -> None:
    assert all(name.startswith("/dev/") for name in block_devices().values())
