"""Our plan against what runc writes for the same configuration on the same machine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociworks import spec
from ociworks.runtime import cgroups
from tests.interop.peers import busybox, peer
from tests.runtime.groups import needs_groups, no_groups_left

pytestmark = [pytest.mark.root, pytest.mark.interop]

MIB = 1 << 20


def a_disk() -> tuple[int, int]:
    """The numbers of a block device that the kernel knows, or (0, 0)."""
    for entry in sorted(Path("/sys/block").iterdir()):
        major, minor = entry.joinpath("dev").read_text().strip().split(":")
        return int(major), int(minor)
    return 0, 0


MAJOR, MINOR = a_disk()
# hugetlb and network classes are left out: few kernels that tests run on have them.
RESOURCES: dict[str, Any] = {
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
    ],
    "memory": {"limit": 64 * MIB, "swap": 80 * MIB, "reservation": 32 * MIB},
    "blockIO": {
        "throttleReadBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": 1 << 20}],
        "throttleWriteIOPSDevice": [{"major": MAJOR, "minor": MINOR, "rate": 100}],
    },
    "cpu": {"shares": 512, "quota": 50_000, "period": 200_000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 33},
}
FILES = """
    memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes memory.max memory.swap.max memory.low
    cpu.shares cpu.cfs_period_us cpu.cfs_quota_us cpu.max cpuset.cpus cpuset.mems pids.max devices.list
    memory.swappiness memory.oom_control blkio.throttle.read_bps_device blkio.throttle.write_iops_device io.max
"""


@contextmanager
def runc_container(bundle: Path, name: str) -> Iterator[None]:
    program = peer("runc")
    state = bundle / "state"
    subprocess.run(
        [program, "--root", state, "create", "--bundle", bundle, name],
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        subprocess.run([program, "--root", state, "delete", "--force", name], check=True, timeout=60)


def make_bundle(path: Path, group: str, resources: object) -> Path:
    (path / "rootfs/bin").mkdir(parents=True)
    for directory in ("proc", "dev", "sys"):
        (path / "rootfs" / directory).mkdir()
    (path / "rootfs/bin/sh").write_bytes(busybox().read_bytes())
    (path / "rootfs/bin/sh").chmod(0o755)
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {
            "cgroupsPath": group,
            "resources": resources,
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
        },
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


def contents(found: cgroups.Hierarchies, group: str) -> dict[str, object]:
    """The values of the files that we compare, wherever they are."""
    values: dict[str, object] = {}
    for mount in found.mounts:
        for name in FILES.split():
            path = Path(mount.locate(group)) / name
            if path.exists():
                text = path.read_text().strip()
                values[name] = sorted(text.splitlines()) if name == "devices.list" else text
    return values


def without_choice(values: dict[str, object]) -> dict[str, object]:
    """Runc's older versions also allow /dev/net/tun and fill v1 device lists per terminal; the rest must be equal."""
    lines = values.get("devices.list", [])
    assert isinstance(lines, list)
    return {**values, "devices.list": [line for line in lines if line != "c 10:200 rwm"]}


def test_the_kernel_holds_the_same_after_us_and_after_runc(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = needs_groups("memory", "cpu", "cpuset", "pids")
    theirs, ours = (f"/ociworks-{who}-{os.getpid()}" for who in ("runc", "us"))
    with no_groups_left(found):
        with runc_container(make_bundle(tmp_path / "bundle", theirs, RESOURCES), f"test-{os.getpid()}"):
            expected = contents(found, theirs)
        resources = spec.parse(spec.runtime.Resources, json.dumps(RESOURCES).encode())
        made = cgroups.apply(cgroups.plan(found, ours, "x", resources))
        try:
            assert without_choice(contents(found, ours)) == without_choice(expected)
        finally:
            cgroups.remove(made)


CHANGES: dict[str, Any] = {
    "memory": {"limit": 128 * MIB, "swap": 256 * MIB, "reservation": 16 * MIB},
    "cpu": {"shares": 2048, "quota": 30_000, "period": 150_000},
    "pids": {"limit": 77},
}


def here(found: cgroups.Hierarchies, resources: dict[str, Any]) -> dict[str, Any]:
    """The resources without those that this machine cannot limit."""
    unknown = {"blockIO": "blkio", "memory": "memory", "pids": "pids"}
    kept = {name: value for name, value in resources.items() if _has(found, unknown.get(name, "cpu"))}
    if "cpu" in kept and found.find("cpuset") is None:
        kept["cpu"] = {name: value for name, value in kept["cpu"].items() if name not in ("cpus", "mems")}
    if MAJOR == 0:
        kept.pop("blockIO", None)
    return kept


def _has(found: cgroups.Hierarchies, controller: str) -> bool:
    return found.find(controller) is not None or (controller == "blkio" and found.find("io") is not None)


@pytest.mark.cgroup2
def test_updates_leave_the_same(tmp_path: Path) -> None:
    """Runc update, and ours, from the same limits to the same; runc before 1.3.2 has another formula for weights."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = needs_groups("memory", "cpu", "pids")
    theirs, ours = (f"/ociworks-{who}-{os.getpid()}" for who in ("runc", "us"))
    first = here(found, {name: value for name, value in RESOURCES.items() if name != "devices"})
    bundle = make_bundle(tmp_path / "bundle", theirs, first)
    name = f"test-{os.getpid()}"
    with no_groups_left(found):
        with runc_container(bundle, name):
            subprocess.run(
                [peer("runc"), "--root", bundle / "state", "update", "--resources", "-", name],
                input=json.dumps(CHANGES).encode(),
                check=True,
                timeout=60,
            )
            expected = contents(found, theirs)
        resources, change = (
            spec.parse(spec.runtime.Resources, json.dumps(value).encode()) for value in (first, CHANGES)
        )
        planned = cgroups.plan(found, ours, "x", resources)
        made = cgroups.apply(planned)
        try:
            cgroups.update(found, planned.directories, change, resources)
            assert without_choice(contents(found, ours)) == without_choice(expected)
        finally:
            cgroups.remove(made)
