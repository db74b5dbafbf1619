"""An ordinary user in a delegated subtree of the unified hierarchy: limits, statistics and everything that detaches.

Runs on its own: in a virtual machine where the host has no controllers of version 2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.runtime import cgroups
from ociworks.spec.runtime import Memory, Pids, Resources
from tests.ordinary import NOBODY
from tests.runtime.boxes import nothing_left, with_linux, with_process
from tests.runtime.rootless import Ordinary
from tests.runtime.shims import until_ended

pytestmark = [pytest.mark.root, pytest.mark.userns, pytest.mark.cgroup2]

FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
MIB = 1 << 20


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A subtree that an administrator has given to the user; its group ``mine`` is where that user's programs are."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = cgroups.detect()
    if found.mode != "v2" or not found.available:
        pytest.skip(f"needs a writable unified hierarchy alone; this machine is {found.mode}")
    top = Path(found.mounts[0].mount_point)
    (top / "cgroup.subtree_control").write_text("+memory +pids")
    given = top / f"delegated-{os.getpid()}"
    (given / "mine").mkdir(parents=True)
    (given / "cgroup.subtree_control").write_text("+memory +pids")
    for place in (given, given / "mine"):
        for path in (place, *(place / name for name in FILES)):
            os.chown(path, NOBODY, NOBODY)
    yield given
    assert [path.name for path in given.iterdir() if path.is_dir()] == ["mine"], "groups are left"
    (given / "mine").rmdir()
    given.rmdir()


@pytest.fixture
def user(place: Path, delegated: Path) -> Ordinary:
    """The user, with a bundle that has limits."""
    made = Ordinary(place, group=str(delegated / "mine"))
    limits = Resources(pids=Pids(limit=20), memory=Memory(limit=64 * MIB))
    made.save(with_process(with_linux(made.bundle, resources=limits), args=("sleep", "1000")))
    return made


def test_limits_of_a_detached_container(user: Ordinary) -> None:
    """They are in force, counted and changed from other processes; an exec is under them too."""
    told = user.ask("""
from ociworks.spec.runtime import Pids, Resources
with runtime:
    made = runtime.create("far", bundle, ["sleep", "1000"], detach=Detach(log=sys.argv[3] + "/log"))
    made.start()
with Runtime(sys.argv[2]) as other, other.get("far") as found:
    before = found.stats()
    found.update(Resources(pids=Pids(limit=30)))
    inside = found.exec(["sh", "-c", "cat /proc/self/cgroup; for i in $(seq 40); do sleep 1000 & done"], timeout=60)
    found.pause()
    states = [found.status]
    found.resume()
    states.append(found.status)
    group = open(f"/proc/{found.pid}/cgroup").read()
    tell(before=[before.memory.limit, before.pids.limit], after=found.stats().pids.limit, states=states,
         inside=inside.stdout.decode(), refused=inside.stderr.decode(), group=group,
         owner=open("/proc/self/cgroup").read())
""")
    assert (told["before"], told["after"]) == ([64 * MIB, 20], 30)
    assert told["states"] == ["paused", "running"]
    assert "fork" in told["refused"]
    assert told["inside"] == "0::/\n"
    parent = os.path.dirname(told["owner"].strip())
    assert told["group"].startswith(f"{parent}/")
    assert not told["group"].startswith(told["owner"].strip())


def test_a_group_by_its_path(user: Ordinary, delegated: Path) -> None:
    """Also there the controllers come from the group above that was given, which alone the user may write to."""
    user.save(with_linux(user.bundle, cgroups_path=f"/{delegated.name}/of/box"))
    told = user.ask("""
with runtime, runtime.create("box", bundle) as box:
    box.start()
    tell(group=open(f"/proc/{box.pid}/cgroup").read(), limit=box.stats().pids.limit)
""")
    assert told == {"group": f"0::/{delegated.name}/of/box\n", "limit": 20}


def test_out_of_memory_is_kept(user: Ordinary) -> None:
    """The shim learns it from the group."""
    told = user.ask("""
with runtime:
    made = runtime.create("far", bundle, ["sh", "-c", "exec tail /dev/zero"], detach=Detach())
    made.start()
    tell(status=made.wait(120), oom=made.exit.oom_killed)
    made.delete()
""")
    assert told == {"status": -9, "oom": True}


def test_a_killed_caller_leaves_no_groups(user: Ordinary) -> None:
    """Of what is not detached; what is, another process removes."""
    told = user.ask("""
import signal
child = os.fork()
if child == 0:
    runtime.create("left", bundle).start()
    runtime.create("far", bundle, detach=Detach()).start()
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
with Runtime(sys.argv[2]) as other:
    while any(found.id == "left" for found in other.list()):
        pass
    found = other.get("far")
    told = found.status
    found.delete(force=True)
    tell(far=told, left=os.listdir(sys.argv[2]))
""")
    assert told == {"far": "running", "left": []}


def test_commands(user: Ordinary) -> None:
    """``ociworks-runtime``: what it leaves is in the groups, a detached exec too, and ends with them."""
    log, pids = user.own / "log.json", user.own / "pid"

    def quiet(command: str, *args: str | Path) -> int:
        with open(os.devnull, "r+b") as null:
            done = user.command("--log", log, command, "--pid-file", pids, *args,
                                capture_output=False, stdin=null, stdout=null, stderr=null)  # fmt: skip
        assert done.returncode == 0, log.read_text()
        return int(pids.read_text())  # trusted: our own command's

    with nothing_left(user.root):
        first = quiet("create", "--bundle", user.bundle.path, "box")
        assert user.command("start", "box").returncode == 0
        further = quiet("exec", "--detach", "box", "sleep", "1000")
        groups = [Path(f"/proc/{pid}/cgroup").read_text() for pid in (first, further)]
        assert groups[0] == groups[1]
        shown = user.command("ps", "--format", "json", "box").stdout
        assert {str(first), str(further)} <= set(shown.strip("[]\n").split(","))
        assert user.command("update", "--pids-limit", "33", "box").returncode == 0
        group = Path("/sys/fs/cgroup" + groups[0].strip().removeprefix("0::"))
        assert (group / "pids.max").read_text() == "33\n"
        assert user.command("delete", "--force", "box").returncode == 0
        until_ended(first)
        until_ended(further)
