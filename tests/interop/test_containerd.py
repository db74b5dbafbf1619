"""containerd's shim for runc uses ``ociworks-runtime`` as it uses runc; each test is a row in docs/guide/clients.md."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ociworks.image import archive
from ociworks.runtime import cgroups
from tests.interop import boxes
from tests.interop.peers import containerd, on_a_terminal, peer
from tests.runtime.commands import program
from tests.runtime.shims import until_ended

pytestmark = [
    pytest.mark.interop,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containerd uses control groups and mounts"),
]

IMAGE = "localhost/box:1"
FOREVER = ("sleep", "1000")
WAITING = "trap 'exit 3' USR1; echo ready; while :; do sleep 0.1; done"


class Ctr:
    """``ctr`` with a containerd, a namespace and a state root of its own."""

    def __init__(self, socket: str, folder: Path) -> None:
        self.namespace = f"ow-{secrets.token_hex(4)}"
        self.command = [peer("ctr"), "--address", socket, "--namespace", self.namespace]
        self.binary = program(folder)
        self.options = [
            "--snapshotter", "native", "--runtime", "io.containerd.runc.v2",
            "--runc-binary", str(self.binary), "--runc-root", str(folder / "runs"),
        ]  # fmt: skip

    def call(self, *args: str | Path, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*self.command, *map(str, args)],
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def __call__(self, *args: str | Path, status: int = 0, typed: str = "") -> str:
        """Run it to its end; what it printed."""
        done = self.call(*args, typed=typed)
        assert done.returncode == status, done
        return done.stdout

    def running(self, name: str, *options: str) -> None:
        """A container that goes on."""
        self("run", *self.options, "--detach", *options, IMAGE, name, *FOREVER)

    def run(self, name: str, *command: str, options: tuple[str, ...] = (), status: int = 0) -> str:
        """A container to its end; what it printed."""
        return self("run", *self.options, "--rm", *options, IMAGE, name, *command, status=status)

    def exec(self, name: str, *command: str, status: int = 0, typed: str = "") -> str:
        """A further process to its end; what it printed."""
        return self(
            "task", "exec", "--exec-id", secrets.token_hex(4), name, *command, status=status, typed=typed
        )

    @contextmanager
    def foreground(self, name: str, script: str) -> Iterator[subprocess.Popen[bytes]]:
        """A container that somebody waits for, from its first line on."""
        call = [*self.command, "run", *self.options, "--rm", IMAGE, name, "sh", "-c", script]
        with subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process

    def task(self, name: str) -> str:
        """The status of a task: ``RUNNING``, ``PAUSED``, ``STOPPED``."""
        lines = (line.split() for line in self("task", "ls").splitlines())
        return next(status for task, _, status in lines if task == name)

    def pids(self, name: str) -> list[int]:
        """Its processes, on the host."""
        return [int(line.split()[0]) for line in self("task", "ps", name).splitlines()[1:]]


@pytest.fixture(scope="module")
def ctr() -> Iterator[Ctr]:
    """A daemon with an image; nothing is left of its containers at the end."""
    with tempfile.TemporaryDirectory(prefix="ow-", dir="/tmp") as folder, containerd() as socket:
        made = Ctr(socket, Path(folder))
        archive.write(f"{folder}/box.tar", boxes.image(), IMAGE)
        made("images", "import", "--snapshotter", "native", f"{folder}/box.tar")
        yield made
        for name in made("task", "ls", "--quiet").split():
            made.call("task", "rm", "--force", name)
        for name in made("container", "ls", "--quiet").split():
            made("container", "rm", name)
        assert os.listdir(f"{folder}/runs/{made.namespace}") == []
    for mount in cgroups.detect().mounts:  # what is left is the parent that containerd named: it is empty
        os.rmdir(f"{mount.mount_point}/{made.namespace}")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of a container."""
    return str(request.node.name).removeprefix("test_").replace("[", "-").replace("/", "").strip("]")


def test_run(ctr: Ctr, name: str) -> None:
    """Run: output, exit status, environment, working directory."""
    options = ("--env", "A=b", "--cwd", "/tmp")
    assert ctr.run(name, "sh", "-c", "echo $A $PWD; exit 7", options=options, status=7) == "b /tmp\n"


@pytest.mark.parametrize(
    ("what", "words"),
    [("nowhere", "executable file not found in $PATH"), ("/etc/passwd", "permission denied")],
    ids=("nowhere", "no-program"),
)
def test_what_cannot_run(ctr: Ctr, name: str, what: str, words: str) -> None:
    """Run and exec of what cannot be executed: the words, and the status of a failure."""
    done = ctr.call("run", *ctr.options, "--rm", IMAGE, name, what)
    assert (done.returncode, words in done.stderr) == (1, True), done
    ctr.running(f"{name}-box")
    done = ctr.call("task", "exec", "--exec-id", "a", f"{name}-box", what)
    assert (done.returncode, words in done.stderr) == (1, True), done


def test_run_on_a_terminal(ctr: Ctr, name: str) -> None:
    """Run --tty: a terminal with the size of the one outside."""
    script = "tty; until test \"$(stty size)\" = '33 77'; do :; done; exit 9"
    call = [*ctr.command, "run", *ctr.options, "--rm", "--tty", IMAGE, name, "sh", "-c", script]
    assert b"/dev/pts/0\r" in on_a_terminal(call, size=(33, 77), status=9)


