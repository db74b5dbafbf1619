"""``ociworks-runtime`` as a program: what each command does, prints, logs and ends with."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import attrs
import pytest

from ociworks import spec
from ociworks.runtime.plan import resctrl
from ociworks.runtime.state import start_time
from tests.runtime.boxes import with_process
from tests.runtime.commands import Command, written

FOREVER = ("sleep", "1000")


def test_the_life_of_a_container(command: Command, forever: spec.Bundle) -> None:
    """Each verb in a process of its own, as clients do it."""
    with command.created("life", forever) as pid:
        state = command.json("state", "life")
        assert (state["id"], state["pid"], state["status"]) == ("life", pid, "created")
        assert (state["bundle"], state["rootfs"]) == (str(forever.path), str(forever.rootfs))
        assert state["ociVersion"] == forever.spec.oci_version
        assert command.fails("delete", "life2")["msg"] == "container does not exist"
        command("start", "life")
        assert command.status("life") == "running"
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
        assert command.fails("start", "life")["msg"] == "cannot start an already running container"
        assert "that is not stopped: running" in command.fails("delete", "life")["msg"]
        command("kill", "life", "KILL")
        assert command.json("state", "life")["pid"] in (0, pid)
        ended(pid)
        assert command.fails("start", "life")["msg"] == "cannot start a container that has stopped"
        assert command.fails("kill", "life")["msg"] == "container not running"
        command("kill", "--all", "life", "9")
        command("delete", "life")
        assert command.fails("state", "life")["msg"] == "container does not exist"
        command("delete", "--force", "life")


def ended(pid: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(60000)
    os.close(pidfd)
    while start_time(pid) >= 0:
        pass


def test_created_twice(command: Command, forever: spec.Bundle) -> None:
    with command.created("twice", forever):
        assert "already exists" in command.fails("create", "--bundle", forever.path, "twice")["msg"]
        assert command.status("twice") == "created"
        command("delete", "twice")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "executable file not found in"),
        ("/no/such", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_the_words_that_clients_look_for(
    command: Command, bundle: spec.Bundle, name: str, words: str
) -> None:
    """A program that cannot be executed is found out at create, by words that become 126 or 127."""
    written(with_process(bundle, args=(name,)))
    assert words in command.fails("create", "--bundle", bundle.path, "x")["msg"]
    assert words in command.fails("run", "--bundle", bundle.path, "x")["msg"]
    written(with_process(bundle, args=FOREVER))
    with command.running("y", with_process(bundle, args=FOREVER)):
        record = command.fails("exec", "y", name, status=255)
        assert (record["level"], words in record["msg"]) == ("error", True)


def test_run(command: Command, bundle: spec.Bundle) -> None:
    """In the foreground: its output, its status, and nothing is left."""
    written(with_process(bundle, args=("sh", "-c", "cat; echo err >&2; exit 3")))
    done = subprocess.run(
        command.arguments("run", "--bundle", bundle.path, "r"),
        input=b"typed\n", capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, b"typed\n", b"err\n")
    written(with_process(bundle, args=("sh", "-c", "kill -9 $$")))
    command("run", "--bundle", bundle.path, "--no-subreaper", "r", status=0)


@pytest.mark.parametrize("option", [(), ("--no-subreaper",)])
def test_run_passes_signals_on(command: Command, bundle: spec.Bundle, option: tuple[str, ...]) -> None:
    script = "trap 'exit 9' USR1; echo ready; while :; do sleep 1; done"
    written(with_process(bundle, args=("sh", "-c", script)))
    with subprocess.Popen(
        command.arguments("run", "--bundle", bundle.path, *option, "r"), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == 9


def test_run_and_leave_it_alone(command: Command, forever: spec.Bundle) -> None:
    written(forever)
    command.quiet("run", "--detach", "--bundle", forever.path, "r")
    assert command.status("r") == "running"
    command("delete", "--force", "r")


def test_run_and_keep_it(command: Command, bundle: spec.Bundle) -> None:
    written(with_process(bundle, args=("true",)))
    command("run", "--keep", "--bundle", bundle.path, "r")
    assert command.status("r") == "stopped"
    command("delete", "r")


def test_exec(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """Status, streams, flags, a process from a file; detached with a pid file."""
    with command.running("e", forever):
        assert command("exec", "e", "echo", "hello") == "hello\n"
        command("exec", "e", "sh", "-c", "exit 5", status=5)
        command("exec", "e", "sh", "-c", "kill -9 $$", status=137)
        out = command(
            "exec", "-e", "A=b", "--cwd", "/tmp", "-u", "12:34", "e", "sh", "-c", "echo $A $PWD; id -u; id -g"
        )
        assert out.split() == ["b", "/tmp", "12", "34"]
        assert forever.spec.process is not None
        process = attrs.evolve(forever.spec.process, args=("sleep", "1234"))
        document = tmp_path / "process.json"
        document.write_bytes(spec.to_json(process))
        pid_file = tmp_path / "exec.pid"
        command.quiet("exec", "--process", document, "--detach", "--pid-file", pid_file, "e")
        pid = int(pid_file.read_text())
        assert b"1234" in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert pid in command.json("ps", "--format", "json", "e")
        assert f" {pid} " in command("ps", "e")
        os.kill(pid, signal.SIGKILL)
        assert "cannot be empty" in command.fails("exec", "e", status=255)["msg"]
        assert "whole process" in command.fails("exec", "-p", document, "-u", "1", "e", status=255)["msg"]


def test_pause(command: Command, forever: spec.Bundle) -> None:
    with command.running("p", forever):
        command("pause", "p")
        assert command.status("p") == "paused"
        assert "paused" in command.fails("exec", "p", "true", status=255)["msg"]
        assert command.fails("pause", "p")["msg"] == "container not running"
        command("resume", "p")
        assert command.status("p") == "running"
        assert command.fails("resume", "p")["msg"] == "container not paused"
        command("pause", "p")


def test_before_it_is_started(command: Command, bundle: spec.Bundle) -> None:
    """A created container can be paused, and entered, as runc has it; it can still be started."""
    with command.created("early", with_process(bundle, args=("sh", "-c", "cat /tmp/left; sleep 1000"))):
        command("exec", "early", "sh", "-c", "echo $$ > /tmp/left; exit 3", status=3)
        assert command.status("early") == "created"
        command("pause", "early")
        assert command.status("early") == "paused"
        assert "paused" in command.fails("start", "early")["msg"]
        command("resume", "early")
        assert command.status("early") == "created"
        command("start", "early")
        assert command.status("early") == "running"


def test_list(command: Command, forever: spec.Bundle) -> None:
    assert command("list", "-q") == ""
    assert command("list", "--format", "json") == "null\n"
    with command.created("one", forever), command.created("two", forever):
        assert command("list", "-q").split() == ["one", "two"]
        found = command.json("list", "-f", "json")
        assert [(item["id"], item["status"]) for item in found] == [("one", "created"), ("two", "created")]
        title, *lines = command("list").splitlines()
        assert title.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
        assert [line.split()[0] for line in lines] == ["one", "two"]
    assert command.fails("list", "-f", "xml")["msg"] == "invalid format option"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an ordinary user has no control groups")
def test_update_and_events(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """Limits from flags, a file and standard input; zeros change nothing, but for processes (runc 1.4)."""
    with command.running("u", forever):
        command("update", "--memory", "64m", "--pids-limit", "50", "u")
        stats = command.json("events", "--stats", "u")
        assert (stats["type"], stats["id"]) == ("stats", "u")
        assert stats["data"]["memory"]["usage"]["limit"] == 64 << 20
        assert stats["data"]["pids"]["limit"] == 50
        path = tmp_path / "resources.json"
        path.write_text(
            '{"memory": {"limit": 0, "reservation": 1048576}, "pids": {"limit": 60}, "cpu": {"shares": 0}}'
        )
        command("update", "--resources", path, "u")
        with path.open() as file:
            command("update", "--resources=-", "u", stdin=file)
        data = command.json("events", "--stats", "u")["data"]
        assert (data["memory"]["usage"]["limit"], data["pids"]["limit"]) == (64 << 20, 60)
        command("update", "--pids-limit", "0", "--cpu-burst", "0", "--memory", "0", "u")
        data = command.json("events", "--stats", "u")["data"]
        assert (data["memory"]["usage"]["limit"], data["pids"]["limit"]) == (64 << 20, 1)
        if resctrl.mount_point() is None:
            for flag, share in (("l3-cache", "CAT: l3 cache"), ("mem-bw", "MBA: memory bandwidth")):
                told = command.fails("update", "--pids-limit", "70", f"--{flag}-schema", "X:0=1", "u")["msg"]
                assert told.endswith(f"Intel RDT/{share} schema is not enabled")
            assert command.json("events", "--stats", "u")["data"]["pids"]["limit"] == 1
        with subprocess.Popen(
            command.arguments("events", "--interval", "10ms", "u"), stdout=subprocess.PIPE
        ) as watching:
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline())["type"] == "stats"
            command("kill", "u", "KILL")
            watching.stdout.read()
            assert watching.wait(60) == 0
        assert "not running" in command.fails("events", "--stats", "u")["msg"]


def test_a_console_socket(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """CL-03: whoever listens gets exactly one descriptor, the master; also below a very long path."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    place = os.open(folder, os.O_PATH)
    script = "stty -echo; read line; echo got $line; sleep 1000"
    terminal = with_process(forever, terminal=True, args=("sh", "-c", script))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{place}/console")
        listener.listen()
        listener.settimeout(60)
        with command.created("c", terminal, "--console-socket", folder / "console"):
            connection, _ = listener.accept()
            with connection:
                name, fds, _, _ = socket.recv_fds(connection, 4096, 4)
            assert len(fds) == 1
            assert name
            assert termios.tcgetattr(fds[0])[1] & termios.ONLCR
            command("start", "c")
            os.write(fds[0], b"typed\n")
            seen = b""
            while b"got typed" not in seen:
                seen += os.read(fds[0], 100)
            os.close(fds[0])
    os.close(place)
    assert "console socket" in command.fails("create", "--bundle", forever.path, "d")["msg"]


