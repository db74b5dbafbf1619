"""Pods on a unified hierarchy: limits, changes, what is counted, ends for want of memory. Run in a virtual machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.stats.descriptors import DESCRIPTORS
from ociworks.runtime import cgroups
from tests.cri.nodes import IMAGE, Client, container_config, pod_config
from tests.cri.sandboxes import group_of
from tests.cri.servers import until

pytestmark = [pytest.mark.root, pytest.mark.cgroup2]

MIB = 1 << 20
SLEEP = ("sleep", "1000")
DISK = "/dev/vda" if os.path.exists("/dev/vda") else ""
"""A small one that may be read, in a machine that has it."""


@pytest.fixture
def group(place: Path) -> Iterator[Path]:
    """The control group of the test's pod, which is gone at the end."""
    found = cgroups.detect()
    if found.mode != "v2" or not found.available:
        pytest.skip(f"needs a writable unified hierarchy alone; this machine is {found.mode}")
    assert found.unified is not None
    top = Path(found.unified.mount_point + group_of(place))
    yield top / "pod"
    assert not top.exists()


def pod_in(cri: Client, place: Path, **limits: int) -> tuple[str, api.PodSandboxConfig]:
    """A pod in the group of this test, with limits of its own."""
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    config = pod_config(place)
    config.linux.cgroup_parent = f"{group_of(place)}/pod"
    config.linux.resources.MergeFrom(api.LinuxContainerResources(**limits))  # type: ignore[arg-type]
    return cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id, config


def started(
    cri: Client,
    pod: tuple[str, api.PodSandboxConfig],
    limits: api.LinuxContainerResources,
    *command: str,
    disk: str = "",
) -> str:
    """A running container with limits, which may read a disk."""
    config = container_config(*command)
    if disk:
        config.devices.add(host_path=disk, container_path=disk, permissions="r")
    config.linux.resources.CopyFrom(limits)
    request = api.CreateContainerRequest(pod_sandbox_id=pod[0], config=config, sandbox_config=pod[1])
    made = cri.runtime.CreateContainer(request).container_id
    cri.runtime.StartContainer(api.StartContainerRequest(container_id=made))
    return made


def remove(cri: Client, pod: str) -> None:
    """Stop and remove it."""
    cri.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod))
    cri.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod))


def values(group: Path, names: Mapping[str, str]) -> dict[str, str]:
    """What the files of these names have, as far as the kernel has them."""
    return {name: (group / name).read_text().strip() for name in names if (group / name).exists()}


def expected(group: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """What is wanted of the files that the kernel has: emulated ones have them all."""
    optional = ("memory.swap.max", "cpuset.cpus", "hugetlb.2MB.max")
    return {name: value for name, value in wanted.items() if (group / name).exists() or name not in optional}


def limits() -> api.LinuxContainerResources:
    """Everything that can be limited on this machine."""
    found = api.LinuxContainerResources(
        memory_limit_in_bytes=64 * MIB,
        memory_swap_limit_in_bytes=96 * MIB,
        cpu_shares=512,
        cpu_quota=50_000,
        cpu_period=100_000,
        unified={"memory.high": str(60 * MIB), "memory.oom.group": "1", "pids.max": "77"},
    )
    if cgroups.detect().find("cpuset") is not None:
        found.cpuset_cpus = "0"
    found.hugepage_limits.add(page_size="2MB", limit=4 * MIB)
    return found


def test_limits_and_their_changes(cri: Client, place: Path, group: Path) -> None:
    """Those of pod and container are in the files, change as a whole, and a refused change changes nothing."""
    pod = pod_in(cri, place, memory_limit_in_bytes=256 * MIB, cpu_shares=2048)
    assert values(group, {"memory.max": "", "cpu.weight": ""}) == {
        "memory.max": str(256 * MIB),
        "cpu.weight": "174",
    }
    container = started(cri, pod, limits(), *SLEEP)
    leaf = group / container
    wanted = {
        "memory.max": str(64 * MIB),
        "memory.swap.max": str(32 * MIB),
        "memory.high": str(60 * MIB),
        "memory.oom.group": "1",
        "cpu.weight": "59",
        "cpu.max": "50000 100000",
        "pids.max": "77",
        "cpuset.cpus": "0",
        "hugetlb.2MB.max": str(4 * MIB),
    }
    assert values(leaf, wanted) == expected(leaf, wanted)
    change = api.LinuxContainerResources(memory_limit_in_bytes=128 * MIB, unified={"pids.max": "78"})
    cri.runtime.UpdateContainerResources(
        api.UpdateContainerResourcesRequest(container_id=container, linux=change)
    )
    wanted |= {"memory.max": str(128 * MIB), "pids.max": "78"}
    assert values(leaf, wanted) == expected(leaf, wanted)
    change = api.LinuxContainerResources(memory_limit_in_bytes=96 * MIB, unified={"memory.low": "nonsense"})
    with pytest.raises(grpc.RpcError):
        cri.runtime.UpdateContainerResources(
            api.UpdateContainerResourcesRequest(container_id=container, linux=change)
        )
    assert values(leaf, wanted) == expected(leaf, wanted)
    change = api.LinuxContainerResources(
        memory_limit_in_bytes=200 * MIB, cpu_quota=150_000, cpu_period=100_000
    )
    cri.runtime.UpdatePodSandboxResources(
        api.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod[0], resources=change)
    )
    assert values(group, {"memory.max": "", "cpu.max": ""}) == {
        "memory.max": str(200 * MIB),
        "cpu.max": "150000 100000",
    }
    remove(cri, pod[0])


