"""Further processes: what an exec may be asked to be, and the handle to one that runs."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks._linux.process import PR_SET_CHILD_SUBREAPER, prctl
from ociworks.runtime import Container, Detach, ExecOptions, RunOptions, Runtime
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.stdio import PIPE
from ociworks.spec.runtime import Capabilities, ExecCPUAffinity, Personality, Pids, Resources, Rlimit, User
from tests.runtime.boxes import descendants, remapped_box, with_linux, with_process
from tests.runtime.shims import until_ended

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users and priorities")
NET_RAW = 1 << 13
SYS_TIME = 1 << 25


@pytest.fixture
def running(runtime: Runtime, bundle: spec.Bundle) -> Iterator[Container]:
    """A container that runs."""
    (bundle.rootfs / "etc/group").write_text("root:x:0:\nstaff:x:50:user\n")
    with runtime.create("running", bundle, ["sleep", "1000"]) as container:
        container.start()
        yield container


def said(container: Container, script: str, options: ExecOptions) -> list[str]:
    done = container.exec(["sh", "-c", script], options=options, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


@pytest.mark.root
@root_only
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("user", ("1000", "1000", {50, 1000})),
        ("1000", ("1000", "1000", {50, 1000})),
        ("user:staff", ("1000", "50", {50})),
        ("7:8", ("7", "8", {8})),
        (User(uid=5, gid=6), ("5", "6", {6})),
    ],
    ids=str,
)
def test_users(running: Container, user: str | User, expected: tuple[str, str, set[int]]) -> None:
    """By the container's own database, and by number; whoever is not there is an error."""
    lines = said(running, "id -u; id -g; id -G", ExecOptions(user=user))
    assert (lines[0], lines[1], {int(group) for group in lines[2].split()}) == expected
    more = said(running, "id -G", ExecOptions(user=user, additional_gids=(9,)))
    assert 9 in {int(group) for group in more[0].split()}


def test_an_unknown_user(running: Container) -> None:
    """Not somebody else."""
    with pytest.raises(errors.OciworksError, match="nobody-there"):
        running.exec(["id"], options=ExecOptions(user="nobody-there"))


def test_directory_environment_and_rights(running: Container) -> None:
    """Each replaces or adds to what the configuration says, and nothing else changes."""
    options = ExecOptions(cwd="/tmp", env={"PATH": "/bin", "ADDED": "two words"})
    lines = said(running, "pwd; echo $ADDED; echo $PATH; grep CapInh /proc/self/status", options)
    assert lines[:3] == ["/tmp", "two words", "/bin"]
    assert lines[3].split()[1] == "0" * 16
    for wrong in ({"cwd": "tmp"}, {"env": {"A=B": "x"}}, {"groups": {"": "../x"}}):
        with pytest.raises(errors.InvalidSpec):
            ExecOptions(**wrong)


def test_capabilities(running: Container) -> None:
    """What is asked for explicitly is there, also beyond the container's own; unknown ones are errors."""
    mask = int(said(running, "grep CapEff /proc/self/status", ExecOptions())[0].split()[1], 16)
    assert mask & NET_RAW
    assert not mask & SYS_TIME
    lines = said(
        running,
        "grep -E 'Cap(Bnd|Prm|Eff|Inh|Amb)' /proc/self/status",
        ExecOptions(capabilities=("CAP_SYS_TIME",)),
    )
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in lines}
    assert sets["CapBnd"] == sets["CapPrm"] == sets["CapEff"] == mask | SYS_TIME
    assert sets["CapInh"] == sets["CapAmb"] == 0
    with pytest.raises(errors.InvalidSpec, match="cap_sys_time"):
        running.exec(["true"], options=ExecOptions(capabilities=("cap_sys_time",)))


