"""The program as a unit of systemd, with pods in slices and scopes of it. Run in a virtual machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire
from ociworks.runtime.systemd import manager
from tests.cri.nodes import container_config, pod_config
from tests.cri.servers import left, prepare, until
from tests.runtime.test_systemd import show
from tests.source_tree import CHECKOUT

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not manager.booted() or os.geteuid() != 0,
        reason="needs root and systemd; test_in_a_machine runs these in a machine that has it",
    ),
]

MIB = 1 << 20
UNIT = "ociworks-cri.service"
UNITS = Path("/run/systemd/system")
SLICE = "kubepods-burstable-pod123.slice"


def systemctl(*words: str) -> str:
    """What it says."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + journal()
    return done.stdout


def journal() -> str:
    """What the unit wrote."""
    call = ["systemctl", "status", "--no-pager", "--lines=50", UNIT]
    return subprocess.run(call, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.fixture(scope="module")
def unit() -> Iterator[Path]:
    """The unit of the examples, running with directories below a place; all that it made is gone in the end."""
    with tempfile.TemporaryDirectory(prefix="ociworks-cri-") as name:
        yield from running_below(Path(name))


def running_below(place: Path) -> Iterator[Path]:
    """The unit with its settings, until the tests are through."""
    place.chmod(0o755)
    prepare(place)
    settings = (place / "cri.toml").read_text()
    (place / "cri.toml").write_text(f'cgroup_driver = "systemd"\n{settings}')
    shutil.copy(CHECKOUT / "examples" / UNIT, UNITS / UNIT)
    drop_in = UNITS / f"{UNIT}.d"
    drop_in.mkdir()
    command = f"{sys.executable} -m ociworks cri serve --config {place}/cri.toml --socket {place}/cri.sock"
    (drop_in / "test.conf").write_text(
        f"[Service]\nExecStart=\nExecStart={command}\nEnvironment=OCIWORKS_UNSAFE_INSTALLATION=1\n"
    )
    systemctl("daemon-reload")
    systemctl("start", UNIT)
    try:
        yield place
    finally:
        systemctl("stop", UNIT)
        shutil.rmtree(drop_in)
        (UNITS / UNIT).unlink()
        systemctl("daemon-reload")
    assert not left(place)
    assert not [line for line in systemctl("list-units", "--all", "--plain", "--no-legend").splitlines()
                if line.startswith(("cri-", "kubepods", "ociworks-"))]  # fmt: skip


@contextmanager
def client(place: Path) -> Iterator[wire.RuntimeServiceStub]:
    """What a kubelet has."""
    with grpc.insecure_channel(f"unix:{place}/cri.sock") as channel:
        yield wire.RuntimeServiceStub(channel)


def run(cri: wire.RuntimeServiceStub, place: Path, parent: str, name: str) -> tuple[str, str]:
    """A pod with limits and a container with others, which sleeps."""
    config = pod_config(place, name)
    config.linux.cgroup_parent = parent
    config.linux.resources.memory_limit_in_bytes = 256 * MIB
    container = container_config()
    container.linux.resources.MergeFrom(
        api.LinuxContainerResources(
            memory_limit_in_bytes=64 * MIB, cpu_quota=50_000, cpu_period=100_000, unified={"pids.max": "77"}
        )
    )
    pod = cri.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
    request = api.CreateContainerRequest(pod_sandbox_id=pod, config=container, sandbox_config=config)
    made = cri.CreateContainer(request).container_id
    cri.StartContainer(api.StartContainerRequest(container_id=made))
    return pod, made


def ended(cri: wire.RuntimeServiceStub, container: str) -> api.ContainerStatus:
    """How it is when it has ended."""
    request = api.ContainerStatusRequest(container_id=container)
    return until(
        lambda: cri.ContainerStatus(request).status, lambda found: found.state == api.CONTAINER_EXITED
    )


def remove(cri: wire.RuntimeServiceStub, *pods: str) -> None:
    """Stop and remove them."""
    for pod in pods:
        cri.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod))
        cri.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod))


