"""Groups of this machine's kernel: made, filled, measured, frozen, emptied and removed, in either version."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from ociworks.errors import CgroupError
from ociworks.runtime import _cgroupfs, cgroups
from ociworks.spec.runtime import CPU, DeviceRule, Memory, Pids, Resources
from tests.runtime.groups import groups_below, needs_groups, no_groups_left, sleeper

pytestmark = pytest.mark.root

MIB = 1 << 20
LIMITS = Resources(memory=Memory(limit=64 * MIB), cpu=CPU(shares=512), pids=Pids(limit=20))


@pytest.fixture
def machine() -> Iterator[cgroups.Hierarchies]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = needs_groups("memory", "cpu", "pids")
    with no_groups_left(found):
        yield found


@pytest.fixture
def name() -> str:
    return f"test-{os.getpid()}"


def test_a_life(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, LIMITS)
    made = cgroups.apply(plan)
    try:
        with sleeper() as process:
            cgroups.join(plan, process.pid)
            cgroups.verify_membership(plan.membership, Path(f"/proc/{process.pid}/cgroup").read_text())
            assert cgroups.processes(plan.directories) == (process.pid,)
            reading = cgroups.stats(plan.directories)
            assert reading.memory is not None
            assert reading.memory.limit == 64 * MIB
            assert reading.pids is not None
            assert (reading.pids.current, reading.pids.limit) == (1, 20)
            assert reading.cpu is not None
            assert reading.cpu.usage >= 0
            cgroups.kill(plan.directories)
            assert process.wait() == -9
        assert cgroups.processes(plan.directories) == ()
    finally:
        cgroups.remove(made)
    with pytest.raises(CgroupError):
        cgroups.stats(plan.directories)


def test_rt_21_membership_is_proved(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, None)
    with pytest.raises(CgroupError, match="membership"):
        cgroups.verify_membership(plan.membership, Path("/proc/self/cgroup").read_text())


def test_rt_22_a_frozen_group_with_groups_below_and_a_fork_bomb(
    machine: cgroups.Hierarchies, name: str
) -> None:
    plan = cgroups.plan(machine, None, name, LIMITS)
    made = cgroups.apply(plan)
    bomb = "read x; f() { f | f & }; f; sleep 1000"
    try:
        for directory in plan.directories:
            os.makedirs(f"{directory}/below/deeper")
        with sleeper("sh", "-c", bomb) as process:
            cgroups.join(plan, process.pid)
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            cgroups.freeze(plan.directories)
            assert cgroups.frozen(plan.directories)
            cgroups.kill(plan.directories)
            process.wait()
        assert cgroups.processes(plan.directories) == ()
        assert not cgroups.frozen(plan.directories)
    finally:
        cgroups.remove(made)


def test_rt_22_killing_without_cgroup_kill(machine: cgroups.Hierarchies, name: str) -> None:
    """The way of older kernels: freeze, signal through pidfds, thaw, until nobody is left."""
    plan = cgroups.plan(machine, None, name, LIMITS)
    if not machine.find("freezer"):
        pytest.skip("no version 1 freezer")
    made = cgroups.apply(plan)
    only = tuple(path for path in plan.directories if not os.path.exists(f"{path}/cgroup.kill"))
    try:
        with sleeper("sh", "-c", "read x; f() { f | f & }; f; sleep 1000") as process:
            cgroups.join(plan, process.pid)
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            cgroups.kill(only)
            process.wait()
        assert cgroups.processes(plan.directories) == ()
    finally:
        cgroups.kill(plan.directories)
        cgroups.remove(made)


def fill_cpuset(directory: str) -> None:
    """Version 1 leaves a new cpuset empty, and then nobody can join it."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        target = Path(directory, file)
        if target.exists() and not target.read_text().strip():
            target.write_text(Path(directory).parent.joinpath(file).read_text())


