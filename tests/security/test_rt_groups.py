"""Control groups under attack (ATTACKS RT-20, RT-21, RT-22, RT-32), on real containers where that is possible.

Plans and single files are attacked in tests/runtime/test_cgroups_*.py; units of systemd in test_systemd.py.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.errors import CgroupError, ContainerError, InvalidSpec, NotSupported
from ociworks.runtime import Container, Runtime, _cgroupfs, cgroups, state
from ociworks.spec.runtime import DeviceRule, HugepageLimit, Memory, Mount, Pids, Rdma, Resources
from tests.runtime.boxes import box, changed, with_linux
from tests.runtime.groups import needs_groups, sleeper

pytestmark = [pytest.mark.root, pytest.mark.cgroup2]

NAME = f"rt-{os.getpid()}"
"""Control groups are the machine's: containers of other tests must not have it."""
MOUNT = "/sys/fs/cgroup"


@pytest.fixture
def machine() -> cgroups.Hierarchies:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return needs_groups("memory", "pids", "cpu")


@pytest.fixture
def bundle(tmp_path: Path, machine: cgroups.Hierarchies) -> spec.Bundle:
    return box(tmp_path / "bundle")


def group(found: cgroups.Hierarchies, name: str) -> list[str]:
    """A group of the test's own in every hierarchy."""
    made = [f"{mount.mount_point}/{name}" for mount in found.mounts]
    for path in made:
        os.mkdir(path)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if os.path.exists(f"{path}/{file}") and not Path(path, file).read_text().strip():
                Path(path, file).write_text(Path(path).parent.joinpath(file).read_text())
    return made


@pytest.fixture
def theirs(machine: cgroups.Hierarchies) -> Iterator[list[str]]:
    """A group of somebody else with a process in it, which must both be there at the end."""
    made = group(machine, f"others-{os.getpid()}")
    try:
        with sleeper() as process:
            _cgroupfs.join([f"{path}/cgroup.procs" for path in made], process.pid)
            yield made
            assert process.poll() is None
            assert all(map(os.path.isdir, made))
    finally:
        cgroups.kill(made)
        assert _cgroupfs.remove(made) == []


@pytest.mark.parametrize(
    "path", ["../../x", "/a/../../b", "a:b:../c", "x\ny", "y" * 5000, ".", "/", "a/cgroup.procs"]
)
def test_rt_20_paths_are_refused_before_anything_exists(
    runtime: Runtime, bundle: spec.Bundle, path: str
) -> None:
    with pytest.raises((CgroupError, InvalidSpec)):
        runtime.create(NAME, with_linux(bundle, cgroups_path=path))
    assert runtime.list() == ()


@pytest.mark.parametrize(
    "resources",
    [
        Resources(unified={"../cgroup.procs": "1"}),
        Resources(unified={"memory.max/../x": "1"}),
        Resources(unified={"cgroup.procs": "1"}),
        Resources(unified={"cgroup.subtree_control": "-memory"}),
        Resources(hugepage_limits=(HugepageLimit(page_size="../../memory.max", limit=1),)),
        Resources(rdma={"a/b": Rdma(hca_handles=1)}),
    ],
)
def test_rt_20_keys_are_refused_before_anything_exists(
    runtime: Runtime, bundle: spec.Bundle, resources: Resources
) -> None:
    with pytest.raises((CgroupError, NotSupported, InvalidSpec)):
        runtime.create(NAME, with_linux(bundle, resources=resources))
    with runtime.create(NAME, bundle, ["sleep", "1000"]) as container:
        container.start()
        with pytest.raises((CgroupError, NotSupported, InvalidSpec)):
            container.update(resources)


def with_groups_mounted(bundle: spec.Bundle, *options: str) -> spec.Bundle:
    rest = tuple(mount for mount in bundle.spec.mounts if mount.type not in ("cgroup", "cgroup2"))
    shown = Mount(
        destination=MOUNT, type="cgroup", source="cgroup", options=("nosuid", "noexec", "nodev", *options)
    )
    return changed(bundle, mounts=(*rest, shown))


def own_namespace(bundle: spec.Bundle, *, private: bool) -> spec.Bundle:
    assert bundle.spec.linux is not None
    kept = tuple(entry for entry in bundle.spec.linux.namespaces if entry.type != "cgroup")
    wanted = (*kept, spec.runtime.Namespace(type="cgroup")) if private else kept
    return with_linux(bundle, namespaces=wanted)


def writable(runtime: Runtime, bundle: spec.Bundle) -> list[str]:
    walk = (
        "walk() { [ -e $1/cgroup.procs ] && mkdir $1/probe 2>/dev/null && rmdir $1/probe && echo $1;"
        " for d in $1/*/; do [ -d $d ] && [ ! -L ${d%/} ] && walk ${d%/}; done; }; walk " + MOUNT
    )
    return runtime.run(bundle, ["sh", "-c", walk], capture_output=True).stdout.decode().split()