def test_pods_in_slices(unit: Path) -> None:
    """Limits and changes of pods and containers are systemd's; a slice of ours goes with its last pod, others stay."""
    with client(unit) as cri:
        told = cri.RuntimeConfig(api.RuntimeConfigRequest()).linux
        assert told.cgroup_driver == api.CgroupDriver.SYSTEMD
        pod, container = run(cri, unit, f"/kubepods.slice/kubepods-burstable.slice/{SLICE}", "one")
        scope = f"cri-ociworks-{container}.scope"
        assert show(SLICE, "ActiveState", "MemoryMax") == {
            "ActiveState": "active",
            "MemoryMax": str(256 * MIB),
        }
        names = ("Slice", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec")
        assert show(scope, *names) == {
            "Slice": SLICE,
            "MemoryMax": str(64 * MIB),
            "TasksMax": "77",
            "CPUQuotaPerSecUSec": "500ms",
        }
        limits = api.LinuxContainerResources(memory_limit_in_bytes=96 * MIB)
        cri.UpdateContainerResources(
            api.UpdateContainerResourcesRequest(container_id=container, linux=limits)
        )
        limits = api.LinuxContainerResources(memory_limit_in_bytes=300 * MIB, cpu_shares=2048)
        cri.UpdatePodSandboxResources(
            api.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod, resources=limits)
        )
        systemctl("daemon-reload")
        assert show(scope, "MemoryMax") == {"MemoryMax": str(96 * MIB)}
        assert show(SLICE, "MemoryMax", "CPUWeight") == {"MemoryMax": str(300 * MIB), "CPUWeight": "174"}
        found = cri.PodSandboxStats(api.PodSandboxStatsRequest(pod_sandbox_id=pod)).stats.linux
        assert 0 < found.memory.working_set_bytes.value < 300 * MIB - found.memory.available_bytes.value + 1
        other, _ = run(cri, unit, SLICE, "two")
        remove(cri, pod)
        assert show(SLICE, "ActiveState") == {"ActiveState": "active"}
        remove(cri, other)
        for name in (SLICE, "kubepods-burstable.slice", "kubepods.slice", scope):
            assert show(name, "ActiveState") == {"ActiveState": "inactive"}


def test_an_end_for_want_of_memory(unit: Path) -> None:
    """The reason says so, though systemd removes the group of a scope as soon as it is empty."""
    config = pod_config(unit, "hungry")
    config.linux.cgroup_parent = SLICE
    with client(unit) as cri:
        pod = cri.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
        for name in ("one", "two", "three"):
            container = container_config(
                "sh", "-c", "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x$x$x; done", name=name
            )
            container.linux.resources.memory_limit_in_bytes = 8 * MIB
            container.linux.resources.memory_swap_limit_in_bytes = 8 * MIB
            request = api.CreateContainerRequest(pod_sandbox_id=pod, config=container, sandbox_config=config)
            made = cri.CreateContainer(request).container_id
            cri.StartContainer(api.StartContainerRequest(container_id=made))
            status = ended(cri, made)
            assert (status.reason, status.exit_code) == ("OOMKilled", 137)
        remove(cri, pod)


def test_slices_of_others_and_none(unit: Path) -> None:
    """A slice that was there is its owner's; a pod without one gets its own, with its limits."""
    manager.start_slice("others.slice", [("MemoryMax", "t", 512 * MIB)])
    try:
        with client(unit) as cri:
            pod, _ = run(cri, unit, "others.slice", "one")
            assert show("others.slice", "MemoryMax") == {"MemoryMax": str(512 * MIB)}
            remove(cri, pod)
            assert show("others.slice", "ActiveState") == {"ActiveState": "active"}
            pod, container = run(cri, unit, "", "two")
            assert show(f"ociworks-{pod}.slice", "MemoryMax") == {"MemoryMax": str(256 * MIB)}
            assert show(f"cri-ociworks-{container}.scope", "Slice") == {"Slice": f"ociworks-{pod}.slice"}
            remove(cri, pod)
            assert show(f"ociworks-{pod}.slice", "ActiveState") == {"ActiveState": "inactive"}
    finally:
        manager.stop("system:others.slice")


def test_pods_outlive_the_unit(unit: Path) -> None:
    """It is started again when it is killed, stops in peace, and no container notices either."""
    with client(unit) as cri:
        pod, container = run(cri, unit, SLICE, "one")
    group = show(f"cri-ociworks-{container}.scope", "ControlGroup")["ControlGroup"]
    processes = Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text()
    assert processes
    before = show(UNIT, "MainPID")["MainPID"]
    systemctl("kill", "--kill-who=main", "--signal=KILL", UNIT)
    with client(unit) as cri:
        request = api.ExecSyncRequest(container_id=container, cmd=["echo", "alive"], timeout=60)
        assert cri.ExecSync(request, timeout=120, wait_for_ready=True).stdout == b"alive\n"
    told = show(UNIT, "MainPID", "NRestarts", "ActiveState")
    assert told.pop("MainPID") != before
    assert told == {"NRestarts": "1", "ActiveState": "active"}
    systemctl("stop", UNIT)
    assert show(UNIT, "Result", "ActiveState") == {"Result": "success", "ActiveState": "inactive"}
    assert Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text() == processes
    systemctl("start", UNIT)
    with client(unit) as cri:
        found = cri.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod)).status
        assert found.state == api.SANDBOX_READY
        assert cri.ExecSync(request, timeout=120).stdout == b"alive\n"
        remove(cri, pod)
