"""Plans for machines that are not this one: every file and value, decided before anything exists."""

from __future__ import annotations

import marshal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import CgroupError, NotSupported
from ociworks.runtime.cgroups import CgroupPlan, Hierarchies, plan
from ociworks.runtime.cgroups.v2 import cpu_weight, io_weight
from ociworks.spec.runtime import (
    CPU,
    BlockIO,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)
from tests.runtime.hierarchies import V1, V2, hybrid

MIB = 1 << 20


def written(found: CgroupPlan) -> list[tuple[str, str]]:
    """File → value below the leaf, without devices and subtree_control, in order."""
    pairs = [(path.rpartition("/")[2], value.decode()) for ways in found.settings for path, value in ways[:1]]
    return [pair for pair in pairs if not pair[0].startswith(("devices.", "cgroup."))]


def settings(where: Hierarchies, resources: Resources) -> list[tuple[str, str]]:
    return written(plan(where, None, "c", resources, devices=False))


FULL = Resources(
    memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=32 * MIB),
    cpu=CPU(shares=512, quota=50_000, period=200_000, burst=1000, cpus="0-1,3", mems="0"),
    pids=Pids(limit=7),
    block_io=BlockIO(
        weight=500,
        weight_device=(WeightDevice(major=8, minor=0, weight=10),),
        throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=1000),),
        throttle_write_iops_device=(ThrottleDevice(major=8, minor=16, rate=5),),
    ),
    hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MIB),),
    rdma={"mlx5_1": Rdma(hca_handles=3, hca_objects=10)},
)


