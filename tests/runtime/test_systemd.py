"""Scopes of systemd: names and properties anywhere, real scopes where systemd runs (in the virtual machine)."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.errors import CgroupError, ContainerError, InvalidSpec, NotSupported
from ociworks.runtime import Detach, ExecOptions, Runtime, cgroups
from ociworks.runtime.cgroups.rules import reduce_rules
from ociworks.runtime.systemd import manager
from ociworks.runtime.systemd.annotations import annotated
from ociworks.runtime.systemd.message import Message, Value, decode, encode, marshal, unmarshal
from ociworks.runtime.systemd.properties import cpu_bits, device_properties, properties
from ociworks.runtime.systemd.scope import Driver, expand, parse
from ociworks.spec.frozen import FrozenDict
from ociworks.spec.runtime import CPU, DeviceRule, Memory, Pids, Resources
from tests.interop.peers import peer
from tests.runtime.boxes import box, with_linux
from tests.runtime.hierarchies import V1, V2
from tests.runtime.shims import shim_of
from tests.source_tree import CHECKOUT

MIB = 1 << 20
INFINITY = (1 << 64) - 1

values: st.SearchStrategy[tuple[str, Value]] = st.recursive(
    st.one_of(
        st.tuples(st.just("y"), st.integers(0, 255)),
        st.tuples(st.just("b"), st.booleans()),
        st.tuples(st.just("x"), st.integers(-(1 << 63), (1 << 63) - 1)),
        st.tuples(st.just("t"), st.integers(0, INFINITY)),
        st.tuples(st.just("d"), st.floats(allow_nan=False)),
        st.tuples(st.just("s"), st.text(st.characters(codec="utf-8"), max_size=8)),
        st.tuples(st.just("ay"), st.binary(max_size=8)),
    ),
    lambda inner: st.one_of(
        inner.flatmap(lambda one: st.integers(0, 3).map(lambda n: (f"a({one[0]})", ((one[1],),) * n))),
        inner.map(lambda one: ("v", one)),
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]}{two[1][0]})", (two[0][1], two[1][1]))),
    ),
    max_leaves=6,
)


@given(st.lists(values, max_size=4))
def test_messages_survive_the_wire(body: list[tuple[str, Value]]) -> None:
    fields = FrozenDict({"path": "/a/b", "member": "M", "signature": "".join(code for code, _ in body)})
    sent = Message(kind=1, serial=7, fields=fields, body=tuple(value for _, value in body))
    read = decode(encode(sent))
    assert read.body == sent.body
    assert read.text("member") == "M"


@given(st.binary(max_size=120), st.sampled_from(["s", "a(sv)", "v", "aay", "(tus)", "a{sv}", "g"]))
def test_what_is_no_message_is_a_value_error(raw: bytes, signature: str) -> None:
    for read in (lambda: decode(raw), lambda: decode(b"l\4\0\1" + raw), lambda: unmarshal(signature, raw)):
        try:
            read()
        except ValueError:
            continue


def test_a_known_message() -> None:
    """The bytes that the specification's rules of alignment give, counted by hand."""
    assert marshal("yu", (1, 2)) == b"\1\0\0\0\2\0\0\0"
    assert marshal("a(sv)", ((("A", ("b", True)),),)) == (
        b"\x10\0\0\0" + bytes(4) + b"\1\0\0\0A\0" + b"\1b\0" + bytes(3) + b"\1\0\0\0"
    )
    for signature in ("(", "a", "z", "a{s", ")" * 3, "a" * 200 + "y"):
        with pytest.raises(ValueError, match="signature"):
            marshal(signature, (1,))


def test_names() -> None:
    assert parse(None, "job-7", user=False) == ("ociworks-job-7.scope", "system.slice")
    assert parse("machine.slice:libpod:abc", "x", user=False) == ("libpod-abc.scope", "machine.slice")
    assert parse(":cri:abc", "x", user=True) == ("cri-abc.scope", "user.slice")
    assert expand("a-b-c.slice") == ("a.slice", "a-b.slice", "a-b-c.slice")
    assert expand("-.slice") == ()


