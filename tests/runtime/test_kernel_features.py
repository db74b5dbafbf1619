"""What the kernel does for a process beyond its rights: NUMA, schedulers, network devices, resource control."""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime, cgroups
from ociworks.runtime._init import resctrl as groups
from ociworks.runtime._rtnetlink import Netlink
from ociworks.runtime.plan import numa, resctrl
from ociworks.spec.runtime import IntelRdt, MemoryPolicy, NetDevice, Scheduler
from tests.interop.peers import peer
from tests.runtime.boxes import shell, with_linux, with_process

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices and priorities"),
]


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        (MemoryPolicy(mode="MPOL_BIND", nodes="0"), "bind:0"),
        (MemoryPolicy(mode="MPOL_BIND", nodes="0", flags=("MPOL_F_STATIC_NODES",)), "bind=static:0"),
        (MemoryPolicy(mode="MPOL_INTERLEAVE", nodes="0"), "interleave:0"),
        (MemoryPolicy(mode="MPOL_PREFERRED", nodes="0"), "prefer"),
        (MemoryPolicy(mode="MPOL_LOCAL"), "local"),
        (MemoryPolicy(mode="MPOL_DEFAULT"), "default"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_memory_policy(runtime: Runtime, bundle: spec.Bundle, policy: MemoryPolicy, shown: str) -> None:
    """As the kernel shows it of the program's memory; of an exec too."""
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel has no NUMA policies")
    placed = with_linux(bundle, memory_policy=policy)
    with runtime.create("placed", placed, ["sleep", "1000"]) as container:
        container.start()
        assert shown in Path(f"/proc/{container.pid}/numa_maps").read_text()
        with container.spawn(["sleep", "1000"]) as process:
            assert shown in Path(f"/proc/{process.pid}/numa_maps").read_text()


@pytest.mark.parametrize("text", ["", "x", "3-1", "1,,2", "-1", "1-", "99999", "1-999999999", "１"])
def test_lists_that_are_none(text: str) -> None:
    """CPUs and nodes are small numbers and ranges of them."""
    with pytest.raises(errors.InvalidSpec):
        numa.numbers(text, "$.x")
    assert numa.numbers("0-2, 5,1", "$.x") == (0, 1, 2, 5)


@pytest.mark.parametrize(
    ("scheduler", "policy"),
    [
        (Scheduler(policy="SCHED_FIFO", priority=3), os.SCHED_FIFO),
        (Scheduler(policy="SCHED_RR", priority=2, flags=("SCHED_FLAG_RESET_ON_FORK",)), os.SCHED_RR),
        (Scheduler(policy="SCHED_IDLE"), os.SCHED_IDLE),
        (Scheduler(policy="SCHED_OTHER", nice=5), os.SCHED_OTHER),
        (Scheduler(policy="SCHED_DEADLINE", runtime=1_000_000, deadline=10_000_000, period=10_000_000), 6),
    ],
    ids=lambda value: value.policy if isinstance(value, Scheduler) else "",
)
def test_schedulers(runtime: Runtime, bundle: spec.Bundle, scheduler: Scheduler, policy: int) -> None:
    """Every policy that the kernel lets a container have; what it does not is an error, before the program runs."""
    tuned = with_process(bundle, scheduler=scheduler)
    try:
        container = runtime.create("tuned", tuned, ["sleep", "1000"])
    except errors.CreateFailed as error:
        if error.step == "scheduler" and policy in (os.SCHED_FIFO, os.SCHED_RR, 6):
            pytest.skip(f"this kernel gives the container's control group no such time: {error}")
        raise
    with container:
        container.start()
        found = os.sched_getscheduler(container.pid)
        assert found & ~os.SCHED_RESET_ON_FORK == policy
        assert bool(found & os.SCHED_RESET_ON_FORK) == bool(scheduler.flags)


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """Two ends of a virtual cable."""
    ip, name = peer("ip"), f"oci{secrets.token_hex(3)}"
    ends = (f"{name}a", f"{name}b")
    made = subprocess.run([ip, "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], check=False)
    if made.returncode:
        pytest.skip("this kernel has no virtual cables")
    yield ends
    subprocess.run([ip, "link", "delete", ends[0]], check=False, stderr=subprocess.DEVNULL)


def test_network_devices(runtime: Runtime, bundle: spec.Bundle, cable: tuple[str, str]) -> None:
    """Moved, renamed and up, with the permanent global addresses and no others; gone with the container."""
    first, _ = cable
    ip = peer("ip")
    for address in ("10.99.3.1/24", "2001:db8::5/64"):
        subprocess.run([ip, "address", "add", address, "dev", first], check=True)
    link_local = ["address", "add", "169.254.9.9/16", "dev", first, "scope", "link"]
    subprocess.run([ip, *link_local], check=True)
    moved = with_linux(bundle, net_devices={first: NetDevice(name="inner0")})
    script = "ip -o addr show dev inner0 | sed 's/  */ /g'; cat /sys/class/net/inner0/flags"
    text = shell(runtime, moved, script)
    assert " inet 10.99.3.1/24 " in text
    assert " inet6 2001:db8::5/64 " in text
    assert "169.254.9.9" not in text
    assert int(text.split()[-1], 16) & 1
    with Netlink() as host:
        assert first not in {link.name for link in host.links()}


def test_network_devices_by_template(runtime: Runtime, bundle: spec.Bundle, cable: tuple[str, str]) -> None:
    """The kernel numbers them; without a new name they keep theirs; a running container keeps the others out."""
    first, second = cable
    named = {first: NetDevice(name="port%d"), second: NetDevice()}
    moved = with_linux(bundle, net_devices=named)
    assert {"lo", second, "port0"} <= set(shell(runtime, moved, "ls /sys/class/net").split())
    with pytest.raises(errors.InvalidSpec, match="no such network device"):
        runtime.plan(moved)


def test_a_name_that_is_taken_inside(runtime: Runtime, bundle: spec.Bundle, cable: tuple[str, str]) -> None:
    """Refused before the device is moved: it stays where it was."""
    first, _ = cable
    with pytest.raises(errors.CreateFailed, match="already"):
        runtime.create("taken", with_linux(bundle, net_devices={first: NetDevice(name="lo")}))
    with Netlink() as host:
        assert host.link(first).name == first


def test_addresses_as_the_kernel_gives_them(cable: tuple[str, str]) -> None:
    """Read back as they were given."""
    first, _ = cable
    subprocess.run([peer("ip"), "address", "add", "10.99.4.1/30", "dev", first], check=True)
    with Netlink() as host:
        found = [address for address in host.addresses(host.link(first)) if address.family == socket.AF_INET]
        assert [(ipaddress.ip_address(each.local).compressed, each.prefix) for each in found] == [
            ("10.99.4.1", 30)
        ]
        assert found[0].permanent
        with pytest.raises(OSError, match="No such device") as caught:
            host.link("not-there")
        assert caught.value.filename == "not-there"


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree that looks like a mounted resctrl, with the class ``ready``."""
    root = tmp_path / "resctrl"
    (root / "ready/mon_groups").mkdir(parents=True)
    (root / "ready/schemata").write_text("    L3:0=00f;1=0f0\n    MB:0= 20;1=70\n")
    (root / "ready/tasks").write_text("")
    monkeypatch.setattr(resctrl, "mount_point", lambda: str(root))
    return root


def test_resource_control_without_resctrl(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Refused, and by name."""
    if resctrl.mount_point() is not None:
        pytest.skip("resctrl is mounted here")
    with pytest.raises(errors.NotSupported, match="intelRdt: resctrl is not mounted"):
        runtime.create("rdt", with_linux(bundle, intel_rdt=IntelRdt()))


def test_an_existing_class(runtime: Runtime, bundle: spec.Bundle, control: Path) -> None:
    """Entered as it is, by the container and by an exec; its schemata are compared; it stays."""
    ready = with_linux(bundle, intel_rdt=IntelRdt(clos_id="ready", l3_cache_schema="L3:0=f"))
    with runtime.create("rdt", ready, ["sleep", "1000"]) as container:
        container.start()
        container.exec(["true"], timeout=60)
    assert (
        control / "ready/tasks"
    ).read_text() == "0"  # written from its start each time: nothing is appended
    assert (control / "ready/schemata").read_text().endswith("L3:0=f\n")
    for wrong in (
        IntelRdt(clos_id="ready", l3_cache_schema="L3:0=ff"),
        IntelRdt(clos_id="missing"),
        IntelRdt(clos_id="ready", mem_bw_schema="MB:0=30"),
    ):
        with pytest.raises(errors.InvalidSpec, match=r"\$\.linux\.intelRdt\.closID"):
            runtime.plan(with_linux(bundle, intel_rdt=wrong))


def test_schemata_that_change(runtime: Runtime, bundle: spec.Bundle, control: Path) -> None:
    """Written as one to the container's class, in its configuration then; a share that the host lacks is refused."""
    ready = with_linux(bundle, intel_rdt=IntelRdt(clos_id="ready", l3_cache_schema="L3:0=f"))
    with runtime.create("rdt", ready, ["sleep", "1000"]) as container:
        (control / "info/L3").mkdir(parents=True)
        with pytest.raises(
            errors.NotSupported, match="Intel RDT/MBA: memory bandwidth schema is not enabled"
        ):
            container.update_rdt(l3_cache_schema="L3:0=1", mem_bw_schema="MB:0=50")
        (control / "info/MB").mkdir()
        before = (control / "ready/schemata").read_text()
        container.update_rdt(l3_cache_schema="L3:0=1", mem_bw_schema="MB:0=50")
        assert (control / "ready/schemata").read_text() == before + "L3:0=1\nMB:0=50\n"
        for seen in (container, Runtime(runtime.root).get("rdt")):
            assert seen.spec.linux is not None
            told = seen.spec.linux.intel_rdt
            assert told == IntelRdt(clos_id="ready", l3_cache_schema="L3:0=1", mem_bw_schema="MB:0=50")


def test_a_share_for_a_container_that_had_none(
    runtime: Runtime, bundle: spec.Bundle, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class of its own with all its processes, which an exec enters too, and which goes with it."""

    def make(
        directories: Sequence[str], lines: Sequence[tuple[str, str]], own: Sequence[str]
    ) -> tuple[str, ...]:
        for name in map(Path, directories):
            name.mkdir()
            (name / "schemata").touch()
            (name / "tasks").touch()
        for line in lines:
            groups.write(*line)
        return tuple(own)

    def remove(found: Sequence[str]) -> None:
        for name in found:
            shutil.rmtree(name, ignore_errors=True)

    monkeypatch.setattr(groups, "make", make)  # a plain directory has not the files of the kernel's
    monkeypatch.setattr(groups, "remove", remove)
    (control / "info/L3").mkdir(parents=True)
    with runtime.create("later", bundle, ["sleep", "1000"]) as container:
        container.start()
        container.update_rdt(l3_cache_schema="L3:0=3")
        assert (control / "later/schemata").read_text() == "L3:0=3\n"
        assert (control / "later/tasks").read_text() == f"{container.pid}\n"
        container.exec(["true"], timeout=60)
        assert (control / "later/tasks").read_text().startswith("0")
    assert not (control / "later").exists()


def test_what_is_made_of_classes(control: Path) -> None:
    """A class of its own goes with the container, a named one stays, a monitoring group goes; lines in order."""
    own = resctrl.plan_resctrl(IntelRdt(schemata=("L3:0=f",), l3_cache_schema="L3:1=f"), "c")
    assert own.make == own.remove == (f"{control}/c",)
    assert own.write == ((f"{control}/c/schemata", "L3:1=f"), (f"{control}/c/schemata", "L3:0=f"))
    assert own.tasks == (f"{control}/c/tasks",)
    named = resctrl.plan_resctrl(
        IntelRdt(clos_id="new", mem_bw_schema="MB:0=10", enable_monitoring=True), "c"
    )
    assert named.make == (f"{control}/new", f"{control}/new/mon_groups/c")
    assert named.remove == (f"{control}/new/mon_groups/c",)
    assert named.tasks == (f"{control}/new/tasks", f"{control}/new/mon_groups/c/tasks")
    root = resctrl.plan_resctrl(IntelRdt(clos_id="/", enable_monitoring=False), "c")
    assert (root.make, root.tasks) == ((), (f"{control}/tasks",))
    with pytest.raises(errors.InvalidSpec, match="exists already"):
        resctrl.plan_resctrl(IntelRdt(), "ready")


def test_groups_are_made_and_removed(control: Path) -> None:
    """What fails half-way is undone; what is not empty of foreign things is left alone, with an error."""
    made = groups.make((f"{control}/x", f"{control}/x/y"), (), (f"{control}/x/y", f"{control}/x"))
    groups.remove(made)
    assert not (control / "x").exists()
    groups.remove(made)
    with pytest.raises(FileNotFoundError):
        groups.make((f"{control}/x",), ((f"{control}/x/schemata", "L3:0=f"),), (f"{control}/x",))
    assert not (control / "x").exists()
    with pytest.raises(OSError, match="not empty"):
        groups.remove((f"{control}/ready",))


def test_a_class_of_its_own(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made, entered and removed: in a file system that makes the file of tasks as resctrl does."""
    root = tmp_path / "named"
    root.mkdir()
    monkeypatch.setattr(runtime._host, "hierarchies", cgroups.detect())  # without the one that plays resctrl
    name = f"name=oci{secrets.token_hex(3)}"
    command = ["mount", "-t", "cgroup", "-o", f"none,{name}", "none", str(root)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this kernel mounts no hierarchy of version 1")
    try:
        monkeypatch.setattr(resctrl, "mount_point", lambda: str(root))
        with runtime.create("rdt", with_linux(bundle, intel_rdt=IntelRdt()), ["sleep", "1000"]) as container:
            container.start()
            assert str(container.pid) in (root / "rdt/tasks").read_text().split()
            with container.spawn(["sleep", "1000"]) as process:
                assert str(process.pid) in (root / "rdt/tasks").read_text().split()
        assert not (root / "rdt").exists()
    finally:
        subprocess.run(["umount", str(root)], check=True)
        # The kernel keeps a hierarchy that had a dying group when it was unmounted: until the next time.
        for _ in range(1000):
            if name not in Path("/proc/self/cgroup").read_text("ascii"):
                break
            subprocess.run(command, check=True)
            subprocess.run(["umount", str(root)], check=True)
