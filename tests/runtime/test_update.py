"""Limits that change while a container runs: all of them or none, and known to other processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.errors import CgroupError, IllegalTransition, NotSupported
from ociworks.runtime import Container, Runtime, cgroups
from ociworks.runtime.cgroups.merging import merge
from ociworks.spec.runtime import (
    CPU,
    BlockIO,
    DeviceRule,
    HugepageLimit,
    Memory,
    Pids,
    Resources,
    ThrottleDevice,
)
from tests.runtime.boxes import with_linux
from tests.runtime.groups import needs_groups

MIB = 1 << 20
NAME = f"test-{os.getpid()}"
NOBODYS = DeviceRule(allow=True, type="c", major=240, minor=1, access="r")
"""No driver has it: who may open it hears that it is not there."""
KMSG = DeviceRule(allow=True, type="c", major=1, minor=11, access="r")
FUSE = DeviceRule(allow=True, type="c", major=10, minor=229, access="rw")


@pytest.fixture
def container(runtime: Runtime, bundle: spec.Bundle) -> Iterator[Container]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    needs_groups("memory", "pids", "cpu")
    limits = Resources(memory=Memory(limit=64 * MIB), pids=Pids(limit=50), devices=(FUSE,))
    with runtime.create(NAME, with_linux(bundle, resources=limits), ["sleep", "1000"]) as made:
        made.start()
        yield made


def held(container: Container) -> tuple[int | None, int | None]:
    """The limits of memory and pids that the kernel has."""
    reading = container.stats()
    assert reading.memory is not None
    assert reading.pids is not None
    return reading.memory.limit, reading.pids.limit


@pytest.mark.root
@pytest.mark.cgroup2
def test_limits_change_and_others_see_it(container: Container, runtime: Runtime) -> None:
    container.update(Resources(memory=Memory(limit=128 * MIB), cpu=CPU(quota=20_000, period=100_000)))
    assert held(container) == (128 * MIB, 50)
    for seen in (container, Runtime(runtime.root).get(NAME)):
        assert seen.spec.linux is not None
        found = seen.spec.linux.resources
        assert found is not None
        assert found.memory is not None
        assert found.memory.limit == 128 * MIB
        assert found.pids == Pids(limit=50)
        assert found.cpu is not None
        assert found.cpu.quota == 20_000


@pytest.mark.root
@pytest.mark.cgroup2
def test_all_or_nothing(container: Container) -> None:
    """A processor weight that no kernel takes comes after limits that it would have taken."""
    refused = Resources(pids=Pids(limit=7), block_io=BlockIO(throttle_read_bps_device=(
        ThrottleDevice(major=4095, minor=1, rate=1000),)))  # fmt: skip
    with pytest.raises((CgroupError, NotSupported)):
        container.update(refused)
    assert held(container) == (64 * MIB, 50)
    assert container.spec.linux is not None
    assert container.spec.linux.resources is not None
    assert container.spec.linux.resources.pids == Pids(limit=50)


@pytest.mark.root
@pytest.mark.cgroup2
def test_what_is_refused_beforehand(container: Container) -> None:
    for wrong in (
        Resources(memory=Memory(limit=0)),
        Resources(pids=Pids(limit=9), unified={"cgroup.procs": "1"}),
        Resources(pids=Pids(limit=9), hugepage_limits=(HugepageLimit(page_size="3XB", limit=1),)),
    ):
        with pytest.raises((CgroupError, NotSupported)):
            container.update(wrong)
    assert held(container) == (64 * MIB, 50)


@pytest.mark.root
@pytest.mark.cgroup2
def test_devices_change(container: Container) -> None:
    """A filter is replaced as a whole; what both grant is never out of reach."""
    assert container.exec(["mknod", "/dev/none", "c", "240", "1"]).returncode == 0
    look = ["cat", "/dev/none"]
    assert b"not permitted" in container.exec(look).stderr
    container.update(Resources(devices=(NOBODYS,)))
    assert b"No such device" in container.exec(look).stderr
    assert container.exec(["sh", "-c", "echo >/dev/null"]).returncode == 0
    container.update(Resources(devices=(FUSE,)))
    assert b"not permitted" in container.exec(look).stderr
    assert container.exec(["sh", "-c", "echo >/dev/null"]).returncode == 0


@pytest.mark.root
@pytest.mark.cgroup2
def test_every_order_of_quota_and_burst(container: Container) -> None:
    if not any(
        os.path.exists(f"{path}/{name}")
        for path in container._record.cgroups
        for name in ("cpu.cfs_burst_us", "cpu.max.burst")
    ):
        pytest.skip("this kernel saves no CPU time")
    for quota, burst in ((50_000, 40_000), (20_000, 10_000), (60_000, 50_000), (-1, 0), (30_000, 30_000)):
        container.update(Resources(cpu=CPU(quota=quota, period=100_000, burst=burst)))


@pytest.mark.root
@pytest.mark.root
def test_every_order_of_a_real_time_budget(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A period shorter than the time in it is refused by the kernel, so which is written first depends."""
    machine = cgroups.detect()
    hierarchy = machine.find("cpu")
    top = hierarchy.mount_point if hierarchy is not None else ""
    if os.geteuid() != 0 or machine.mode == "v2" or not os.path.exists(f"{top}/cpu.rt_runtime_us"):
        pytest.skip("needs root and a kernel that limits real-time processes by group")
    path = f"/{NAME}-budget"
    with runtime.create(NAME, with_linux(bundle, cgroups_path=path), ["sleep", "1000"]) as made:
        made.start()
        for period, budget in ((900_001, 600_001), (10_000, 3_000), (100_000, 20_000)):
            made.update(Resources(cpu=CPU(realtime_period=period, realtime_runtime=budget)))
            found = [int(Path(f"{top}{path}/cpu.rt_{name}_us").read_text()) for name in ("period", "runtime")]
            assert found == [period, budget]