def test_a_terminal_with_a_size(running: Container) -> None:
    """As wide and high as asked, also later."""
    options = ExecOptions(terminal=True, console_size=(93, 41))
    done = running.exec(["stty", "size"], options=options, timeout=60)
    assert done.stdout == b"41 93\r\n"
    with running.spawn(["sh", "-c", "read x; stty size"], options=options) as process:
        assert process.console is not None
        process.console.resize(20, 10)
        process.console.write(b"go\n")
        assert b"10 20" in process.communicate(timeout=60).stdout


def test_a_handle(running: Container) -> None:
    """Started, looked at, written to, read from, ended."""
    with running.spawn(["cat"], stdin=PIPE, stdout=PIPE) as process:
        assert process.poll() is None
        assert process.pid in running.processes()
        with pytest.raises(errors.ContainerTimeout):
            process.wait(timeout=0.01)
        done = process.communicate(b"through", timeout=60)
        assert (done.returncode, done.stdout, done.container_id) == (0, b"through", "running")
        assert process.poll() == process.wait() == 0
    with running.spawn(["sleep", "1000"]) as process:
        process.kill("TERM")
        assert process.wait(60) == -15
        process.kill()
    with running.spawn(["sleep", "1000"]) as process:
        pid = process.pid
    assert not Path(f"/proc/{pid}").exists()
    assert pid not in running.processes()


def test_a_program_that_is_not_there(running: Container) -> None:
    """Said at once, by both."""
    with pytest.raises(errors.CommandNotFound):
        running.spawn(["no-such-program"])
    with pytest.raises(errors.CommandNotFound):
        running.exec(["no-such-program"])


def test_output_that_a_timeout_cuts(running: Container) -> None:
    """What was written is in the error, and the program is gone."""
    with running.spawn(["sh", "-c", "echo so far; sleep 1000"], stdout=PIPE) as process:
        with pytest.raises(errors.ContainerTimeout) as caught:
            process.communicate(timeout=1)
        assert caught.value.stdout == b"so far\n"
        assert process.poll() == -9