def test_rt_22_a_group_below_that_the_container_froze(machine: cgroups.Hierarchies, name: str) -> None:
    """Frozen by version 1's freezer, a process does not even die of SIGKILL."""
    plan = cgroups.plan(machine, None, name, None)
    made = cgroups.apply(plan)
    below = tuple(f"{directory}/below" for directory in plan.directories)
    unified = f"{plan.unified}/below"
    try:
        with sleeper() as process:
            cgroups.join(plan, process.pid)
            for directory in below:
                os.mkdir(directory)
                fill_cpuset(directory)
            _cgroupfs.join([f"{directory}/cgroup.procs" for directory in below], process.pid)
            cgroups.freeze([path for path in below if path != unified] if machine.find("freezer") else below)
            cgroups.kill(plan.directories, timeout=5)
            assert process.wait(5) == -9
    finally:
        cgroups.thaw([path for path in below if os.path.exists(path)])
        cgroups.kill(plan.directories)
        cgroups.remove(made)


def test_rt_22_nothing_is_left_when_a_limit_cannot_be_applied(
    machine: cgroups.Hierarchies, name: str
) -> None:
    too_far = Resources(memory=Memory(limit=64 * MIB), cpu=CPU(cpus="4000", mems="0"))
    if machine.find("cpuset") is None:
        pytest.skip("no cpuset controller")
    with pytest.raises(CgroupError, match=r"cpuset\.cpus"):
        cgroups.apply(cgroups.plan(machine, None, name, too_far))
    assert not any(name in path for path in groups_below(machine))


def test_a_group_that_is_there_is_used_and_stays(machine: cgroups.Hierarchies, name: str) -> None:
    """What was not created by the container must not be deleted with it (runtime-spec runtime.md, Delete)."""
    plan = cgroups.plan(machine, None, name, LIMITS)
    theirs = cgroups.apply(cgroups.plan(machine, None, name, None))
    try:
        for times in (1, 2):
            made = cgroups.apply(plan)
            assert cgroups.stats(plan.directories).memory is not None
            for path in plan.directories if times == 2 else ():
                os.mkdir(f"{path}/below")
            cgroups.remove(made)
            assert all(os.path.isdir(path) for path in plan.directories)
            assert not any(os.path.isdir(f"{path}/below") for path in plan.directories)
            assert not any("ociworks" in mark for path in plan.directories for mark in os.listxattr(path))
    finally:
        cgroups.remove(theirs)


def test_rt_22_a_group_in_use_is_nobody_elses(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, LIMITS)
    made = cgroups.apply(plan)
    try:
        with sleeper() as process:
            cgroups.join(plan, process.pid)
            with pytest.raises(CgroupError, match="there are processes in it"):
                cgroups.apply(plan)
            assert process.poll() is None
            cgroups.kill(plan.directories)
            process.wait()
        assert os.path.isdir(plan.directories[0])
    finally:
        cgroups.remove(made)


def test_rt_22_what_is_gone_already_is_fine(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, None)
    made = cgroups.apply(plan)
    cgroups.remove(made)
    cgroups.kill(plan.directories)
    cgroups.remove(made)


def test_a_group_in_use_is_reported_not_removed(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, None)
    made = cgroups.apply(plan)
    try:
        with sleeper() as process:
            cgroups.join(plan, process.pid)
            with pytest.raises(CgroupError, match="still in use"):
                cgroups.remove(made, timeout=0.01)
    finally:
        cgroups.kill(plan.directories)
        cgroups.remove(made)


def test_parents_of_a_given_path_go_with_the_last_container(machine: cgroups.Hierarchies, name: str) -> None:
    one, two = (cgroups.plan(machine, f"/ociworks-{name}/pod/{leaf}", leaf, None) for leaf in "ab")
    made_one, made_two = cgroups.apply(one), cgroups.apply(two)
    assert len(made_one) > len(made_two)  # only the first made the parents
    cgroups.remove(made_two)
    cgroups.remove(made_one)


