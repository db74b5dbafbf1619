"""Every controller of the unified hierarchy, and pressure: in a machine of its own, see test_in_a_machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.errors import CgroupError
from ociworks.runtime import cgroups
from ociworks.spec.runtime import (
    CPU,
    BlockIO,
    HugepageLimit,
    Memory,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
)
from tests.runtime.groups import no_groups_left, sleeper

pytestmark = pytest.mark.root

MIB = 1 << 20
NAME = f"full-{os.getpid()}"


@pytest.fixture
def machine() -> Iterator[cgroups.Hierarchies]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = cgroups.detect()
    missing = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"} - set(
        found.unified.controllers if found.unified else ()
    )
    if missing or not found.available:
        pytest.skip(f"needs every controller in the unified hierarchy; missing: {', '.join(sorted(missing))}")
    with no_groups_left(found):
        yield found


def read(directory: str, file: str) -> str:
    return Path(directory, file).read_text().strip()


def a_disk() -> tuple[int, int]:
    entry = min(Path("/sys/block").iterdir())
    major, minor = entry.joinpath("dev").read_text().strip().split(":")
    return int(major), int(minor)


def test_all_limits_then_others_then_none_of_a_refused_change(machine: cgroups.Hierarchies) -> None:
    major, minor = a_disk()
    limits = Resources(
        memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=32 * MIB),
        cpu=CPU(shares=512, quota=50_000, period=200_000, burst=10_000, cpus="0", mems="0"),
        pids=Pids(limit=7),
        block_io=BlockIO(
            throttle_read_bps_device=(ThrottleDevice(major=major, minor=minor, rate=MIB),),
            throttle_write_iops_device=(ThrottleDevice(major=major, minor=minor, rate=100),),
        ),
        hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MIB),),
        unified={"memory.high": str(48 * MIB)},
    )
    plan = cgroups.plan(machine, None, NAME, limits)
    made = cgroups.apply(plan)
    try:
        (leaf,) = plan.directories
        files = {
            "memory.max": str(64 * MIB),
            "memory.swap.max": str(32 * MIB),
            "memory.low": str(32 * MIB),
            "memory.high": str(48 * MIB),
            "cpu.weight": "59",
            "cpu.max": "50000 200000",
            "cpu.max.burst": "10000",
            "cpuset.cpus": "0",
            "cpuset.mems": "0",
            "pids.max": "7",
            "io.max": f"{major}:{minor} rbps={MIB} wbps=max riops=max wiops=100",
            "hugetlb.2MB.max": str(4 * MIB),
            "hugetlb.2MB.rsvd.max": str(4 * MIB),
        }
        assert {file: read(leaf, file) for file in files} == files
        refused = Resources(
            pids=Pids(limit=9),
            cpu=CPU(quota=20_000, period=100_000, burst=5_000),
            block_io=BlockIO(
                throttle_read_bps_device=(ThrottleDevice(major=major, minor=minor, rate=2 * MIB),)
            ),
            rdma={"nobody": Rdma(hca_handles=1)},
        )
        with pytest.raises(CgroupError, match="nothing was changed"):
            cgroups.update(machine, plan.directories, refused)
        assert {file: read(leaf, file) for file in files} == files
        cgroups.update(machine, plan.directories, Resources(cpu=CPU(idle=1)))
        assert read(leaf, "cpu.idle") == "1"
        reading = cgroups.stats(plan.directories)
        assert reading.hugepages["2MB"].usage == 0
        assert reading.hugepages["2MB"].reserved == 0
        assert reading.cpu is not None
        assert reading.cpu.pressure is not None
        assert reading.memory is not None
        assert reading.memory.pressure is not None
        assert reading.io_pressure is not None
        assert reading.memory.events["oom_kill"] == 0
    finally:
        cgroups.remove(made)


FILL = """
import sys
sys.stdin.readline()
x = bytearray(40 << 20)
while True:
    x[::4096] = bytes(len(x[::4096]))
"""


def test_a_trigger_for_pressure(machine: cgroups.Hierarchies) -> None:
    """A process above ``memory.high`` is held back; that is a stall, which the trigger tells."""
    limits = Resources(unified={"memory.high": str(16 * MIB), "memory.swap.max": "0"})
    plan = cgroups.plan(machine, None, NAME, limits, devices=False)
    made = cgroups.apply(plan)
    try:
        with sleeper(sys.executable, "-c", FILL) as process:
            cgroups.join(plan, process.pid)
            trigger = cgroups.PressureTrigger(stall=10_000, window=500_000)
            pidfd = os.pidfd_open(process.pid)
            with cgroups.GroupWatch(plan.directories, pidfd, container_id="c", pressure=trigger) as watch:
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()
                assert [event.kind for event in watch.read(60)] == ["pressure"]
                cgroups.kill(plan.directories)
                kinds = [event.kind for event in watch]
                assert kinds[-1] == "stopped"
    finally:
        cgroups.kill(plan.directories)
        cgroups.remove(made)
