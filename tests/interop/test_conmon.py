"""conmon, by itself, uses ``ociworks-runtime`` as it uses runc; each test is a row in docs/guide/clients.md."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from ociworks import spec
from ociworks.spec.runtime import Memory, Process, Resources
from tests.interop.peers import peer
from tests.runtime.boxes import box, nothing_left, with_linux, with_process
from tests.runtime.commands import Command, program, written
from tests.runtime.shims import until_ended

pytestmark = [
    pytest.mark.interop,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: conmon watches control groups"),
]

STDOUT, STDERR = b"\2", b"\3"


class Conmon:
    """conmon over a bundle, with its files in a folder."""

    def __init__(self, folder: Path, command: Command, bundle: spec.Bundle) -> None:
        self.folder, self.command, self.bundle = folder, command, bundle

    def path(self, name: str) -> Path:
        """A file or folder of one container or exec."""
        return self.folder / name

    def call(self, name: str, *options: str | Path) -> list[str]:
        """A command line for a container or an exec of this name."""
        exits, sockets = self.path(name) / "exits", self.path("sockets")
        for made in (sockets, exits.parent, exits):
            made.mkdir(exist_ok=True)
        note = f"echo $0 >> {self.path('notes')}"
        return [
            peer("conmon"), "--api-version", "1", "--sync", "--cid", "box", "--cuuid", name, "--name", name,
            "--runtime", str(self.command.path), "--runtime-arg", "--root", "--runtime-arg", str(self.command.root),
            "--bundle", str(self.path(name) if "--exec" in options else self.bundle.path),
            "--container-pidfile", str(self.path(f"{name}.pid")), "--log-path", f"k8s-file:{self.path(f'{name}.log')}",
            "--exit-dir", str(exits), "--persist-dir", str(self.path(name)), "--socket-dir-path", str(sockets),
            "--exit-command", "/bin/sh", "--exit-command-arg", "-c", "--exit-command-arg", note,
            "--exit-command-arg", name, "--log-level", "debug", *map(str, options),
        ]  # fmt: skip

    @contextmanager
    def __call__(self, name: str, *options: str | Path) -> Iterator[subprocess.Popen[bytes]]:
        """Let it create a container; it has said the right pid, and is waited for at the end."""
        with self.begun(name, *options) as (process, said):
            assert said["data"] == int(self.path(f"{name}.pid").read_text()), said
            yield process

    @contextmanager
    def begun(
        self, name: str, *options: str | Path
    ) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int | str]]]:
        """The same with the first that it says."""
        reader, writer = os.pipe()
        environment = {**os.environ, "_OCI_SYNCPIPE": str(writer)}
        null, log = subprocess.DEVNULL, self.path(f"{name}.conmon").open("wb")
        with log, subprocess.Popen(
            self.call(name, *options), stdin=null, stdout=null, stderr=log, env=environment, pass_fds=(writer,),
            cwd=self.path("."),  # it writes a file there, too
        ) as process:  # fmt: skip
            os.close(writer)
            with open(reader) as said:
                try:
                    yield process, json.loads(said.readline())
                except BaseException:
                    process.kill()
                    raise
                process.wait(60)
        assert "ERR" not in self.path(f"{name}.conmon").read_text()

    def start(self) -> None:
        """What podman does when conmon has made the container."""
        self.command("start", "box")

    def lines(self, name: str) -> list[str]:
        """What it logged, without the times: ``stdout F text``."""
        return [line.split(" ", 1)[1] for line in self.path(f"{name}.log").read_text().splitlines()]

    def ended(self, name: str = "box") -> int:
        """The exit status that it wrote down."""
        return int(self.path(name).joinpath("exits/box").read_text())

    def notes(self) -> list[str]:
        """Which exit commands were run."""
        return self.path("notes").read_text().split()

    @contextmanager
    def attached(self) -> Iterator[socket.socket]:
        """A connection to what goes in and out."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
            channel.settimeout(60)
            channel.connect(str(self.path("sockets") / "box/attach"))
            yield channel


@pytest.fixture
def command() -> Iterator[Command]:
    """The command with a state root of its own, at a short path; nothing may be left of its containers."""
    with tempfile.TemporaryDirectory(prefix="ow-", dir="/tmp") as folder:
        root = Path(folder, "root")
        root.mkdir(mode=0o700)
        with nothing_left(root):
            made = Command(program(Path(folder)), root, Path(folder, "log"))
            yield made
            made("delete", "--force", "box")


@pytest.fixture
def conmon(command: Command) -> Conmon:
    return Conmon(command.root.parent, command, box(command.root.parent / "bundle"))


def running(conmon: Conmon, *args: str, **values: object) -> None:
    """Have the container run these arguments."""
    written(with_process(conmon.bundle, args=args, **values))


def execution(conmon: Conmon, args: Sequence[str], *, terminal: bool = False) -> Path:
    """The document of a process for an exec."""
    process = conmon.bundle.spec.process
    assert isinstance(process, Process)
    path = conmon.path("process.json")
    path.write_bytes(spec.to_json(attrs.evolve(process, args=tuple(args), terminal=terminal)))
    return path


