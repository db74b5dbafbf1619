"""An ordinary user's containers that outlive whoever made them: held by a shim, by nobody, or made by the command.

With one identity and with a range of them, which newuidmap and newgidmap give.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ordinary import NOBODY
from tests.runtime.boxes import nothing_left, with_process
from tests.runtime.rootless import FIRST, RANGE, Ordinary
from tests.runtime.shims import until_ended

pytestmark = pytest.mark.userns


@pytest.fixture(params=[False, True], ids=["one identity", "many"])
def ordinary(place: Path, request: pytest.FixtureRequest) -> Ordinary:
    """An ordinary user."""
    return Ordinary(place, many=request.param)


def test_held_by_a_shim(ordinary: Ordinary) -> None:
    """Created by one Runtime, all the rest by another: attach, exec, log, status, delete."""
    told = ordinary.ask("""
script = "id -u; cat /proc/self/uid_map; echo err >&2; read x; echo $x; exit 9"
with runtime:
    made = runtime.create("far", bundle, ["sh", "-c", script], detach=Detach(log=sys.argv[3] + "/log", stdin=True))
    made.start()
with Runtime(sys.argv[2]) as other, other.get("far") as found:
    states = [found.status]
    inside = found.exec(["id", "-u"], timeout=60).stdout.decode()
    with found.attach(stdin=True) as attached:
        attached.write(b"typed\\n")
        list(attached)
    status = found.wait(60)
    states.append(found.status)
    found.delete()
    tell(states=states, inside=inside, status=status, log=open(sys.argv[3] + "/log").read(), uid=os.getuid())
""")
    assert (told["states"], told["inside"], told["status"]) == (["running", "stopped"], "0\n", 9)
    stdout = [line.split(" ", 3)[3] for line in told["log"].splitlines() if " stdout " in line]
    assert stdout[0] == "0"
    assert [line.split() for line in stdout[1:-1]] == maps(told["uid"])[: len(stdout) - 2]
    assert stdout[-1] == "typed"
    assert " stderr F err\n" in told["log"]


def maps(uid: int) -> list[list[str]]:
    """What the kernel shows of the identities."""
    return [["0", str(uid), "1"], ["1", str(FIRST), str(RANGE)]]


def test_other_identities(place: Path) -> None:
    """With a range, files and processes of other users are there, in the container and in an exec."""
    told = Ordinary(place, many=True).ask("""
script = "chown 7:8 /tmp && stat -c %u:%g /tmp; read x"
with runtime:
    made = runtime.create("far", bundle, ["sh", "-c", script], detach=Detach(log=sys.argv[3] + "/log", stdin=True))
    made.start()
    with made.attach(stdin=True) as attached:
        who = made.exec(["sh", "-c", "id -u; id -g; id -G"], timeout=60, options=ExecOptions(user="5:6"))
        attached.write(b"\\n")
        list(attached)
    tell(who=who.stdout.decode().split(), status=made.wait(60), log=[r.data.decode() for r in made.logs()])
    made.delete()
""")
    assert told == {"who": ["5", "6", "6"], "status": 0, "log": ["7:8\n"]}


def test_a_terminal(ordinary: Ordinary) -> None:
    """A shim holds it; it can be resized."""
    told = ordinary.ask("""
import attrs
process = attrs.evolve(bundle.spec.process, terminal=True, args=("sh", "-c", "tty; read x; stty size; exit 4"))
with runtime, runtime.create(
    "far", bundle.replace(attrs.evolve(bundle.spec, process=process)), detach=Detach(stdin=True)
) as made:
    with made.attach(stdin=True) as attached:
        made.start()
        made.resize(100, 30)
        attached.write(b"\\n")
        screen = b"".join(chunk.data for chunk in attached)
    tell(screen=screen.decode().split(), status=made.wait(60))
""")
    assert (told["screen"][0], told["screen"][-2:], told["status"]) == ("/dev/pts/0", ["30", "100"], 4)


def test_a_killed_shim_takes_its_container_along(ordinary: Ordinary) -> None:
    """Also when the container changed who it is: the kernel forgets the wish to die with a parent then."""
    told = ordinary.ask("""
import signal
with runtime:
    made = runtime.create("far", bundle, ["sleep", "1000"], detach=Detach())
    made.start()
    fd = os.pidfd_open(made.pid)
    os.kill(int(open(f"/proc/{made.pid}/stat").read().rpartition(")")[2].split()[1]), signal.SIGKILL)
    import select
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    ended = bool(poller.poll(60_000))
    try:
        made.wait(60)
    except errors.ExitStatusUnknown as error:
        tell(ended=ended, error=type(error).__name__, status=made.status)
    made.delete()