@pytest.mark.parametrize(
    "path",
    ["/a/b", "a:b", "a:b:c", "a.slice:b:c:d", "a--b.slice:p:n", "../x.slice:p:n", "a.slice:p:../n", "a.slice:p:",
     "a.slice:p:n\n", "a.slice:p:" + "n" * 300, ".slice:p:n", "-a.slice:p:n", "a/b.slice:p:n", "é.slice:p:n"],
)  # fmt: skip
def test_rt_20_names_that_are_none(path: str) -> None:
    with pytest.raises(CgroupError):
        parse(path, "c", user=False)
    with pytest.raises(NotSupported, match="scope"):
        parse("a.slice:p:b.slice", "c", user=False)


def test_properties() -> None:
    limits = Resources(
        memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=32 * MIB),
        cpu=CPU(shares=512, quota=12_345, period=100_000, cpus="0-1,9"),
        pids=Pids(limit=-1),
        unified={"memory.high": "1000", "cpu.weight": "7"},
    )
    assert {name: value for name, _, value in properties(limits, 2)} == {
        "MemoryMax": 64 * MIB,
        "MemoryLow": 32 * MIB,
        "MemorySwapMax": 32 * MIB,
        "CPUWeight": 7,
        "CPUQuotaPeriodUSec": 100_000,
        "CPUQuotaPerSecUSec": 130_000,
        "AllowedCPUs": b"\3\2",
        "TasksMax": INFINITY,
        "MemoryHigh": 1000,
    }
    assert ("CPUShares", "t", 512) in properties(limits, 1)
    assert ("MemoryLimit", "t", 64 * MIB) in properties(limits, 1)
    assert cpu_bits("0,8-9") == b"\1\3"
    for wrong in ("", "5-2", "a", "0-99999", "-1"):
        with pytest.raises(CgroupError):
            cpu_bits(wrong)


def test_devices_as_properties() -> None:
    rules = (DeviceRule(allow=True, type="b", major=8, access="r"),)
    found = device_properties(reduce_rules(rules))
    assert ("DevicePolicy", "s", "strict") in found
    entries = found[-1][2]
    assert isinstance(entries, tuple)
    assert {("block-8", "r"), ("/dev/char/1:3", "rwm"), ("char-*", "m")} <= set(entries)
    everything = device_properties(reduce_rules((DeviceRule(allow=True, access="rwm"),)))
    assert everything[-1] == ("DevicePolicy", "s", "auto")


def test_annotations() -> None:
    prefix = "org.systemd.property."
    found = annotated(
        {
            f"{prefix}TimeoutStopUSec": "uint64 10000000",
            f"{prefix}KillSignal": "15",
            f"{prefix}After": "['a.service', 'b.service']",
            f"{prefix}RuntimeMaxSec": "1.5",
            f"{prefix}SendSIGHUP": "true",
            f"{prefix}Description": "'words'",
            "other": "x",
        }
    )
    assert found == (
        ("TimeoutStopUSec", "t", 10_000_000),
        ("KillSignal", "i", 15),
        ("After", "as", ("a.service", "b.service")),
        ("RuntimeMaxUSec", "t", 1_500_000),
        ("SendSIGHUP", "b", True),
        ("Description", "s", "words"),
    )
    for name, value in (("X", "1"), ("A-b", "1"), ("Abc", "{}"), ("Abc", "byte 256"), ("AbSec", "'a'")):
        with pytest.raises(InvalidSpec):
            annotated({prefix + name: value})