def test_logs_and_exit(conmon: Conmon) -> None:
    """Create and start: log of both streams, exit file, exit command."""
    running(conmon, "sh", "-c", "echo out; echo err >&2; exit 7")
    with conmon("box"):
        conmon.start()
    assert sorted(conmon.lines("box")) == ["stderr F err", "stdout F out"]
    assert (conmon.ended(), conmon.notes()) == (7, ["box"])


def test_killed(conmon: Conmon) -> None:
    """Killed: status 137."""
    running(conmon, "sleep", "1000")
    with conmon("box"):
        conmon.start()
        conmon.command("kill", "box", "KILL")
    assert (conmon.ended(), conmon.notes()) == (137, ["box"])


def test_what_cannot_run(conmon: Conmon) -> None:
    """A program that is not there: no pid, the words that podman looks for."""
    running(conmon, "nowhere")
    with conmon.begun("box") as (_, said):
        assert said["data"] == -1
        assert "executable file not found in $PATH" in str(said["message"])


def test_attach(conmon: Conmon) -> None:
    """Standard input and output through the attach socket."""
    running(conmon, "sh", "-c", "read line; echo got $line; exit 4")
    with conmon("box", "--stdin"), conmon.attached() as channel:
        conmon.start()
        channel.send(b"hello\n")
        assert channel.recv(100) == STDOUT + b"got hello\n"
    assert (conmon.ended(), conmon.lines("box")) == (4, ["stdout F got hello"])


def test_terminal(conmon: Conmon) -> None:
    """A terminal, and its size by the ctl fifo."""
    running(conmon, "sh", "-c", "read line; stty size; tty", terminal=True)
    with conmon("box", "--terminal", "--stdin"), conmon.attached() as channel:
        conmon.start()
        with (conmon.bundle.path / "ctl").open("w") as control:
            control.write("1 33 77\n")
        script = "until test \"$(stty size < /dev/pts/0)\" = '33 77'; do :; done"
        conmon.command("exec", "box", "sh", "-c", script)
        channel.send(b"\n")
        seen = b""
        while b"/dev/pts/0" not in seen:
            seen += channel.recv(100)[1:]
    assert b"33 77\r\n" in seen
    assert conmon.ended() == 0


def test_exec(conmon: Conmon) -> None:
    """Exec from a process document: log, pid file, exit file, exit command."""
    running(conmon, "sleep", "1000")
    with conmon("box"):
        conmon.start()
        document = execution(conmon, ["sh", "-c", "echo inside; exit 3"])
        with conmon("further", "--exec", "--exec-process-spec", document):
            pass
        assert conmon.lines("further") == ["stdout F inside"]
        assert (conmon.ended("further"), conmon.notes()) == (3, ["further"])
        document = execution(conmon, ["nowhere"])
        with conmon.begun("failing", "--exec", "--exec-process-spec", document) as (_, said):
            assert "executable file not found in $PATH" in str(said["message"])
        conmon.command("kill", "box", "KILL")


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_exec_attach(conmon: Conmon, terminal: bool) -> None:
    """Exec with an attachment, on pipes and on a terminal: output, exit status."""
    running(conmon, "sleep", "1000")
    document = execution(conmon, ["sh", "-c", "read line; echo $line; exit 5"], terminal=terminal)
    options = ("--exec", "--exec-attach", "--exec-process-spec", document, "--full-attach", "--stdin")
    call = conmon.call("in", *options, *(("--terminal",) if terminal else ()))
    names = ("_OCI_SYNCPIPE", "_OCI_ATTACHPIPE", "_OCI_STARTPIPE")
    (said, sync), (ready, attach), (start, go) = pipes = [os.pipe() for _ in names]
    theirs = (sync, attach, start)
    variables = {**os.environ, **dict(zip(names, map(str, theirs), strict=True))}
    with conmon("box"):
        conmon.start()
        with subprocess.Popen(call, env=variables, pass_fds=theirs, stderr=subprocess.DEVNULL) as process:
            os.write(go, b"0")
            assert json.loads(os.read(ready, 100))["data"] == 0
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
                channel.settimeout(60)
                channel.connect(str(conmon.path("in") / "attach"))
                os.write(go, b"0")
                assert json.loads(os.read(said, 100))["data"] == int(conmon.path("in.pid").read_text())
                channel.send(b"hello\n")
                seen = b""
                while b"hello" not in seen.replace(b"hello\r\n", b"", int(terminal)):  # it is echoed
                    seen += channel.recv(100)[1:]
            process.wait(60)
        for end in (end for pair in pipes for end in pair):
            os.close(end)
        conmon.command("kill", "box", "KILL")
    assert conmon.ended("in") == 5


def test_out_of_memory(conmon: Conmon) -> None:
    """Killed for want of memory: the oom file."""
    limited = Resources(memory=Memory(limit=16 << 20, swap=16 << 20))
    conmon.bundle = with_linux(conmon.bundle, resources=limited)
    running(conmon, "tail", "/dev/zero")
    with conmon("box"):
        pid = int(conmon.path("box.pid").read_text())
        conmon.start()
        until_ended(pid)
    assert conmon.ended() == 137
    assert conmon.path("box").joinpath("oom").exists()