def test_containers_that_come_and_go_at_once(machine: cgroups.Hierarchies, name: str) -> None:
    """The shared parent vanishes and comes back under the others' hands."""
    errors: list[BaseException] = []

    def churn(worker: int) -> None:
        try:
            for turn in range(15):
                cgroups.remove(cgroups.apply(cgroups.plan(machine, None, f"{name}-{worker}-{turn}", LIMITS)))
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_groups_nested_deeper_than_a_path_can_be(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, None)
    made = cgroups.apply(plan)
    top = plan.unified or plan.directories[0]
    descriptor = os.open(top, os.O_RDONLY)
    try:
        for _ in range(30):  # 30 names of 200 bytes: more than PATH_MAX
            os.mkdir("d" * 200, dir_fd=descriptor)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    except OSError:
        pass  # this kernel ends the depth earlier
    try:
        with sleeper() as process:
            cgroups.join(plan, process.pid)
            bottom = os.open("cgroup.procs", os.O_WRONLY, dir_fd=descriptor)
            os.write(bottom, str(process.pid).encode())
            os.close(bottom)
            assert process.pid in cgroups.processes(plan.directories)
            cgroups.kill(plan.directories)
            assert process.wait() == -9
    finally:
        os.close(descriptor)
        cgroups.kill(plan.directories)
        cgroups.remove(made)
    assert not os.path.exists(top)


def test_update(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, LIMITS)
    made = cgroups.apply(plan)
    try:
        for limit in (128 * MIB, 32 * MIB, -1, 48 * MIB):
            cgroups.update(machine, plan.directories, Resources(memory=Memory(limit=limit, swap=limit)))
            reading = cgroups.stats(plan.directories).memory
            assert reading is not None
            assert reading.limit == (None if limit == -1 else limit)
        cgroups.update(machine, plan.directories, Resources(pids=Pids(limit=-1), cpu=CPU(quota=20_000)))
        cgroups.update(machine, plan.directories, Resources(cpu=CPU(period=50_000)))
        pids = cgroups.stats(plan.directories).pids
        assert pids is not None
        assert pids.limit is None
    finally:
        cgroups.remove(made)


def test_update_refuses_a_limit_below_what_is_used(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, LIMITS)
    made = cgroups.apply(plan)
    fill = "import sys; x = bytearray(8 << 20); print(flush=True); sys.stdin.read()"
    try:
        with sleeper("sh", "-c", f"read x; exec python3 -c '{fill}'") as process:
            cgroups.join(plan, process.pid)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            process.stdout.readline()
            tight = Resources(memory=Memory(limit=MIB, check_before_update=True))
            with pytest.raises(CgroupError, match="in use"):
                cgroups.update(machine, plan.directories, tight)
            cgroups.kill(plan.directories)
    finally:
        cgroups.remove(made)


def test_another_filesystem_over_the_groups_is_noticed(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, None)
    forged = evolve(plan, mounts=tuple((path, device + 1) for path, device in plan.mounts))
    with pytest.raises(CgroupError, match="another filesystem"):
        cgroups.apply(forged)
    assert not any(name in path for path in groups_below(machine))


def test_joining_by_descriptors(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, None)
    made = cgroups.apply(plan)
    try:
        descriptors = _cgroupfs.open_tasks(plan.procs)
        with sleeper() as process:
            for descriptor in descriptors:
                os.write(descriptor, str(process.pid).encode())
                os.close(descriptor)
            assert cgroups.processes(plan.directories) == (process.pid,)
            cgroups.kill(plan.directories)
    finally:
        cgroups.remove(made)


OPEN = """
import os, sys
sys.stdin.readline()
result = []
for path in ("/dev/null", "/dev/zero", sys.argv[1]):
    for flags in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(path, flags))
            result.append(0)
        except OSError as error:
            result.append(error.errno)
print(*result, flush=True)
"""


def open_in_group(plan: cgroups.CgroupPlan, path: str) -> list[int]:
    """What a process in the group gets for reading and writing /dev/null, /dev/zero and ``path``."""
    with sleeper(sys.executable, "-c", OPEN, path) as process:
        cgroups.join(plan, process.pid)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        process.wait()
    return [int(word) for word in line.split()]


def test_rt_22_devices_are_denied_by_default(machine: cgroups.Hierarchies, name: str) -> None:
    """/dev/kmsg is always there and never a default device."""
    if not os.access("/dev/kmsg", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kmsg here to be kept from")
    allow = DeviceRule(allow=True, type="c", major=1, minor=11, access="r")
    for rules, expected in (((), [errno.EPERM, errno.EPERM]), ((allow,), [0, errno.EPERM])):
        plan = cgroups.plan(machine, None, name, Resources(devices=rules))
        made = cgroups.apply(plan)
        try:
            assert open_in_group(plan, "/dev/kmsg") == [0, 0, 0, 0, *expected]
        finally:
            cgroups.remove(made)
