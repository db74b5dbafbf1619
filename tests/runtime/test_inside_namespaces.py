"""What a process in a container shares with the host: nothing that its configuration does not name."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from tests.runtime.boxes import changed, with_linux
from tests.runtime.shims import parent

KINDS = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup"}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces of the host and of others")


def look(runtime: Runtime, bundle: spec.Bundle, script: str) -> list[str]:
    """The lines that a script in a new container writes."""
    done = runtime.run(bundle, ["sh", "-c", script], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def namespaces(*kinds: str, **paths: str) -> tuple[spec.runtime.Namespace, ...]:
    """New ones by kind, and some by path."""
    new = tuple(spec.runtime.Namespace(type=kind) for kind in kinds if kind not in paths)
    return (*new, *(spec.runtime.Namespace(type=kind, path=path) for kind, path in paths.items()))


def test_each_is_its_own(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Six kinds that are not ours, and a second container has others again."""
    script = " && ".join(f"readlink /proc/self/ns/{name}" for name in KINDS.values())
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in KINDS.values()]
    first, second = look(runtime, bundle, script), look(runtime, bundle, script)
    assert len(first) == len(ours)
    assert not set(first) & set(ours)
    with runtime.create("beside", bundle, ["sleep", "1000"]) as container:
        beside = {os.readlink(f"/proc/{container.pid}/ns/{name}") for name in KINDS.values()}
        assert not beside & set(look(runtime, bundle, script))
    assert len(set(second)) == len(KINDS)


@pytest.mark.root
@root_only
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mount"])
def test_what_is_not_named_is_shared(runtime: Runtime, bundle: spec.Bundle, kind: str) -> None:
    """A namespace that the configuration does not name is the host's."""
    others = [each for each in KINDS if each != kind]
    if kind == "network":
        mounts = tuple(mount for mount in bundle.spec.mounts if mount.type not in ("sysfs", "cgroup"))
        bundle = changed(bundle, mounts=mounts)
    shared = with_linux(bundle, namespaces=namespaces(*others))
    name = KINDS[kind]
    assert look(runtime, shared, f"readlink /proc/self/ns/{name}") == [os.readlink(f"/proc/self/ns/{name}")]


