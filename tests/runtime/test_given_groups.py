"""An ordinary user who was given a group in each hierarchy of version 1: containers in it, by its path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.runtime import cgroups
from ociworks.spec.runtime import Pids, Resources
from tests.ordinary import NOBODY
from tests.runtime.boxes import with_linux
from tests.runtime.rootless import Ordinary

pytestmark = [pytest.mark.root, pytest.mark.userns]


@pytest.fixture
def given() -> Iterator[str]:
    """The path of the group, whose user may make others in it and move processes there."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = cgroups.detect()
    mounts = [Path(mount.mount_point) for mount in found.mounts if mount.version == 1]
    if not mounts or not found.available:
        pytest.skip(f"needs hierarchies of version 1 that can be written; this machine is {found.mode}")
    path = f"/given-{os.getpid()}"
    groups = [mount / path[1:] for mount in mounts]
    for mount, group in zip(mounts, groups, strict=True):
        group.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists():
                (group / name).write_text((mount / name).read_text())
        for each in (group, group / "cgroup.procs", group / "tasks"):
            os.chown(each, NOBODY, NOBODY)
    yield path
    for group in groups:
        assert not [each for each in group.iterdir() if each.is_dir()]
        group.rmdir()


def test_limits_in_a_group_that_was_given(place: Path, given: str) -> None:
    """They are in force, also for an exec; a hierarchy without controllers that was not given is left out."""
    user = Ordinary(place)
    limits = Resources(pids=Pids(limit=7))
    user.save(with_linux(user.bundle, cgroups_path=f"{given}/box", resources=limits))
    told = user.ask("""
with runtime, runtime.create("box", bundle, ["sleep", "1000"]) as box:
    box.start()
    with box.spawn(["sleep", "1000"]) as further:
        groups = [open(f"/proc/{pid}/cgroup").read() for pid in (box.pid, further.pid)]
    box.pause()
    paused = box.status
    box.resume()
    tell(groups=groups, paused=paused, limit=box.stats().pids.limit)
""")
    for text in told["groups"]:
        groups = dict(line.split(":")[1:] for line in text.splitlines())
        assert {path for name, path in groups.items() if name} == {f"{given}/box"}
    assert (told["paused"], told["limit"]) == ("paused", 7)


def test_a_group_that_was_not_given(place: Path) -> None:
    """An error that names it, before anything is made."""
    user = Ordinary(place)
    user.save(with_linux(user.bundle, cgroups_path="/not-given/box"))
    told = user.ask("""
try:
    with runtime:
        runtime.create("box", bundle)
except errors.NotSupported as error:
    tell(said=str(error))
""")
    assert "/not-given/box" in told["said"]