def test_a_plan_in_a_scope() -> None:
    path = "a-b.slice:cri:x"
    found = cgroups.plan(V2, path, "c", Resources(pids=Pids(limit=7)), systemd=Driver())
    assert found.directories == ("/cg/a.slice/a-b.slice/cri-x.scope",)
    assert found.scope is not None
    assert (found.scope.unit, found.scope.slice, found.scope.key) == (
        "cri-x.scope",
        "a-b.slice",
        "system:cri-x.scope",
    )
    assert ("TasksMax", "t", 7) in found.scope.properties
    assert found.plain()[9] is True
    below = cgroups.plan(V2, None, "c", None, systemd=Driver(user=True, group="/u/user@1.service"))
    assert below.directories == ("/cg/u/user@1.service/user.slice/ociworks-c.scope",)
    assert below.cloned_into == ""
    old = cgroups.plan(V1, path, "c", None, systemd=Driver())
    assert "/cg/memory/a.slice/a-b.slice/cri-x.scope" in old.directories


def test_without_systemd_it_is_refused(tmp_path: Path, bundle: spec.Bundle) -> None:
    if manager.booted():
        pytest.skip("systemd runs here")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Runtime(tmp_path / "root", systemd_cgroup=True) as runtime:
        with pytest.raises(NotSupported, match="use the driver cgroupfs"):
            runtime.run(bundle, ["true"])
        with pytest.raises(NotSupported):
            runtime.create("c", bundle)
        assert runtime.list() == ()


def show(unit: str, *names: str) -> dict[str, str]:
    """What systemd says of a unit."""
    call = ["systemctl", "show", unit, *(f"--property={name}" for name in names)]
    text = subprocess.run(call, check=True, capture_output=True, text=True, timeout=60).stdout
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


@pytest.fixture
def systemd(tmp_path: Path) -> Runtime:
    if not manager.booted() or os.geteuid() != 0:
        pytest.skip("needs root and systemd")
    return Runtime(tmp_path / "root", systemd_cgroup=True)


@pytest.mark.root
def test_a_life_in_a_scope(systemd: Runtime, bundle: spec.Bundle) -> None:
    unit = "box-life.scope"
    limits = Resources(
        memory=Memory(limit=64 * MIB), pids=Pids(limit=50), cpu=CPU(shares=512, quota=50_000, period=100_000)
    )
    boxed = with_linux(bundle, resources=limits, cgroups_path="test-box.slice:box:life")
    with systemd, systemd.create("life", boxed, ["sleep", "1000"]) as container:
        container.start()
        found = show(
            unit, "ActiveState", "MemoryMax", "TasksMax", "Slice", "Delegate", "ControlGroup", "DevicePolicy"
        )
        assert found == {
            "ActiveState": "active",
            "MemoryMax": str(64 * MIB),
            "TasksMax": "50",
            "Slice": "test-box.slice",
            "Delegate": "yes",
            "ControlGroup": f"/test.slice/test-box.slice/{unit}",
            "DevicePolicy": "strict",
        }
        assert found["ControlGroup"] in Path(f"/proc/{container.pid}/cgroup").read_text()
        assert container.processes() == (container.pid,)
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)
        reading = container.stats()
        assert reading.memory is not None
        assert reading.memory.limit == 64 * MIB
        container.update(Resources(memory=Memory(limit=96 * MIB)))
        assert show(unit, "MemoryMax") == {"MemoryMax": str(96 * MIB)}
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)
        reading = container.stats()
        assert reading.memory is not None
        assert reading.memory.limit == 96 * MIB
        assert container.exec(["cat", "/proc/self/cgroup"]).returncode == 0
        assert container.exec(["sh", "-c", "echo >/dev/null"]).returncode == 0
        with pytest.raises(ContainerError, match="box-life"):
            systemd.create("other", boxed, ["true"])
        assert container.status == "running"
    assert show(unit, "LoadState")["LoadState"] == "not-found"
    assert not list(Path("/sys/fs/cgroup/test.slice").glob(f"**/{unit}"))