def test_rt_21_groups_are_writable_only_in_a_namespace_of_ones_own(
    runtime: Runtime, bundle: spec.Bundle
) -> None:
    asked = with_groups_mounted(bundle, "rw")
    assert writable(runtime, own_namespace(asked, private=False)) == []
    assert writable(runtime, own_namespace(with_groups_mounted(bundle, "ro"), private=True)) == []
    assert writable(runtime, own_namespace(asked, private=True)) != []


def test_rt_21_what_can_be_written_is_the_containers_own(
    runtime: Runtime, bundle: spec.Bundle, theirs: list[str]
) -> None:
    """No group of the host is in sight, and no release agent: that is a file of a hierarchy's real root."""
    asked = own_namespace(with_groups_mounted(bundle, "rw"), private=True)
    shown = runtime.run(asked, ["sh", "-c", f"ls -R {MOUNT}"], capture_output=True).stdout.decode()
    assert "cgroup.procs" in shown
    assert os.path.basename(theirs[0]) not in shown
    assert "release_agent" not in shown


def test_rt_21_membership_is_read_back(
    runtime: Runtime, bundle: spec.Bundle, machine: cgroups.Hierarchies
) -> None:
    path = f"/ociworks-rt21-{os.getpid()}/pod/c"
    boxed = own_namespace(with_linux(bundle, cgroups_path=path), private=False)
    found = runtime.run(boxed, ["cat", "/proc/self/cgroup"], capture_output=True).stdout.decode()
    assert {line.split(":", 2)[2] for line in found.splitlines()} == {path}
    assert len(found.splitlines()) >= len(machine.mounts)


def test_rt_22_a_limit_that_cannot_be_applied_stops_the_start(
    runtime: Runtime, bundle: spec.Bundle, machine: cgroups.Hierarchies
) -> None:
    """Failures after the groups exist leave neither process nor group; the fixture looks."""
    impossible = [Resources(memory=Memory(limit=value)) for value in (0, -2)]
    impossible.append(Resources(hugepage_limits=(HugepageLimit(page_size="3MB", limit=1),)))
    if machine.find("cpuset") is not None:
        impossible.append(Resources(pids=Pids(limit=9), cpu=spec.runtime.CPU(cpus="4000", mems="0")))
    for resources in impossible:
        with pytest.raises((ContainerError, NotSupported, InvalidSpec)):
            runtime.run(with_linux(bundle, resources=resources), ["true"])


@pytest.mark.parametrize(
    "rule",
    [
        DeviceRule(allow=True),
        DeviceRule(allow=True, type="x", access="rwm"),
        DeviceRule(allow=True, type="c", major=-2, access="r"),
        DeviceRule(allow=True, type="c", major=1, minor=1 << 40, access="r"),
        DeviceRule(allow=True, type="a", major=1, minor=3, access="rwm"),
        DeviceRule(allow=True, type="c", major=1, minor=3, access="rwx"),
    ],
)
def test_rt_22_permissive_device_rules(runtime: Runtime, bundle: spec.Bundle, rule: DeviceRule) -> None:
    boxed = with_linux(bundle, resources=Resources(devices=(rule,)))
    with pytest.raises((CgroupError, InvalidSpec)):
        runtime.run(boxed, ["true"])


def test_rt_22_devices_are_denied_unless_listed(runtime: Runtime, bundle: spec.Bundle) -> None:
    """240:1 has no driver: who may open it hears that it is not there, who may not is refused."""
    look = ["sh", "-c", "mknod /dev/none c 240 1; cat /dev/none"]
    done = runtime.run(bundle, look, capture_output=True)
    assert b"not permitted" in done.stderr


BOMB = ["sh", "-c", "f() { f | f & }; f; sleep 1000"]


def test_rt_22_a_fork_bomb_is_deleted(runtime: Runtime, bundle: spec.Bundle) -> None:
    boxed = with_linux(bundle, resources=Resources(pids=Pids(limit=60)))
    container = runtime.create(NAME, boxed, BOMB)
    container.start()
    container.delete(force=True)
    assert runtime.list() == ()


def test_rt_22_a_frozen_container_with_groups_below_is_deleted(runtime: Runtime, bundle: spec.Bundle) -> None:
    boxed = own_namespace(with_groups_mounted(bundle, "rw"), private=True)
    nest = (
        f"for d in {MOUNT} {MOUNT}/*; do [ -e $d/cgroup.procs ] && mkdir -p $d/a/b; done;"
        " echo made; exec sleep 1000"
    )
    with runtime.create(NAME, boxed, ["sh", "-c", nest], stdout=-1) as container:
        container.start()
        assert container.stdout is not None
        assert os.read(container.stdout, 100) == b"made\n"
        container.pause()
        assert container.status == "paused"
    assert runtime.list() == ()