def test_a_terminal_at_which_somebody_sits(command: Command, bundle: spec.Bundle) -> None:
    """The container's terminal tied to ours: size, input, output without a second CR, and ours as it was afterwards."""
    script = "stty size; read line; echo got $line; exit 6"
    written(with_process(bundle, terminal=True, args=("sh", "-c", script)))
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, 77))
    before = termios.tcgetattr(slave)
    with subprocess.Popen(
        command.arguments("run", "--bundle", bundle.path, "t"), stdin=slave, stdout=slave, stderr=slave
    ) as process:
        seen = b""
        while b"33 77\r\n" not in seen:
            seen += os.read(master, 100)
        os.write(master, b"typed\r")
        while b"got typed\r\n" not in seen:
            seen += os.read(master, 100)
        assert process.wait(60) == 6
    assert b"\r\r\n" not in seen
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)


def test_about(command: Command, tmp_path: Path) -> None:
    """What clients ask before anything else."""
    assert command("--version").startswith("ociworks-runtime version ")
    features = command.json("features")
    assert features["ociVersionMin"] == "1.0.0"
    assert "createRuntime" in features["hooks"]
    command("checkpoint", "--help")
    assert "flag needs an argument: -lsm-mount-context" in command("restore", "--lsm-mount-context", status=1)
    command("spec", "--bundle", tmp_path)
    made = spec.Bundle.load(tmp_path)
    assert not spec.validate(made.spec)
    assert "exists" in command.fails("spec", "--bundle", tmp_path)["msg"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["state"], 1, 'ociworks-runtime: "state" requires exactly 1 argument(s)'),
        (["kill", "a", "b", "c"], 1, 'ociworks-runtime: "kill" requires a maximum of 2 argument(s)'),
        (["state", "--nope", "a"], 1, "flag provided but not defined: -nope"),
        (["--nope"], 1, "flag provided but not defined: -nope"),
        (["create", "--preserve-fds", "x", "a"], 1, 'invalid value "x" for flag -preserve-fds: parse error'),
        (["run", "--detach=maybe", "a"], 1, 'invalid boolean value "maybe" for -detach: parse error'),
        (["nothing"], 3, "No help topic for 'nothing'"),
    ],
)
def test_wrong_usage(command: Command, arguments: list[str], status: int, message: str) -> None:
    log = ("--log", str(command.log), "--log-format", "json") if arguments[0] != "--nope" else ()
    said = command(*log, *arguments, status=status)
    assert json.dumps(message)[1:-1] in said or json.dumps(message)[1:-1] in command.log.read_text()