def test_a_container_in_the_background(ctr: Ctr, name: str) -> None:
    """Run --detach; task ls; task kill; status 137; task delete."""
    ctr.running(name)
    assert ctr.task(name) == "RUNNING"
    done = ctr.call("task", "delete", name)
    assert (done.returncode, "task must be stopped" in done.stderr) == (1, True), done
    ctr("task", "kill", "--signal", "SIGKILL", name)
    while ctr.task(name) != "STOPPED":
        pass
    assert "exit code 137" in ctr.call("task", "delete", name).stderr
    ctr("task", "start", "--detach", name)
    assert ctr.task(name) == "RUNNING"


def test_exec(ctr: Ctr, name: str) -> None:
    """Task exec: streams, user, working directory, exit status."""
    ctr.running(name)
    assert ctr.exec(name, "wc", "-c", typed="hello") == "5\n"
    options = ("--exec-id", "a", "--user", "1000:1000", "--cwd", "/tmp")
    done = ctr.call("task", "exec", *options, name, "sh", "-c", "pwd; id -u; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "/tmp\n1000\n", "err\n")


def test_execs_that_end_at_once(ctr: Ctr, name: str) -> None:
    """Task exec, 24 that end at once, four at a time: each has its status."""
    ctr.running(name)
    numbers = range(24)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: ctr.exec(name, "sh", "-c", f"exit {each}", status=each), numbers))


def test_exec_on_a_terminal(ctr: Ctr, name: str) -> None:
    """Task exec --tty: a terminal with the size of the one outside, exit status."""
    ctr.running(name)
    script = "tty; until test \"$(stty size)\" = '33 77'; do :; done; exit 9"
    call = [*ctr.command, "task", "exec", "--tty", "--exec-id", "a", name, "sh", "-c", script]
    assert b"/dev/pts/0\r" in on_a_terminal(call, size=(33, 77), status=9)


def test_exec_in_the_background(ctr: Ctr, name: str) -> None:
    """Task exec --detach; task ps; task kill --exec-id; status 143; task delete --exec-id."""
    ctr.running(name)
    ctr("task", "exec", "--detach", "--exec-id", "further", name, *FOREVER)
    assert "ExecID:further" in ctr("task", "ps", name)
    _, pid = ctr.pids(name)
    ctr("task", "kill", "--exec-id", "further", "--signal", "SIGTERM", name)
    until_ended(pid)
    assert ctr.call("task", "delete", "--exec-id", "further", name).returncode == 143
    assert len(ctr.pids(name)) == 1


def test_pause(ctr: Ctr, name: str) -> None:
    """Task pause, resume."""
    ctr.running(name)
    ctr("task", "pause", name)
    assert ctr.task(name) == "PAUSED"
    ctr("task", "resume", name)
    assert ctr.task(name) == "RUNNING"
    assert ctr.exec(name, "echo", "well") == "well\n"


def test_metrics(ctr: Ctr, name: str) -> None:
    """Run --memory-limit, --cpus; task metrics."""
    ctr.running(name, "--memory-limit", str(64 << 20), "--cpus", "0.5")
    assert str(64 << 20) in ctr("task", "metrics", name).split()


def test_signals(ctr: Ctr, name: str) -> None:
    """Task kill while somebody waits: a signal that is handled, and statuses of those that are not."""
    with ctr.foreground(name, WAITING) as process:
        ctr("task", "kill", "--signal", "SIGUSR1", name)
        assert process.wait(60) == 3
    with ctr.foreground(name, WAITING) as process:
        ctr("task", "kill", "--all", "--signal", "SIGKILL", name)
        assert process.wait(60) == 137


def test_restrictions(ctr: Ctr, name: str, tmp_path: Path) -> None:
    """Run --read-only, --mount, --seccomp, --cap-drop, --privileged."""
    tmp_path.joinpath("file").write_text("from outside\n")
    look = "touch /x /tmp/x || cat /tmp/file; grep -E 'CapBnd|Seccomp:' /proc/self/status"
    options = ("--mount", f"type=bind,src={tmp_path},dst=/tmp,options=rbind:ro", "--seccomp", "--read-only")
    said = ctr.run(name, "sh", "-c", look, options=(*options, "--cap-drop", "CAP_CHOWN")).split()
    assert said == ["from", "outside", "CapBnd:", "00000000a80425fa", "Seccomp:", "2"]
    look = "test -e /dev/kmsg && grep Seccomp: /proc/self/status"
    assert ctr.run(name, "sh", "-c", look, options=("--privileged",)).split() == ["Seccomp:", "0"]


def test_user_namespace(ctr: Ctr, name: str) -> None:
    """Run --uidmap, --gidmap: in a user namespace."""
    options = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    said = ctr.run(name, "sh", "-c", "cat /proc/self/uid_map; id -u", options=options)
    assert said.split() == ["0", "100000", "65536", "0"]


def test_namespaces_of_the_host(ctr: Ctr, name: str) -> None:
    """Run --net-host, --with-ns pid: what is left of a container without a PID namespace is killed."""
    options = ("--net-host", "--with-ns", f"pid:/proc/{os.getpid()}/ns/pid")
    said = ctr.run(name, "sh", "-c", "sleep 1000 & echo $!; exit 4", options=options, status=4)
    until_ended(int(said))