def test_an_empty_pod_can_be_limited(cri: Client, place: Path, group: Path) -> None:
    """Its group has the controllers before a container needs them."""
    pod, _ = pod_in(cri, place)
    change = api.LinuxContainerResources(memory_limit_in_bytes=96 * MIB)
    cri.runtime.UpdatePodSandboxResources(
        api.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod, resources=change)
    )
    assert (group / "memory.max").read_text().strip() == str(96 * MIB)
    found = cri.runtime.PodSandboxStats(api.PodSandboxStatsRequest(pod_sandbox_id=pod)).stats.linux
    assert found.memory.available_bytes.value > 0
    remove(cri, pod)


def test_what_is_counted(cri: Client, place: Path, group: Path) -> None:
    """Statistics and metrics come from live files; every metric is there that the kernel counts."""
    pod = pod_in(cri, place, memory_limit_in_bytes=256 * MIB)
    container = started(cri, pod, limits(), "sh", "-c", "x=$(cat /bin/busybox); sleep 1000", disk=DISK)
    if DISK:
        request = api.ExecSyncRequest(
            container_id=container, cmd=["sh", "-c", f"cat {DISK} >/dev/null"], timeout=100
        )
        assert cri.runtime.ExecSync(request).exit_code == 0
    found = cri.runtime.ContainerStats(api.ContainerStatsRequest(container_id=container)).stats
    assert 0 < found.memory.working_set_bytes.value <= found.memory.usage_bytes.value < 64 * MIB
    assert found.memory.available_bytes.value == 64 * MIB - found.memory.working_set_bytes.value
    assert found.memory.page_faults.value > 0
    assert found.cpu.usage_core_nano_seconds.value > 0
    assert found.HasField("io") == found.cpu.HasField("psi") == os.path.exists("/proc/pressure/cpu")
    whole = cri.runtime.PodSandboxStats(api.PodSandboxStatsRequest(pod_sandbox_id=pod[0])).stats.linux
    assert whole.memory.usage_bytes.value >= found.memory.usage_bytes.value
    assert whole.process.process_count.value >= 1
    (metrics,) = cri.runtime.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest()).pod_metrics
    have = {item.name for part in metrics.container_metrics for item in part.metrics}
    lacking = {name for name in DESCRIPTORS if name not in have | {item.name for item in metrics.metrics}}
    assert not {name for name in lacking if not name.startswith(not_counted())}
    numbers = {item.name: item.value.value for item in metrics.container_metrics[0].metrics}
    assert numbers["container_memory_usage_bytes"] > 0
    assert numbers["container_threads_max"] == 77
    assert numbers["container_spec_memory_limit_bytes"] == 64 * MIB
    remove(cri, pod[0])


def not_counted() -> tuple[str, ...]:
    """Beginnings of the names of metrics that are not there: on the host's network, without a disk, in this kernel."""
    found = ["container_network_"]
    if not DISK:
        found += ["container_blkio_", "container_fs_reads_", "container_fs_writes_"]
    if not os.path.exists("/proc/pressure/cpu"):
        found.append("container_pressure_")
    if cgroups.detect().find("hugetlb") is None:
        found.append("container_hugetlb_")
    return tuple(found)


def test_an_end_for_want_of_memory(cri: Client, place: Path, group: Path) -> None:
    """The reason says so, of a container's limit and of its pod's."""
    pod = pod_in(cri, place, memory_limit_in_bytes=48 * MIB, memory_swap_limit_in_bytes=48 * MIB)
    hungry = ("sh", "-c", "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x$x$x; done")
    own = api.LinuxContainerResources(memory_limit_in_bytes=8 * MIB, memory_swap_limit_in_bytes=8 * MIB)
    for given in (own, api.LinuxContainerResources()):
        container = started(cri, pod, given, *hungry)
        status = exited(cri, container)
        assert (status.reason, status.exit_code) == ("OOMKilled", 137)
        cri.runtime.RemoveContainer(api.RemoveContainerRequest(container_id=container))
    remove(cri, pod[0])


def exited(cri: Client, container: str) -> api.ContainerStatus:
    """How it is when it has ended."""
    request = api.ContainerStatusRequest(container_id=container)
    return until(
        lambda: cri.runtime.ContainerStatus(request).status, lambda found: found.state == api.CONTAINER_EXITED
    )