def test_hooks_after_the_fact(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """Poststart and poststop run in the process that starts and deletes; one that fails at the end is only logged."""
    note = tmp_path / "note"
    good = spec.runtime.Hook(path="/bin/sh", args=("sh", "-c", f"cat >> {note}"))
    bad = spec.runtime.Hook(path="/bin/sh", args=("sh", "-c", f"cat >> {note}; exit 1"))
    hooked = forever.replace(
        attrs.evolve(forever.spec, hooks=spec.runtime.Hooks(poststart=(good,), poststop=(bad,)))
    )
    with command.created("h", hooked):
        command("start", "h")
        command("kill", "h", "KILL")
        assert "poststop hook" in command("delete", "--force", "h")
    text = note.read_text()
    assert text.index('"running"') < text.index('"stopped"')


def test_a_failing_hook_after_the_start(command: Command, forever: spec.Bundle) -> None:
    """It stops the container, and the command says so (runtime-spec runtime.md, Lifecycle, 9)."""
    bad = spec.runtime.Hook(path="/bin/sh", args=("sh", "-c", "exit 7"))
    hooked = forever.replace(attrs.evolve(forever.spec, hooks=spec.runtime.Hooks(poststart=(bad,))))
    with command.created("h", hooked):
        assert "status 7" in command("start", "h", status=1)
        assert '"stopped"' in command("state", "h")


def test_a_runtime_of_ones_own(tmp_path: Path, bundle: spec.Bundle) -> None:
    """``main(MyRuntime())`` is a runtime binary whose seams are used by every command."""
    source = """
import os, sys, attrs
from ociworks.runtime import Runtime
from ociworks.runtime.cli import main

class Mine(Runtime):
    def edit_process(self, process, spec):
        return attrs.evolve(process, env=(*process.env, "MINE=yes"))
    def on_event(self, event):
        with open(os.environ["NOTE"], "a") as note:
            note.write(event.kind + " ")

sys.exit(main(Mine(sys.argv[1]), sys.argv[2:]))
"""
    note = tmp_path / "note"

    def mine(*args: str, **streams: Any) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [sys.executable, "-c", source, str(tmp_path / "mine"), *args],
            env={**os.environ, "NOTE": str(note)}, timeout=60, check=True, text=True, **streams,
        )  # fmt: skip
        return done

    written(with_process(bundle, args=FOREVER))
    null = subprocess.DEVNULL
    mine("create", "--bundle", str(bundle.path), "m", stdin=null, stdout=null, stderr=null)
    try:
        mine("start", "m")
        done = mine("exec", "m", "env", stdout=subprocess.PIPE)
        assert "MINE=yes" in done.stdout.split()
    finally:
        mine("delete", "--force", "m")
    kinds = note.read_text().split()
    assert kinds.index("created") < kinds.index("started") < kinds.index("deleted")


def test_preserved_descriptors(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """Those that were passed, and no others; one that was not is an error, not something else."""
    with command.created("fds", forever), open(tmp_path / "given", "w+b") as given:
        command("start", "fds")
        place = given.fileno()
        script = f'exec 3<&{place}; test {place} = 3 || exec {place}<&-; exec "$@"'
        call = command.arguments(
            "exec", "--preserve-fds", "1", "fds", "sh", "-c", "echo through >&3; ls /proc/self/fd"
        )
        done = subprocess.run(
            ["bash", "-c", script, "bash", *call],
            pass_fds=(place,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.split() == [b"0", b"1", b"2", b"3", b"4"]
        assert os.pread(place, 99, 0) == b"through\n"
        assert "not passed" in command("exec", "--preserve-fds", "1", "fds", "true", status=255)