@pytest.mark.root
def test_runs_follow_each_other_in_one_unit(systemd: Runtime, bundle: spec.Bundle) -> None:
    boxed = with_linux(bundle, cgroups_path="system.slice:box:again")
    with systemd:
        for status in (0, 3, 0):
            assert systemd.run(boxed, ["sh", "-c", f"exit {status}"]).returncode == status
        with pytest.raises(ContainerError):
            systemd.run(boxed, ["/no/such/program"])
        greedy = ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"]
        small = with_linux(boxed, resources=Resources(memory=Memory(limit=16 * MIB, swap=16 * MIB)))
        assert systemd.run(small, greedy).returncode == -9
        assert systemd.run(boxed, ["true"]).returncode == 0
    assert show("box-again.scope", "LoadState")["LoadState"] == "not-found"


@pytest.mark.root
def test_rt_32_a_unit_of_somebody_else_stays(systemd: Runtime, bundle: spec.Bundle) -> None:
    call = ["systemd-run", "--scope", "--unit=box-theirs", "--slice=system.slice", "--quiet", "sleep", "1000"]
    with subprocess.Popen(call) as theirs:
        try:
            boxed = with_linux(bundle, cgroups_path="system.slice:box:theirs")
            for _ in range(1000):
                if show("box-theirs.scope", "ActiveState")["ActiveState"] == "active":
                    break
            with systemd:
                for make in (lambda: systemd.run(boxed, ["true"]), lambda: systemd.create("x", boxed)):
                    with pytest.raises(CgroupError, match="box-theirs"):
                        make()
            assert show("box-theirs.scope", "ActiveState") == {"ActiveState": "active"}
            assert theirs.poll() is None
        finally:
            theirs.kill()


@pytest.mark.root
def test_a_detached_one_outlives_its_creator(systemd: Runtime, bundle: spec.Bundle) -> None:
    boxed = with_linux(
        bundle, cgroups_path="system.slice:box:alone", resources=Resources(pids=Pids(limit=50))
    )
    with systemd:
        systemd.create("alone", boxed, ["sleep", "1000"], detach=True)
    found = Runtime(systemd.root).get("alone")
    found.start()
    assert show("box-alone.scope", "ActiveState", "TasksMax") == {"ActiveState": "active", "TasksMax": "50"}
    found.update(Resources(pids=Pids(limit=60)))
    assert show("box-alone.scope", "TasksMax") == {"TasksMax": "60"}
    found.delete(force=True)
    assert show("box-alone.scope", "LoadState")["LoadState"] == "not-found"


@pytest.mark.root
def test_a_shim_in_a_scope(systemd: Runtime, bundle: spec.Bundle) -> None:
    """The container is in it, its shim is not; processes begun by others are, and the unit goes with the container."""
    boxed = with_linux(bundle, cgroups_path="system.slice:box:far", resources=Resources(pids=Pids(limit=50)))
    with systemd:
        made = systemd.create("far", boxed, ["sleep", "1000"], detach=Detach())
        made.start()
    with Runtime(systemd.root) as other, other.get("far") as found:
        assert show("box-far.scope", "ActiveState", "TasksMax") == {"ActiveState": "active", "TasksMax": "50"}
        alone = found.spawn(["sleep", "1000"], options=ExecOptions(detach=True))
        with found.spawn(["sleep", "1000"]) as running:
            for pid in (found.pid, running.pid, alone.pid):
                assert "/box-far.scope" in Path(f"/proc/{pid}/cgroup").read_text()
        assert "box-far" not in Path(f"/proc/{shim_of(found)}/cgroup").read_text()
        found.kill("KILL")
        assert found.wait(60) == -9
        alone.close()
    assert show("box-far.scope", "LoadState")["LoadState"] == "not-found"


OWNER = """
import os, sys
from ociworks import spec
from ociworks.runtime import Runtime
runtime = Runtime(sys.argv[1], systemd_cgroup=True)
runtime.create("orphan", spec.Bundle.load(sys.argv[2]), ["sleep", "1000"]).start()
os.kill(os.getpid(), 9)
"""


