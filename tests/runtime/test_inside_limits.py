"""Limits that bite: memory, tasks, processor, devices; what is counted; freezing."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Container, Runtime
from ociworks.spec.runtime import CPU, DeviceRule, Memory, Pids, Resources
from tests.runtime.boxes import with_linux
from tests.runtime.groups import needs_groups

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: control groups"),
]

MIB = 1 << 20


def limited(bundle: spec.Bundle, **resources: object) -> spec.Bundle:
    """The bundle with these limits beside the default device rules."""
    assert bundle.spec.linux is not None
    assert bundle.spec.linux.resources is not None
    given = {"devices": bundle.spec.linux.resources.devices, **resources}
    return with_linux(bundle, resources=Resources(**given))  # type: ignore[arg-type]


def test_tasks(runtime: Runtime, bundle: spec.Bundle) -> None:
    """One more than allowed cannot be started."""
    needs_groups("pids")
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all"
    done = runtime.run(
        limited(bundle, pids=Pids(limit=5)), ["sh", "-c", script], capture_output=True, timeout=60
    )
    assert b"all" not in done.stdout
    assert b"fork" in done.stderr


def test_memory(runtime: Runtime, bundle: spec.Bundle) -> None:
    """More than allowed is killed; what is allowed is not."""
    needs_groups("memory")
    small = limited(bundle, memory=Memory(limit=16 * MIB, swap=16 * MIB))
    done = runtime.run(
        small,
        ["sh", "-c", "head -c 4000000 /dev/zero | tail -c 4000000 | wc -c"],
        capture_output=True,
        timeout=60,
    )
    assert done.stdout.strip() == b"4000000"
    done = runtime.run(small, ["tail", "-c", "500000000", "/dev/zero"], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_what_is_counted(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Limits and use, as numbers with units in their names."""
    needs_groups("memory", "pids")
    given = limited(bundle, memory=Memory(limit=64 * MIB), pids=Pids(limit=9), cpu=CPU(shares=512))
    with runtime.create("counted", given, ["sh", "-c", "sleep 1000 & sleep 1000"]) as container:
        container.start()
        container.exec(["true"], timeout=60)
        stats = container.stats()
        assert stats.memory is not None
        assert stats.memory.limit == 64 * MIB
        assert 0 < stats.memory.usage <= 64 * MIB
        assert stats.pids is not None
        assert stats.pids.limit == 9
        assert stats.pids.current >= 1
        assert stats.cpu is not None
        assert stats.cpu.usage > 0


def test_devices(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A node can be made; without a rule it cannot be opened, with one it can."""
    if needs_groups().mode != "v2":  # there the rules are a program, not a controller
        needs_groups("devices")
    script = "mknod /tmp/full2 c 1 7; mknod /tmp/fuse c 10 229; head -c 1 /tmp/full2 | wc -c; head -c 1 /tmp/fuse 2>&1"
    done = runtime.run(bundle, ["sh", "-c", script], capture_output=True, timeout=60)
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "1"
    assert "not permitted" in lines[1]
    rule = DeviceRule(allow=True, type="c", major=10, minor=229, access="rw")
    assert bundle.spec.linux is not None
    assert bundle.spec.linux.resources is not None
    wider = limited(bundle, devices=(*bundle.spec.linux.resources.devices, rule))
    done = runtime.run(
        wider, ["sh", "-c", "mknod /tmp/f2 c 10 229; head -c 1 /tmp/f2 2>&1"], capture_output=True, timeout=60
    )
    assert b"Operation not permitted: /tmp/f2" not in done.stdout
    assert b"can't open" not in done.stdout


def readable(fd: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def ticking(container: Container) -> bool:
    """Whether output that is not yet there comes."""
    assert container.stdout is not None
    return readable(container.stdout, 60)


def test_freezing(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A frozen container does nothing, is not started again by signals, and can be ended."""
    script = "echo up; while read line; do echo $line; done"
    with runtime.create("frozen", bundle, ["sh", "-c", script], stdin=-1, stdout=-1) as container:
        container.start()
        assert container.stdin is not None
        assert container.stdout is not None
        assert os.read(container.stdout, 100) == b"up\n"
        container.pause()
        assert container.status == "paused"
        with pytest.raises(errors.IllegalTransition, match="it is paused"):
            container.exec(["true"])
        os.write(container.stdin, b"thawed\n")
        assert not readable(container.stdout, 0)
        container.resume()
        assert container.status == "running"
        assert ticking(container)
        assert os.read(container.stdout, 100) == b"thawed\n"
        container.pause()
    assert runtime.list() == ()


def test_groups_inside(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The container sees its own groups as the root of each hierarchy, and may not write to them (RT-21)."""
    needs_groups()
    script = "cut -d: -f3 /proc/self/cgroup | sort -u; find /sys/fs/cgroup -type d -name ociworks | wc -l; "
    script += "mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x 2>/dev/null; echo $?"
    script = script.replace(
        "find /sys/fs/cgroup -type d -name ociworks", "ls -d /sys/fs/cgroup/*/ociworks 2>/dev/null"
    )
    done = runtime.run(bundle, ["sh", "-c", script], capture_output=True, timeout=60)
    assert done.stdout.decode().splitlines() == ["/", "0", "1"]


@pytest.mark.parametrize("path", ["/ociworks-test/deep/one", "relative/two"])
def test_a_path_of_ones_own(runtime: Runtime, bundle: spec.Bundle, path: str) -> None:
    """The configuration's path, below each mount or below our place; made, used, and removed with its parents."""
    found = needs_groups()
    placed = with_linux(bundle, cgroups_path=path)
    with runtime.create("placed", placed, ["sleep", "1000"]) as container:
        container.start()
        text = Path(f"/proc/{container.pid}/cgroup").read_text()
        where = path if path.startswith("/") else f"/ociworks/{path}"
        assert {line.split(":", 2)[2] for line in text.splitlines()} == {where}
        with pytest.raises(errors.OciworksError):
            runtime.create("second", placed)
        assert container.exec(["true"], timeout=60).returncode == 0
    for mount in found.mounts:
        assert not Path(mount.mount_point, "ociworks-test").exists()