def test_version_1() -> None:
    assert settings(V1, FULL) == [
        ("cpuset.cpus", "0-1,3"),
        ("cpuset.mems", "0"),
        ("cpu.shares", "512"),
        ("cpu.cfs_period_us", "200000"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.cfs_burst_us", "1000"),
        ("memory.limit_in_bytes", str(64 * MIB)),
        ("memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("memory.soft_limit_in_bytes", str(32 * MIB)),
        ("pids.max", "7"),
        ("blkio.bfq.weight", "500"),
        ("blkio.bfq.weight_device", "8:0 10"),
        ("blkio.throttle.read_bps_device", "8:0 1000"),
        ("blkio.throttle.write_iops_device", "8:16 5"),
        ("hugetlb.2MB.limit_in_bytes", str(4 * MIB)),
        ("hugetlb.2MB.rsvd.limit_in_bytes", str(4 * MIB)),
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10"),
    ]


def test_version_2() -> None:
    assert settings(V2, FULL) == [
        ("cpuset.cpus", "0-1,3"),
        ("cpuset.mems", "0"),
        ("cpu.weight", "59"),
        ("cpu.max", "50000 200000"),
        ("cpu.max.burst", "1000"),
        ("memory.swap.max", str(32 * MIB)),
        ("memory.max", str(64 * MIB)),
        ("memory.low", str(32 * MIB)),
        ("pids.max", "7"),
        ("io.bfq.weight", "500"),
        ("io.bfq.weight", "8:0 10"),
        ("io.max", "8:0 rbps=1000"),
        ("io.max", "8:16 wiops=5"),
        ("hugetlb.2MB.max", str(4 * MIB)),
        ("hugetlb.2MB.rsvd.max", str(4 * MIB)),
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10"),
    ]


def test_version_2_hands_controllers_down_from_the_top_first() -> None:
    found = plan(V2, "/a/b/c", "c", FULL, devices=False)
    first = [ways[0] for ways in found.settings[:3]]
    words = b"+cpu +cpuset +hugetlb +io +memory +pids +rdma"
    assert first == [(f"/cg{path}/cgroup.subtree_control", words) for path in ("", "/a", "/a/b")]
    assert found.parents == ("/cg/a", "/cg/a/b")
    assert found.directories == ("/cg/a/b/c",)
    assert found.shared == ()
    plain = plan(V2, None, "c", None, devices=False)
    assert plain.settings == ()
    assert ("/cg/cgroup.subtree_control", b"+memory") in plain.attempts


def test_hybrid_finds_each_controller_where_it_is() -> None:
    found = plan(hybrid(), None, "c", FULL, devices=False)
    files = {path for ways in found.settings for path, _ in ways}
    assert "/cg/unified/ociworks/c/hugetlb.2MB.max" in files
    assert "/cg/memory/ociworks/c/memory.limit_in_bytes" in files
    assert ((("/cg/unified/cgroup.subtree_control", b"+hugetlb"),)) in found.settings
    assert found.unified == "/cg/unified/ociworks/c"
    assert (
        found.membership["memory"]
        == found.membership[""]
        == found.membership["name=systemd"]
        == "/ociworks/c"
    )
    assert found.device_program is None
    assert len(found.procs) == len(found.directories) == len(hybrid().mounts)


def test_version_1_cpusets_are_filled_from_above() -> None:
    found = plan(V1, "/pod/c", "c", None)
    assert found.inherit[:2] == (
        ("/cg/cpuset/cpuset.cpus", "/cg/cpuset/pod/cpuset.cpus"),
        ("/cg/cpuset/cpuset.mems", "/cg/cpuset/pod/cpuset.mems"),
    )
    assert found.inherit[2][1] == "/cg/cpuset/pod/c/cpuset.cpus"


def test_devices_are_files_in_version_1_and_a_program_in_version_2() -> None:
    one, two = plan(V1, None, "c", None), plan(V2, None, "c", None)
    assert one.settings[0] == (("/cg/devices/ociworks/c/devices.deny", b"a"),)
    assert one.device_program is None
    assert two.device_program
    assert plan(V2, None, "c", None, devices=False).device_program is None


def test_a_plan_travels_to_the_launcher() -> None:
    for where in (V1, V2, hybrid()):
        plain = plan(where, None, "c", FULL).plain()
        assert marshal.loads(marshal.dumps(plain)) == plain


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(memory=Memory(limit=-1, swap=-1)), [("memory.swap.max", "max"), ("memory.max", "max")]),
        (Resources(cpu=CPU(quota=-1)), [("cpu.max", "max")]),
        (Resources(cpu=CPU(period=50_000)), [("cpu.max", "max 50000")]),
        (Resources(cpu=CPU(shares=0, quota=0, period=0)), []),
        (Resources(cpu=CPU(idle=1, shares=5)), [("cpu.weight", str(cpu_weight(5))), ("cpu.idle", "1")]),
        (Resources(cpu=CPU(idle=0, shares=1024)), [("cpu.idle", "0"), ("cpu.weight", "100")]),
        (Resources(pids=Pids(limit=-1)), [("pids.max", "max")]),
        (Resources(pids=Pids(limit=0)), [("pids.max", "1")]),
        (Resources(memory=Memory(disable_oom_killer=False, use_hierarchy=True, kernel=0)), []),
        (Resources(unified={"memory.high": "1000", "io.max": "8:0 rbps=1\n8:1 rbps=2"}), [
            ("memory.high", "1000"), ("io.max", "8:0 rbps=1"), ("io.max", "8:1 rbps=2")]),
    ],
)  # fmt: skip
def test_conversions(resources: Resources, expected: list[tuple[str, str]]) -> None:
    assert settings(V2, resources) == expected


@pytest.mark.parametrize(
    "resources",
    [
        Resources(memory=Memory(swappiness=10)),
        Resources(memory=Memory(disable_oom_killer=True)),
        Resources(memory=Memory(kernel=MIB)),
        Resources(memory=Memory(kernel_tcp=MIB)),
        Resources(cpu=CPU(realtime_runtime=1000)),
        Resources(block_io=BlockIO(leaf_weight=10)),
        Resources(network=Network(class_id=1)),
        Resources(network=Network(priorities=(InterfacePriority(name="lo", priority=1),))),
    ],
)
def test_rt_22_what_version_2_cannot_limit_is_refused(resources: Resources) -> None:
    with pytest.raises(NotSupported):
        settings(V2, resources)


def test_rt_22_version_1_has_no_unified_files_and_no_kernel_memory() -> None:
    for resources in (Resources(unified={"memory.high": "1"}), Resources(memory=Memory(kernel=MIB))):
        with pytest.raises(NotSupported):
            settings(V1, resources)


