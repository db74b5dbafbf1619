"""The unified hierarchy with controllers in it. Runs on its own: in a virtual machine where the host has none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ociworks.errors import CgroupError
from ociworks.runtime import _cgroupfs, cgroups
from ociworks.spec.runtime import CPU, Memory, Pids, Resources
from tests.runtime.groups import no_groups_left, sleeper

pytestmark = [pytest.mark.root, pytest.mark.cgroup2]

MIB = 1 << 20


@pytest.fixture
def machine() -> Iterator[cgroups.Hierarchies]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = cgroups.detect()
    if found.mode != "v2" or not found.available:
        pytest.skip(f"needs a writable unified hierarchy alone; this machine is {found.mode}")
    with no_groups_left(found):
        yield found


@pytest.fixture
def name() -> str:
    return f"test-{os.getpid()}"


def read(directory: str, file: str) -> str:
    with open(f"{directory}/{file}", encoding="ascii") as stream:
        return stream.read().strip()


def test_limits_are_in_force(machine: cgroups.Hierarchies, name: str) -> None:
    resources = Resources(
        memory=Memory(limit=64 * MIB, reservation=32 * MIB),
        cpu=CPU(shares=512, quota=50_000, period=200_000),
        pids=Pids(limit=7),
        unified={"memory.high": str(48 * MIB)},
    )
    plan = cgroups.plan(machine, f"/ociworks-{name}/pod/c", "c", resources)
    made = cgroups.apply(plan)
    try:
        (leaf,) = plan.directories
        expected = {
            "memory.max": str(64 * MIB),
            "memory.low": str(32 * MIB),
            "memory.high": str(48 * MIB),
            "cpu.weight": "59",
            "cpu.max": "50000 200000",
            "pids.max": "7",
        }
        assert {file: read(leaf, file) for file in expected} == expected
        with sleeper() as process:
            cgroups.join(plan, process.pid)
            cgroups.verify_membership(plan.membership, read(f"/proc/{process.pid}", "cgroup"))
            reading = cgroups.stats(plan.directories)
            assert reading.memory is not None
            assert reading.memory.limit == 64 * MIB
            assert reading.pids is not None
            assert (reading.pids.current, reading.pids.limit) == (1, 7)
            assert reading.cpu is not None
            cgroups.freeze(plan.directories)
            assert cgroups.frozen(plan.directories)
            cgroups.kill(plan.directories)
            assert process.wait() == -9
    finally:
        cgroups.remove(made)


def test_updates(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, Resources(cpu=CPU(quota=50_000)))
    made = cgroups.apply(plan)
    try:
        (leaf,) = plan.directories
        cgroups.update(
            machine, plan.directories, Resources(cpu=CPU(period=20_000), memory=Memory(limit=32 * MIB))
        )
        assert read(leaf, "cpu.max") == "50000 20000"
        assert read(leaf, "memory.max") == str(32 * MIB)
    finally:
        cgroups.remove(made)


def test_a_new_program_replaces_the_old_one(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, None)
    try:
        made = cgroups.apply(plan)
    except CgroupError as error:
        pytest.skip(str(error))
    try:
        descriptor = os.open(plan.unified, os.O_RDONLY)
        from ociworks.runtime import _cgroupbpf

        before = _cgroupbpf._query(descriptor)
        _cgroupbpf.attach(descriptor, plan.device_program or b"")
        after = _cgroupbpf._query(descriptor)
        os.close(descriptor)
        assert len(before) == len(after) == 1
        assert before != after
    finally:
        cgroups.remove(made)


def test_a_child_is_born_in_the_group(machine: cgroups.Hierarchies, name: str) -> None:
    plan = cgroups.plan(machine, None, name, None, devices=False)
    made = cgroups.apply(plan)
    program = """
import os, sys
from ociworks._linux.process import clone
pid, pidfd = clone(0, cgroup=int(sys.argv[1]))
if pid == 0:
    print(open("/proc/self/cgroup").read().strip(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    try:
        descriptor = _cgroupfs.open_unified(plan.unified)
        done = subprocess.run(
            [sys.executable, "-c", program, str(descriptor)],
            pass_fds=[descriptor],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        os.close(descriptor)
        cgroups.verify_membership(plan.membership, done.stdout)
    finally:
        cgroups.remove(made)


def test_out_of_memory_is_counted(machine: cgroups.Hierarchies, name: str) -> None:
    limits = Resources(memory=Memory(limit=24 * MIB))
    plan = cgroups.plan(machine, None, name, limits, devices=False)
    made = cgroups.apply(plan)
    fill = "import sys; sys.stdin.readline(); x = bytearray(200 << 20); x[::4096] = b'1' * len(x[::4096])"
    try:
        with sleeper(sys.executable, "-c", fill) as process:
            cgroups.join(plan, process.pid)
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.wait() == -9
        memory = cgroups.stats(plan.directories).memory
        assert memory is not None
        assert memory.oom_kills >= 1
    finally:
        cgroups.remove(made)


def as_delegate(own: str, uid: int, container: str) -> int:
    """In a child process: become ``uid`` in the group ``own``; make and remove a container's group. The exit status."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        with open(f"{own}/cgroup.procs", "w", encoding="ascii") as stream:
            stream.write("0")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        found = cgroups.detect()
        plan = cgroups.plan(found, None, container, Resources(pids=Pids(limit=5)), devices=False)
        made = cgroups.apply(plan)
        held = read(plan.directories[0], "pids.max")
        cgroups.join(plan, os.getpid())
        cgroups.verify_membership(plan.membership, read("/proc/self", "cgroup"))
        with open(f"{own}/cgroup.procs", "w", encoding="ascii") as stream:
            stream.write("0")
        cgroups.remove(made)
        status = 0 if held == "5" and plan.directories[0].startswith(os.path.dirname(own)) else 2
    finally:
        os._exit(status)


def test_a_delegated_group_serves_an_ordinary_user(machine: cgroups.Hierarchies, name: str) -> None:
    top = f"{machine.mounts[0].mount_point}/ociworks-{name}"
    own = f"{top}/session"
    with open(f"{machine.mounts[0].mount_point}/cgroup.subtree_control", "w", encoding="ascii") as stream:
        stream.write("+pids")
    os.makedirs(own)
    try:
        for directory in (top, own):
            for path in (directory, f"{directory}/cgroup.procs", f"{directory}/cgroup.subtree_control"):
                os.chown(path, 65534, 65534)
        assert as_delegate(own, 65534, name) == 0
    finally:
        assert _cgroupfs.remove([own, top]) == []