def foreign(runtime: Runtime, container: Container) -> Container:
    """The same container for a process that did not make it."""
    return Container(Runtime(runtime.root)._host, state.load(runtime.root, container.id))


def rewritten(runtime: Runtime, name: str, **members: object) -> None:
    """Tamper with a state file."""
    path = Path(runtime.root, name, "state.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def gone(container: Container) -> None:
    """End it; a detached one does not tell its status."""
    container.kill("KILL")
    with contextlib.suppress(ContainerError):
        container.wait()


@pytest.mark.parametrize("how", ["named", "named with a number", "above", "another boot"])
def test_rt_32_a_state_file_that_names_groups_of_others(
    runtime: Runtime, bundle: spec.Bundle, theirs: list[str], how: str
) -> None:
    with runtime.create(NAME, bundle, ["sleep", "1000"]) as container:
        container.start()
        gone(container)
        numbers = _cgroupfs.identities(theirs)
        if how == "named":
            rewritten(runtime, NAME, cgroups=theirs)
        elif how == "named with a number":
            rewritten(
                runtime,
                NAME,
                cgroups=[f"{path}/../{os.path.basename(path)}" for path in theirs],
                cgroupIds=numbers,
            )
        elif how == "above":
            rewritten(runtime, NAME, cgroups=[os.path.dirname(path) for path in theirs], sharedCgroups=theirs)
        else:
            rewritten(runtime, NAME, cgroups=theirs, cgroupIds=numbers, bootId="0" * 36)
        try:
            foreign(runtime, container).delete()
        except ContainerError:
            assert how == "named with a number"


def test_rt_32_a_group_that_somebody_made_again(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The same names, other groups: what is in them is not the container's."""
    container = runtime.create(NAME, bundle, ["sleep", "1000"], detach=True)
    container.start()
    record = state.load(runtime.root, NAME)
    gone(container)
    cgroups.kill(record.cgroups)
    assert _cgroupfs.remove(record.cgroups) == []
    for path in record.cgroups:
        os.makedirs(path, exist_ok=True)
    try:
        assert _cgroupfs.owned(record.cgroups, record.cgroup_ids) == []
        container.delete(force=True)
        assert all(map(os.path.isdir, record.cgroups))
    finally:
        _cgroupfs.remove([*record.cgroups, *(f"{path}/" for path in record.shared_cgroups)])


def test_rt_32_our_own_group_is_never_emptied(machine: cgroups.Hierarchies) -> None:
    own = [mount.locate(mount.own) for mount in machine.mounts if mount.own.startswith(mount.root)]
    assert _cgroupfs.owned(own, _cgroupfs.identities(own)) == []


def test_rt_32_deleting_twice_and_from_two_sides(runtime: Runtime, bundle: spec.Bundle) -> None:
    container = runtime.create(NAME, bundle, ["sleep", "1000"])
    container.start()
    other = foreign(runtime, container)
    container.delete(force=True)
    container.delete(force=True)
    with pytest.raises(ContainerError):
        Runtime(runtime.root).get(NAME)
    other.delete(force=True)


def test_rt_22_kill_ends_what_is_frozen(runtime: Runtime, bundle: spec.Bundle) -> None:
    """By whichever freezer: in version 1's, a process does not die of SIGKILL."""
    for freeze in (Container.pause, freeze_by_version_1):
        with runtime.create(NAME, bundle, ["sleep", "1000"]) as container:
            container.start()
            freeze(container)
            assert container.status == "paused"
            container.kill("KILL")
            assert container.wait(timeout=60) == -9


def freeze_by_version_1(container: Container) -> None:
    """Without the freezer of version 2, where there are both."""
    record = state.load(container._host.root, container.id)
    old = [path for path in record.cgroups if os.path.exists(f"{path}/freezer.state")]
    cgroups.freeze(old or record.cgroups)


def test_rt_22_kill_in_a_shared_pid_namespace_leaves_nobody(runtime: Runtime, bundle: spec.Bundle) -> None:
    assert bundle.spec.linux is not None
    kept = tuple(entry for entry in bundle.spec.linux.namespaces if entry.type != "pid")
    shared = with_linux(bundle, namespaces=kept, masked_paths=(), readonly_paths=())
    with runtime.create(NAME, shared, ["sh", "-c", "sleep 1000 & exec sleep 1000"]) as container:
        container.start()
        while len(container.processes()) < 2:
            os.sched_yield()
        pids = container.processes()
        container.kill("KILL")
        assert container.wait(timeout=60) == -9
        assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids)