def test_rt_22_a_controller_that_is_not_there() -> None:
    with pytest.raises(NotSupported, match="no misc controller"):
        settings(V1, Resources(unified={"misc.max": "x 1"}))
    with pytest.raises(NotSupported, match="no cpuset controller"):
        settings(Hierarchies(mode="v2", mounts=V2.mounts[:0], available=True), FULL)


@pytest.mark.parametrize("value", [0, -2, -(1 << 63)])
@pytest.mark.parametrize("where", [V1, V2], ids=["v1", "v2"])
def test_rt_22_impossible_limits(where: Hierarchies, value: int) -> None:
    for memory in (Memory(limit=value), Memory(reservation=value), Memory(limit=MIB, swap=value)):
        with pytest.raises(CgroupError, match="memory"):
            settings(where, Resources(memory=memory))


@pytest.mark.parametrize(
    "resources",
    [
        Resources(memory=Memory(swap=MIB)),
        Resources(memory=Memory(limit=2 * MIB, swap=MIB)),
        Resources(memory=Memory(limit=-2)),
        Resources(pids=Pids(limit=-2)),
        Resources(cpu=CPU(shares=262145)),
        Resources(cpu=CPU(quota=-2)),
        Resources(cpu=CPU(cpus="0\n1")),
        Resources(cpu=CPU(cpus="0-")),
        Resources(hugepage_limits=(HugepageLimit(page_size="../../memory.max", limit=1),)),
        Resources(rdma={"a/b": Rdma(hca_handles=1)}),
        Resources(rdma={"a hca_object=max": Rdma(hca_handles=1)}),
        Resources(rdma={"a": Rdma()}),
        Resources(block_io=BlockIO(weight_device=(WeightDevice(major=-1, minor=0, weight=10),))),
    ],
)
@pytest.mark.parametrize("where", [V1, V2], ids=["v1", "v2"])
def test_rt_20_values_that_are_no_values(where: Hierarchies, resources: Resources) -> None:
    with pytest.raises(CgroupError):
        settings(where, resources)


@pytest.mark.parametrize(
    "key",
    [
        "../cgroup.procs",
        "memory.max/../x",
        "cgroup.procs",
        "cgroup.subtree_control",
        "memory",
        "",
        "memory.max\n",
        "a.b\0",
    ],
)
def test_rt_20_unified_keys(key: str) -> None:
    with pytest.raises(CgroupError):
        settings(V2, Resources(unified={key: "1"}))


@pytest.mark.parametrize("value", ["", "\n", "1\0", "é"])
def test_rt_20_unified_values(value: str) -> None:
    with pytest.raises(CgroupError):
        settings(V2, Resources(unified={"memory.max": value}))


@pytest.mark.parametrize(
    "path",
    ["../../x", "/a/../../b", "a:b:../c", "a:b:c", "x\0y", "x\ny", "y" * 5000, "/" + "z" * 256, ".", "..", "/", "//",
     "/./a", "a/cgroup.procs", "tasks"],
)  # fmt: skip
def test_rt_20_paths(path: str) -> None:
    with pytest.raises(CgroupError):
        plan(V2, path, "c", None)


@given(st.text(max_size=40))
def test_rt_20_no_path_leaves_the_hierarchy(path: str) -> None:
    try:
        found = plan(V1, path, "c", None)
    except CgroupError:
        return
    for mount, directory in zip(V1.mounts, found.directories, strict=True):
        inner = directory.removeprefix(mount.mount_point + "/")
        assert inner != directory
        assert not {"", ".", ".."} & set(inner.split("/"))


def test_relative_and_default_paths_are_below_a_group_of_ours() -> None:
    assert plan(V2, None, "job", None).directories == ("/cg/ociworks/job",)
    nested = plan(V2, "a//b/", "job", None)
    assert nested.directories == ("/cg/ociworks/a/b",)
    assert nested.shared == ("/cg/ociworks",)


def test_weights() -> None:
    assert [cpu_weight(shares) for shares in (2, 1024, 262144)] == [1, 100, 10000]
    assert [io_weight(weight) for weight in (10, 1000)] == [1, 10000]


@given(st.integers(2, 262144))
def test_a_greater_share_never_gets_a_smaller_weight(shares: int) -> None:
    assert 1 <= cpu_weight(shares) <= cpu_weight(min(shares + 1, 262144)) <= 10000