def test_cpu_affinity(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The final CPUs are the program's; without them those that it began on; the container's own has neither."""
    cpu = max(os.sched_getaffinity(0))
    for affinity, asked in (
        (ExecCPUAffinity(initial=str(cpu), final=str(cpu)), {cpu}),
        (ExecCPUAffinity(final=str(cpu)), {cpu}),
        (ExecCPUAffinity(), None),
    ):
        tied = with_process(bundle, exec_cpu_affinity=affinity)
        with runtime.create("tied", tied, ["sleep", "1000"]) as container:
            container.start()
            assert os.sched_getaffinity(container.pid) == os.sched_getaffinity(0)
            with container.spawn(["sleep", "1000"]) as process:
                found = os.sched_getaffinity(process.pid)
        assert found == (asked or os.sched_getaffinity(0))
    initial = with_process(bundle, exec_cpu_affinity=ExecCPUAffinity(initial=str(cpu)))
    with runtime.create("tied", initial, ["sleep", "1000"]) as container:
        container.start()
        assert container.exec(["true"], timeout=60).returncode == 0
    with pytest.raises(errors.InvalidSpec, match=r"execCPUAffinity\.final"):
        runtime.plan(with_process(bundle, exec_cpu_affinity=ExecCPUAffinity(final="3-1")))


def test_passed_descriptors(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """From 3 on, in order, whatever numbers they have here; nothing else of ours; they stay open here."""
    files = [open(tmp_path / name, "w+b") for name in ("one", "two")]  # noqa: SIM115
    try:
        fds = tuple(file.fileno() for file in reversed(files))
        script = "ls /proc/self/fd | tr '\\n' ' '; echo first >&3; echo second >&4"
        done = runtime.run(
            bundle, ["sh", "-c", script], capture_output=True, timeout=60, options=RunOptions(pass_fds=fds)
        )
        assert done.stdout == b"0 1 2 3 4 5 ", done.stderr
        assert (tmp_path / "two").read_text() == "first\n"
        assert (tmp_path / "one").read_text() == "second\n"
        with runtime.create(
            "fds", bundle, ["sh", "-c", "echo third >&4; sleep 1000"], options=RunOptions(pass_fds=fds)
        ) as container:
            container.start()
            line = container.exec(
                ["sh", "-c", script], options=ExecOptions(pass_fds=fds[:1]), timeout=60
            ).stdout
            assert line == b"0 1 2 3 4 "
    finally:
        for file in files:
            file.close()
    with pytest.raises(errors.InvalidSpec):
        RunOptions(pass_fds=(-1,))


def test_announced_sockets(runtime: Runtime, bundle: spec.Bundle) -> None:
    """sd_listen_fds(3): the number, and the pid that the program has inside."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("")
        listening.listen()
        options = RunOptions(pass_fds=(listening.fileno(),), listen_fds=1)
        script = "echo $LISTEN_FDS $LISTEN_PID $$; readlink /proc/self/fd/3"
        done = runtime.run(bundle, ["sh", "-c", script], capture_output=True, timeout=60, options=options)
        assert done.stdout.decode().split()[:3] == ["1", "1", "1"]
        assert b"socket:" in done.stdout
        with runtime.create("fds", bundle, ["sleep", "1000"]) as container:
            container.start()
            told = container.exec(
                ["sh", "-c", script],
                options=ExecOptions(pass_fds=(listening.fileno(),), listen_fds=1),
                timeout=60,
            ).stdout.split()
            assert told[0] == b"1"
            assert told[1] == told[2]
    with pytest.raises(errors.InvalidSpec):
        RunOptions(listen_fds=1)


def test_keyrings(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A new one by default, and the caller's on request."""
    look = ["sh", "-c", "cat /proc/keys"]
    bare = with_linux(bundle, masked_paths=())
    new = runtime.run(bare, look, capture_output=True, timeout=60)
    same = runtime.run(bare, look, capture_output=True, timeout=60, options=RunOptions(new_keyring=False))
    if not new.stdout:
        pytest.skip("this kernel has no keyrings")
    assert f"_ses.{new.container_id}".encode() in new.stdout
    assert f"_ses.{same.container_id}".encode() not in same.stdout


@pytest.fixture
def adopting() -> Iterator[None]:
    """While it lasts this process is the parent of whatever its helpers leave behind."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0)


@pytest.mark.usefixtures("adopting")
@pytest.mark.parametrize("ends", ["before", "after"])
@pytest.mark.parametrize("asked", ["here", "of the kernel"])
def test_a_detached_one_that_ends_at_once(
    running: Container, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, ends: str, asked: str
) -> None:
    """Its status is for whoever adopts it, also when it had ended before it was let go."""
    let_go = Spawned.let_go

    def late(spawned: Spawned) -> None:
        if ends == "before":
            until_ended(spawned.pid)
        let_go(spawned)

    monkeypatch.setattr(Spawned, "let_go", late)
    with Runtime(runtime.root) as other:
        found = other.get(running.id)
        detached = found.spawn(["sh", "-c", "exit 7"], options=ExecOptions(detach=True))
    with contextlib.closing(detached):
        if asked == "here":
            assert detached.wait(60) == 7
            assert detached.poll() == 7
            return
        result = os.waitid(os.P_PID, detached.pid, os.WEXITED)
        assert result is not None
        assert (result.si_code, result.si_status) == (os.CLD_EXITED, 7)


def test_a_detached_one_that_somebody_else_adopts(running: Container) -> None:
    """It can be watched and killed; its status is not ours to know."""
    with running.spawn(["sleep", "1000"], options=ExecOptions(detach=True)) as process:
        with pytest.raises(errors.ContainerTimeout):
            process.wait(0)
        assert process.poll() is None
        process.kill("TERM")
        with pytest.raises(errors.ExitStatusUnknown, match="adopted"):
            process.wait(60)


CALLER = """
import os, sys
from ociworks.runtime import ExecOptions, Runtime
script = "echo begun; read x < /go; echo ended; exit 6"
with Runtime(sys.argv[1]) as runtime, open(sys.argv[2], "wb") as log:
    begun = runtime.get("box").spawn(["sh", "-c", script], stdout=log, stderr=log, options=ExecOptions(detach=True))
    print(begun.pid, flush=True)
    os.kill(os.getpid(), 9)
"""


ADOPTING = """
import os, subprocess, sys
from ociworks._linux.process import PR_SET_CHILD_SUBREAPER, prctl
prctl(PR_SET_CHILD_SUBREAPER, 1)
caller, root, log, go = sys.argv[1:]
ended = subprocess.run([sys.executable, "-c", caller, root, log], stdout=subprocess.PIPE)
assert ended.returncode == -9
with open(go, "wb") as fifo:
    fifo.write(b"on\\n")
found = {}
try:
    while True:
        pid, status = os.wait()
        found[pid] = os.waitstatus_to_exitcode(status)
except ChildProcessError:
    print(found[int(ended.stdout)])
"""


def test_a_detached_one_whose_caller_is_killed(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """It goes on, its output goes where it was sent, and whoever adopts it learns how it ended."""
    go, log = bundle.rootfs / "go", tmp_path / "log"
    os.mkfifo(go)
    with runtime.create("box", bundle, ["sleep", "1000"], detach=Detach()) as box:
        box.start()
        call = [sys.executable, "-c", ADOPTING, CALLER, runtime.root, str(log), str(go)]
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
        assert log.read_bytes() == b"begun\nended\n"
        assert box.status == "running"


def test_a_foreground_one_ends_with_its_caller(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Nobody would read what it writes."""
    os.mkfifo(bundle.rootfs / "go")
    with runtime.create("box", bundle, ["sleep", "1000"], detach=Detach()) as box:
        box.start()
        script = CALLER.replace("options=ExecOptions(detach=True)", "")
        call = [sys.executable, "-c", script, runtime.root, str(tmp_path / "log")]
        ended = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == -9, ended.stderr
        until_ended(int(ended.stdout))  # trusted: our own script's
        assert box.status == "running"


@pytest.mark.parametrize("ends", ["before", "with"])
@pytest.mark.parametrize("held", [False, True], ids=["ours", "held by a shim"])
def test_a_detached_one_does_not_hold_its_container(
    runtime: Runtime, bundle: spec.Bundle, ends: str, held: bool
) -> None:
    """The first process of a container ends when all others are reaped: those that were let go too."""
    command = ["true"] if ends == "before" else ["sleep", "1000"]
    running = runtime.create("box", bundle, ["sleep", "1000"], detach=Detach() if held else False)
    running.start()
    with contextlib.closing(running.spawn(command, options=ExecOptions(detach=True))) as process:
        if ends == "before":
            until_ended(process.pid)
        running.kill("KILL")
        assert running.wait(60) == -9
        running.delete()


def test_a_shim_that_ended_is_seen(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The process that forked it reaps it by itself, rather than be woken for ever."""
    before = children()
    container = runtime.create("held", bundle, ["sleep", "1000"], detach=Detach())
    (launcher,) = children() - before
    (shim,) = children(launcher)
    container.delete(force=True)
    deadline = time.monotonic() + 60
    while shim in children(launcher):
        assert time.monotonic() < deadline
        os.sched_yield()


def children(pid: int = 0) -> set[int]:
    """The children of a process, this one's without a pid."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid or 'self'}/task").iterdir():
        found.update(map(int, (task / "children").read_text().split()))
    return found


FACTS = """
id; umask; pwd; ulimit -a; cat /proc/self/cgroup; cat /proc/self/oom_score_adj
ls -l /proc/self/ns | grep -o "[a-z_]*:.*"
ls -l /proc/self/fd | wc -l; env | grep -v HOME
grep -v -e "^Pid" -e "^Vm" -e "^Rss" -e "ctxt_switches" -e "^NS" -e "^Tgid" -e "^PPid" -e "^SigQ" /proc/self/status
"""


@pytest.mark.parametrize("user", ["0:0", "1000:50"])
def test_both_ways_to_enter_are_one(running: Container, user: str) -> None:
    """By a list of system calls, or by an interpreter, which alone can look for a home: the same comes of it."""
    extra = (ExecOptions(user=user), ExecOptions(user=user, home=True))
    if os.geteuid():
        extra = (ExecOptions(), ExecOptions(home=True))
    listed, interpreted = (said(running, FACTS, options) for options in extra)
    assert listed == interpreted


@root_only
def test_both_ways_with_everything(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Everything that a list can say, in a user namespace."""
    capabilities = Capabilities(
        bounding=("CAP_KILL", "CAP_SYS_TIME"),
        permitted=("CAP_KILL",),
        inheritable=("CAP_KILL",),
        ambient=("CAP_KILL",),
    )
    rich = with_process(
        remapped_box(bundle),
        user=User(uid=7, gid=8, umask=0o77, additional_gids=(9, 10)),
        cwd="/tmp",
        env=("A=1", "B=2", "A=3", "PATH=/bin"),
        capabilities=capabilities,
        rlimits=(
            Rlimit(type="RLIMIT_NOFILE", soft=100, hard=200),
            Rlimit(type="RLIMIT_CORE", soft=0, hard=0),
        ),
        oom_score_adj=500,
        no_new_privileges=False,
    )
    with (
        runtime,
        runtime.create(
            "rich", with_linux(rich, personality=Personality(domain="LINUX")), ["sleep", "1000"]
        ) as container,
    ):
        container.start()
        listed, interpreted = (said(container, FACTS, ExecOptions(home=home)) for home in (False, True))
    assert listed == interpreted
    assert "uid=7 gid=8 groups=8,9,10" in listed


def test_more_than_a_list_can_hold(running: Container) -> None:
    """An interpreter takes over."""
    long = "x" * 100_000
    assert running.exec(["echo", long, long], timeout=60).stdout.split() == [long.encode()] * 2


@root_only
def test_no_room_for_another_process(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The kernel's refusal is an error, and nothing is left of the attempt."""
    one = with_linux(bundle, resources=Resources(pids=Pids(limit=1)))
    with runtime, runtime.create("one", one, ["sleep", "1000"]) as container:
        container.start()
        for options in (ExecOptions(), ExecOptions(home=True)):
            with pytest.raises(errors.CreateFailed, match="temporarily unavailable"):
                container.exec(["true"], options=options, timeout=60)
        assert descendants(os.getpid()) >= {container.pid}
        parent = int(Path(f"/proc/{container.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        assert descendants(parent) == {container.pid}


@root_only
def test_working_directories_of_one_of_both(runtime: Runtime, bundle: spec.Bundle) -> None:
    """One that only the user may enter, one that only the runtime may enter, and one of nobody."""
    for name, owner, mode in (("users", 1000, 0o700), ("roots", 0, 0o700), ("nobodys", 5, 0)):
        (bundle.rootfs / name).mkdir(mode=mode)
        os.chown(bundle.rootfs / name, owner, owner)
    user = User(uid=1000, gid=1000)
    weak = with_process(bundle, capabilities=Capabilities())
    strong = with_process(bundle, capabilities=Capabilities(bounding=("CAP_KILL",)))
    with runtime:
        for number, each in enumerate((weak, strong)):
            with runtime.create(f"c{number}", each, ["sleep", "1000"]) as container:
                container.start()
                for cwd in ("/users", "/roots"):
                    options = ExecOptions(user=user, cwd=cwd)
                    assert container.exec(["pwd"], options=options, timeout=60).stdout.decode().strip() == cwd
                with pytest.raises(
                    errors.CreateFailed, match=r"change_directory: No such file.*\(/nowhere\)"
                ):
                    container.exec(["pwd"], options=ExecOptions(user=user, cwd="/nowhere"), timeout=60)