def test_the_processes(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The program is number 1 and sees none of the host's."""
    lines = look(runtime, bundle, "echo $$; ls /proc | grep -E '^[0-9]+$' | wc -l")
    assert lines[0] == "1"
    assert int(lines[1]) <= 4


def test_host_and_domain_name(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Set inside, not outside."""
    named = changed(bundle, hostname="inside", domainname="example")
    assert look(runtime, named, "hostname; cat /proc/sys/kernel/domainname") == ["inside", "example"]
    assert socket.gethostname() != "inside"
    linux = bundle.spec.linux
    assert linux is not None
    kept = tuple(each for each in linux.namespaces if each.type != "uts")
    with pytest.raises(errors.OciworksError, match="UTS"):
        runtime.create("names", with_linux(named, namespaces=kept))


def test_the_network(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A loopback interface that is up, and nothing else that leads anywhere."""
    lines = look(runtime, bundle, "ip -o link show up; ip route")
    assert len(lines) == 1
    assert " lo:" in lines[0]


@pytest.mark.root
@root_only
def test_networks_made_ahead(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A launcher makes the next container's while nobody waits: each has one of its own, the launcher keeps ours."""
    ours = os.readlink("/proc/self/ns/net")
    with contextlib.ExitStack() as stack:
        created = [
            stack.enter_context(runtime.create(f"n{number}", bundle, ["sleep", "1000"]))
            for number in range(4)
        ]
        found = {os.readlink(f"/proc/{container.pid}/ns/net") for container in created}
        launcher = parent(created[0].pid)
        assert ours not in found
        assert len(found) == len(created)
        assert os.readlink(f"/proc/{launcher}/ns/net") == ours
        for container in created:
            container.start()
            assert container.exec(["ip", "-o", "link"], timeout=60).stdout.count(b"\n") == 1


@pytest.mark.root
@root_only
def test_joining_by_path(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The namespaces of another container, by their files; the init is ours to wait for all the same."""
    with runtime.create("first", bundle, ["sleep", "1000"]) as first:
        first.start()
        paths = {kind: f"/proc/{first.pid}/ns/{KINDS[kind]}" for kind in ("network", "ipc", "uts", "pid")}
        joined = with_linux(bundle, namespaces=namespaces(*KINDS, **paths))
        script = "; ".join(f"readlink /proc/self/ns/{KINDS[kind]}" for kind in paths)
        assert look(runtime, joined, script + "; exit 0") == [os.readlink(path) for path in paths.values()]
        with runtime.create("second", joined, ["sh", "-c", "exit 3"]) as second:
            second.start()
            assert second.wait(timeout=60) == 3


@pytest.mark.root
@root_only
@pytest.mark.parametrize("path", ["/proc/self/ns/uts", "/etc/passwd", "/no/such/file", "/dev/null"])
def test_a_path_that_is_another_thing(runtime: Runtime, bundle: spec.Bundle, path: str) -> None:
    """A file that is not a namespace of that kind is refused before anything joins it."""
    wrong = with_linux(bundle, namespaces=namespaces(*KINDS, network=path))
    with pytest.raises(errors.CreateFailed) as caught:
        runtime.create("wrong", wrong)
    assert path in str(caught.value)
    assert runtime.list() == ()


@pytest.mark.root
@root_only
def test_root_in_a_user_namespace(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Mapped ranges: root inside is somebody without rights outside."""
    mapped = (spec.runtime.IDMapping(container_id=0, host_id=200_000, size=65_536),)
    kinds = namespaces("user", *KINDS)
    inside = with_linux(bundle, namespaces=kinds, uid_mappings=mapped, gid_mappings=mapped)
    for path in (*bundle.path.parents, bundle.path):
        if path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    subprocess.run(["chown", "-R", "200000:200000", bundle.rootfs], check=True)
    lines = look(
        runtime, inside, "id -u; cat /proc/self/uid_map; touch /tmp/mine; stat -c %u /tmp/mine /dev/null"
    )
    assert lines[0] == "0"
    assert lines[1].split() == ["0", "200000", "65536"]
    assert lines[2] == "0"
    assert (bundle.rootfs / "tmp/mine").stat().st_uid == 200_000
    with runtime.create("mapped", inside, ["sleep", "1000"]) as container:
        container.start()
        assert os.stat(f"/proc/{container.pid}").st_uid in (0, 200_000)
        assert container.exec(["id", "-u"], timeout=60).stdout == b"0\n"


@pytest.mark.root
@root_only
def test_without_a_mount_namespace(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The root is a tree that is mounted nowhere: nothing of the host changes, and it goes with its processes."""
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15):
        pytest.skip("mounting in a detached tree needs Linux 6.15")
    shared = with_linux(bundle, namespaces=namespaces(*(kind for kind in KINDS if kind != "mount")))
    before = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(bundle.path) in line
    ]
    with runtime.create("shared", shared, ["sleep", "1000"]) as container:
        container.start()
        assert os.readlink(f"/proc/{container.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        after = [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(bundle.path) in line
        ]
        assert before == after
        with pytest.raises(errors.NotSupported, match="mount namespace"):
            container.exec(["true"])
    script = (
        "readlink /proc/self/ns/mnt; cd /; cd ../..; pwd; ls /dev/null /dev/pts/ptmx; cat /proc/keys | wc -c;"
        "echo $$; touch /dev/shm/x; (echo x > /proc/sys/kernel/domainname || echo no) 2>/dev/null; ls / | grep -c boot"
    )
    lines = look(runtime, shared, script + "; true")
    mine = os.readlink("/proc/self/ns/mnt")
    assert lines == [mine, "/", "/dev/null", "/dev/pts/ptmx", "0", "1", "no", "0"]


@pytest.mark.root
@root_only
def test_no_namespace_at_all(runtime: Runtime, bundle: spec.Bundle) -> None:
    """All is inherited that the configuration does not name; the root is the container's all the same."""
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15):
        pytest.skip("mounting in a detached tree needs Linux 6.15")
    mounts = tuple(mount for mount in bundle.spec.mounts if mount.type not in ("sysfs", "cgroup"))
    inherited = with_linux(changed(bundle, mounts=mounts), namespaces=(), masked_paths=(), readonly_paths=())
    names = [*KINDS.values(), "user"]
    with runtime.create("inherits", inherited, ["sleep", "1000"]) as container:
        container.start()
        for name in names:
            assert os.readlink(f"/proc/{container.pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")
    assert look(runtime, inherited, "cd ../..; pwd; ls / | grep -c boot; true") == ["/", "0"]


@pytest.fixture
def prepared() -> Iterator[int]:
    """The pid of a process in a mount namespace that somebody else made."""
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 1000"],
        stdout=subprocess.PIPE,
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"\n"
            yield other.pid
        finally:
            other.kill()


@pytest.mark.root
@root_only
def test_joining_a_mount_namespace(runtime: Runtime, bundle: spec.Bundle, prepared: int) -> None:
    """It becomes the container's: it has the container's root, for an exec too, and nothing comes to the host."""
    place = f"/proc/{prepared}/ns/mnt"
    joined = with_linux(bundle, namespaces=namespaces(*KINDS, mount=place))
    before = Path("/proc/self/mountinfo").read_text()
    with runtime.create("joins", joined, ["sh", "-c", "echo $$ >/tmp/pid; exec sleep 1000"]) as container:
        container.start()
        assert os.readlink(f"/proc/{container.pid}/ns/mnt") == os.readlink(place)
        script = "readlink /proc/self/ns/mnt; cd /; cd ../..; pwd; ls / | grep -c boot; cat /tmp/pid; true"
        done = container.exec(["sh", "-c", script], timeout=60)
        assert done.stdout.decode().splitlines() == [os.readlink(place), "/", "0", "1"]
        assert Path("/proc/self/mountinfo").read_text() == before
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.root
@root_only
def test_hooks_in_a_joined_mount_namespace(runtime: Runtime, bundle: spec.Bundle, prepared: int) -> None:
    """They get the pid that the runtime knows, whatever the namespace has as its ``/proc``."""
    subprocess.run(
        ["nsenter", "-t", str(prepared), "-m", "mount", "-t", "tmpfs", "none", "/proc"], check=True
    )
    hook = spec.runtime.Hook(path="/bin/sh", args=("sh", "-c", "cat >/tmp/state"))
    joined = with_linux(bundle, namespaces=namespaces(*KINDS, mount=f"/proc/{prepared}/ns/mnt"))
    hooked = changed(joined, hooks=spec.runtime.Hooks(start_container=(hook,)))
    with pytest.raises(errors.CreateFailed):
        runtime.create("fake", hooked, ["true"])
    subprocess.run(["nsenter", "-t", str(prepared), "-m", "umount", "/proc"], check=True)
    with runtime.create("hooked", hooked, ["sleep", "1000"]) as container:
        container.start()
        state = json.loads((bundle.rootfs / "tmp/state").read_text())
        assert state["pid"] == container.pid


@pytest.mark.root
@root_only
@pytest.mark.parametrize("path", ["/proc/self/ns/mnt", "/proc/1/ns/mnt"])
def test_the_mount_namespace_of_the_host_is_not_joined(
    runtime: Runtime, bundle: spec.Bundle, path: str
) -> None:
    """It would get the container's root."""
    wrong = with_linux(bundle, namespaces=namespaces(*KINDS, mount=path))
    with pytest.raises(errors.CreateFailed, match="host's mount namespace|Permission denied"):
        runtime.create("wrong", wrong)
    assert runtime.list() == ()


@pytest.mark.parametrize("member", ["path", "shared", "user", "propagation"])
def test_mount_namespaces_that_are_refused(runtime: Runtime, bundle: spec.Bundle, member: str) -> None:
    """What only a new mount namespace can give, with the member's path and before anything exists."""
    others = [kind for kind in KINDS if kind != "mount"]
    mapped = (spec.runtime.IDMapping(container_id=0, host_id=200_000, size=65_536),)
    linux: dict[str, dict[str, Any]] = {
        "path": {
            "namespaces": namespaces(*others, "user", mount="/proc/self/ns/mnt"),
            "uid_mappings": mapped,
            "gid_mappings": mapped,
        },
        "shared": {
            "namespaces": namespaces(*others, mount="/proc/self/ns/mnt"),
            "rootfs_propagation": "shared",
        },
        "user": {"namespaces": namespaces(*others, "user"), "uid_mappings": mapped, "gid_mappings": mapped},
        "propagation": {"namespaces": namespaces(*others), "rootfs_propagation": "shared"},
    }
    with pytest.raises(errors.NotSupported, match=r"\$\.linux\.(namespaces|rootfsPropagation)"):
        runtime.create("refused", with_linux(bundle, **linux[member]))