@pytest.mark.root
def test_a_killed_owner_leaves_no_unit(systemd: Runtime, bundle: spec.Bundle) -> None:
    boxed = with_linux(bundle, cgroups_path="system.slice:box:orphan")
    Path(boxed.path, "config.json").write_bytes(spec.to_json(boxed.spec))
    call = [sys.executable, "-c", OWNER, systemd.root, str(boxed.path)]
    assert subprocess.run(call, check=False, timeout=60).returncode == -9
    deadline = time.monotonic() + 60
    while (state := show("box-orphan.scope", "LoadState", "ActiveState"))["LoadState"] != "not-found":
        assert time.monotonic() < deadline, state
    assert systemd.list() == ()


KNOWN = ("MemoryMax", "MemoryLow", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "Delegate",
         "DevicePolicy", "DeviceAllow", "Slice", "MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting",
         "DefaultDependencies", "AllowedCPUs")  # fmt: skip


@pytest.mark.root
@pytest.mark.interop
def test_the_properties_are_those_that_runc_sets(
    systemd: Runtime, bundle: spec.Bundle, tmp_path: Path
) -> None:
    """Weights apart, for which runc before 1.3.2 has another formula."""
    limits = Resources(
        memory=Memory(limit=64 * MIB, swap=80 * MIB, reservation=32 * MIB),
        pids=Pids(limit=50),
        cpu=CPU(quota=50_000, period=200_000),
        devices=(
            DeviceRule(allow=False, access="rwm"),
            DeviceRule(allow=True, type="b", major=8, access="r"),
        ),
    )
    boxed = with_linux(bundle, resources=limits, cgroups_path="test-box.slice:theirs:x")
    theirs = box(tmp_path / "theirs", boxed.spec)
    state = ["--root", str(tmp_path / "runc"), "--systemd-cgroup"]
    runc = peer("runc")
    subprocess.run([runc, *state, "create", "--bundle", theirs.path, "x"], check=True, timeout=60,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        expected = show("theirs-x.scope", *KNOWN)
    finally:
        subprocess.run([runc, *state, "delete", "--force", "x"], check=True, timeout=60)
    with systemd, systemd.create("x", with_linux(boxed, cgroups_path="test-box.slice:ours:x")):
        found = show("ours-x.scope", *KNOWN)
    allowed = [set(each.pop("DeviceAllow").splitlines()) for each in (expected, found)]
    assert found == expected
    by_number = {entry for entry in allowed[1] if re.match(r"(char|block)-[0-9]+ ", entry)}
    assert by_number == {"block-8 r", "char-136 rwm"}  # which runc 1.1 looks up by name in /proc/devices
    assert allowed[1] - by_number <= allowed[0]


@pytest.mark.root
def test_a_manager_of_an_ordinary_user() -> None:
    """From outside of the user's tree of groups, where only systemd may move processes into it."""
    if not manager.booted() or os.geteuid() != 0:
        pytest.skip("needs root and systemd")
    users = [entry for entry in pwd.getpwall() if 1000 <= entry.pw_uid < 65000]
    if "VMRUN" not in os.environ or not users:
        pytest.skip("makes directories accessible; only in a virtual machine, and for a user there")
    for place in (*Path(sys.executable).resolve().parents, *CHECKOUT.parents, CHECKOUT):
        place.chmod(place.stat().st_mode | 0o011)
    uid = users[0].pw_uid
    subprocess.run(["systemctl", "start", f"user@{uid}.service"], check=True, timeout=60)
    call = ["setpriv", f"--reuid={uid}", f"--regid={users[0].pw_gid}", "--clear-groups"]
    done = subprocess.run(
        [*call, sys.executable, "-B", "-m", "tests.runtime.users_scope"],
        env={"XDG_RUNTIME_DIR": f"/run/user/{uid}", "HOME": "/tmp", "PATH": os.environ["PATH"]},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, group, inside, limit, members, held = json.loads(done.stdout)
    assert (status, inside, limit, members) == (0, "0::/", 30, 1)
    assert re.fullmatch(rf"0::/user\.slice/.*/user@{uid}\.service/user\.slice/ociworks-box\.scope", group)
    first, places, ended, said = held
    assert first == group.replace("-box.", "-far.")
    assert (places, ended, said) == ([first], 7, ["begun\n"])