""")
    assert told == {"ended": True, "error": "ExitStatusUnknown", "status": "stopped"}


def test_held_by_nobody(ordinary: Ordinary) -> None:
    """``detach=True``: the nearest subreaper gets it and its status."""
    told = ordinary.ask("""
import ctypes
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
with runtime:
    made = runtime.create("far", bundle, ["sh", "-c", "exit 7"], detach=True)
    tell_before = made.status
with Runtime(sys.argv[2]) as other, other.get("far") as found:
    found.start()
    tell(before=tell_before, status=found.wait(60))
""")
    assert told == {"before": "created", "status": 7}


def test_what_cannot_be_had(ordinary: Ordinary) -> None:
    """A limit without delegated groups is refused before anything exists, also with a shim."""
    told = ordinary.ask("""
import attrs
limited = attrs.evolve(bundle.spec.linux, resources=spec.runtime.Resources(pids=spec.runtime.Pids(limit=5)))
found = []
with runtime:
    for detach in (True, Detach(log=sys.argv[3] + "/log")):
        try:
            runtime.create("far", bundle.replace(attrs.evolve(bundle.spec, linux=limited)), detach=detach)
        except errors.OciworksError as error:
            found.append(type(error).__name__)
tell(found=found, left=os.listdir(sys.argv[2]), log=os.path.exists(sys.argv[3] + "/log"))
""")
    assert told["found"] in (["CgroupError"] * 2, ["NotSupported"] * 2)
    assert (told["left"], told["log"]) == ([], False)


# --- the command ---------------------------------------------------------------------------------------


class Calls:
    """``ociworks-runtime``, called by an ordinary user."""

    def __init__(self, user: Ordinary) -> None:
        self.user = user

    def __call__(self, *args: str | Path, status: int = 0, **options: object) -> str:
        done = self.user.command(*args, **options)
        assert done.returncode == status, (args, done)
        return (done.stdout or "") + (done.stderr or "")

    def quiet(self, *args: str | Path) -> int:
        """A call whose streams a container keeps; the pid that it wrote."""
        log, pid_file = self.user.own / "log.json", self.user.own / "pid"
        command, *rest = args
        with open(os.devnull, "r+b") as null:
            done = self.user.command(
                "--log", log, command, "--pid-file", pid_file, *rest,
                capture_output=False, stdin=null, stdout=null, stderr=null,
            )  # fmt: skip
        assert done.returncode == 0, log.read_text()
        return int(pid_file.read_text())  # trusted: our own command's


@pytest.fixture
def calls(ordinary: Ordinary) -> Iterator[Calls]:
    """The command; nothing is left of what it made."""
    ordinary.save(with_process(ordinary.bundle, args=("sleep", "1000")))
    with nothing_left(ordinary.root):
        made = Calls(ordinary)
        yield made
        for name in os.listdir(ordinary.root):
            made("delete", "--force", name)


def owner(pid: int) -> int:
    """Who a process is, on the host."""
    return Path(f"/proc/{pid}").stat().st_uid


def test_commands(calls: Calls) -> None:
    """Create, state, start, exec, ps, kill and delete, each a process of its own."""
    bundle = calls.user.bundle
    pid = calls.quiet("create", "--bundle", bundle.path, "box")
    assert json.loads(calls("state", "box"))["status"] == "created"
    calls("start", "box")
    assert json.loads(calls("state", "box"))["pid"] == pid
    assert owner(pid) == (NOBODY if os.geteuid() == 0 else os.geteuid())
    assert calls("exec", "box", "sh", "-c", "id -u; exit 6", status=6) == "0\n"
    calls("kill", "box", "KILL")
    until_ended(pid)
    assert json.loads(calls("state", "box"))["status"] == "stopped"
    calls("delete", "box")
    assert json.loads(calls("list", "--format", "json")) in ([], None)


def test_a_detached_exec(calls: Calls) -> None:
    """It goes on when the command has ended, and ends with its container."""
    first = calls.quiet("create", "--bundle", calls.user.bundle.path, "box")
    calls("start", "box")
    further = calls.quiet("exec", "--detach", "box", "sleep", "1000")
    assert Path(f"/proc/{further}/cmdline").read_bytes() == b"sleep\x001000\x00"
    assert os.readlink(f"/proc/{further}/ns/user") == os.readlink(f"/proc/{first}/ns/user")
    os.kill(further, signal.SIGTERM)
    calls("delete", "--force", "box")
    until_ended(first)
    until_ended(further)


def test_run_detached(calls: Calls) -> None:
    """``run --detach`` leaves a running container."""
    pid = calls.quiet("run", "--detach", "--bundle", calls.user.bundle.path, "box")
    assert json.loads(calls("state", "box"))["status"] == "running"
    assert owner(pid) == (NOBODY if os.geteuid() == 0 else os.geteuid())
