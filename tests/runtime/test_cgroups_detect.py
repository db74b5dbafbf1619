from __future__ import annotations

import os

import pytest

from ociworks.errors import CgroupError, NotSupported
from ociworks.runtime import cgroups
from ociworks.spec.runtime import DeviceRule, Memory, Pids, Resources
from tests.runtime.hierarchies import V1, V2, hybrid, machine


def test_modes() -> None:
    assert (V1.mode, V2.mode, hybrid().mode) == ("v1", "v2", "hybrid")
    assert machine("", "").mode == "none"


def test_controllers_that_share_a_mount() -> None:
    found = V1.find("cpuacct")
    assert found is not None
    assert found is V1.find("cpu")
    assert found.mount_point == "/cg/cpu,cpuacct"
    assert V1.find("name=systemd") is not None
    assert V1.unified is None
    assert V1.find("misc") is None


def test_a_mount_that_shows_part_of_a_hierarchy() -> None:
    """A container without a cgroup namespace sees its own group as the root of the mount."""
    found = machine("40 20 0:40 /docker/x /cg rw - cgroup2 cgroup2 rw\n", "0::/docker/x/y\n")
    (mount,) = found.mounts
    assert mount.locate("/docker/x/y") == "/cg/y"
    assert mount.locate("/docker/x") == "/cg"
    assert mount.name("/cg/z") == "/docker/x/z"
    with pytest.raises(CgroupError):
        mount.locate("/docker/xy")


def test_of_two_mounts_of_one_hierarchy_the_wider_counts() -> None:
    lines = (
        "40 20 0:40 /part /other rw - cgroup cgroup rw,memory\n"
        "41 20 0:40 / /cg\\040with\\040spaces rw - cgroup cgroup rw,memory\n"
    )
    (mount,) = machine(lines, "4:memory:/\n").mounts
    assert mount.mount_point == "/cg with spaces"


def test_without_permission_limits_are_refused_with_the_reason() -> None:
    found = machine("40 20 0:40 / /nowhere rw - cgroup2 cgroup2 rw\n", "0::/u\n", "memory pids")
    assert not found.available
    with pytest.raises(NotSupported, match="may not make control groups in /nowhere"):
        cgroups.plan(found, None, "c", Resources(memory=Memory(limit=1 << 20)))
    with pytest.raises(NotSupported):
        cgroups.plan(found, "/asked", "c", None)
    with pytest.raises(NotSupported):
        cgroups.plan(found, None, "c", Resources(devices=(DeviceRule(allow=False),)))


def test_without_permission_and_without_limits_the_plan_is_empty() -> None:
    found = machine("", "")
    resources = Resources(memory=Memory(), pids=Pids(), devices=(DeviceRule(allow=False),))
    empty = cgroups.plan(found, None, "c", resources, devices=False)
    assert empty.directories == ()
    assert cgroups.apply(empty) == ()


def test_this_machine() -> None:
    found = cgroups.detect()
    for mount in found.mounts:
        assert os.stat(mount.mount_point).st_dev == mount.device