def test_a_stopped_container_has_nothing_to_update(container: Container) -> None:
    container.kill("KILL")
    container.wait()
    with pytest.raises(IllegalTransition):
        container.update(Resources(pids=Pids(limit=5)))


def test_merging_keeps_what_is_not_named() -> None:
    one, two = (ThrottleDevice(major=8, minor=minor, rate=10) for minor in (0, 1))
    faster = ThrottleDevice(major=8, minor=0, rate=99)
    before = Resources(
        memory=Memory(limit=5, swap=9),
        block_io=BlockIO(weight=100, throttle_read_bps_device=(one, two)),
        unified={"memory.high": "1", "cpu.weight": "5"},
        hugepage_limits=(HugepageLimit(page_size="2MB", limit=1),),
        devices=(FUSE,),
    )
    change = Resources(
        memory=Memory(limit=7),
        block_io=BlockIO(throttle_read_bps_device=(faster,)),
        unified={"memory.high": "2"},
        hugepage_limits=(HugepageLimit(page_size="2MB", limit=2),),
        pids=Pids(limit=3),
    )
    after = merge(before, change)
    assert after.memory == Memory(limit=7, swap=9)
    assert after.block_io == BlockIO(weight=100, throttle_read_bps_device=(faster, two))
    assert after.unified == {"memory.high": "2", "cpu.weight": "5"}
    assert after.hugepage_limits == (HugepageLimit(page_size="2MB", limit=2),)
    assert (after.pids, after.devices, after.cpu) == (Pids(limit=3), (FUSE,), None)


def test_one_file_with_many_lines_gets_its_line_back(tmp_path: Path) -> None:
    """The kernel's files are played by ordinary ones, which keep what was written last."""
    from ociworks.runtime.cgroups.rollback import apply_all

    rates, gone = tmp_path / "io.max", tmp_path / "absent"
    rates.write_text("8:0 rbps=5 wbps=max riops=max wiops=max\n")
    for device, expected in (("8:0", "8:0 rbps=5 wbps=max"), ("8:1", "8:1 rbps=max wbps=max")):
        setting = ((str(rates), f"{device} rbps=9".encode()),)
        with pytest.raises(CgroupError, match="nothing was changed"):
            apply_all([setting, ((str(gone), b"1"),)])
        assert rates.read_text().startswith(expected)
        rates.write_text("8:0 rbps=5 wbps=max riops=max wiops=max\n")


def test_version_1_devices_change_by_the_difference() -> None:
    from ociworks.runtime.cgroups.rules import reduce_rules
    from ociworks.runtime.cgroups.v1 import device_changes

    def lines(before: tuple[DeviceRule, ...], after: tuple[DeviceRule, ...]) -> list[tuple[str, bytes]]:
        made = device_changes(reduce_rules(before), reduce_rules(after), "d")
        return [(path, value) for ((path, value),) in made]

    assert lines((FUSE,), (KMSG,)) == [("d/devices.allow", b"c 1:11 r"), ("d/devices.deny", b"c 10:229 rw")]
    assert lines((FUSE,), (FUSE,)) == []
    everything = DeviceRule(allow=True, access="rwm")
    assert lines((FUSE,), (everything,))[0] == ("d/devices.allow", b"a")
    assert cgroups.merge(Resources(), Resources(devices=(KMSG,))).devices == (KMSG,)
