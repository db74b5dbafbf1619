"""Details of the command line that clients of runc count on."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from ociworks import spec
from ociworks.runtime import cgroups
from tests.runtime.boxes import with_linux, with_process
from tests.runtime.commands import Command, written

FOREVER = ("sleep", "1000")


def shared_pids(bundle: spec.Bundle) -> spec.Bundle:
    """The bundle with the PID namespace of the host."""
    assert bundle.spec.linux is not None
    kept = tuple(each for each in bundle.spec.linux.namespaces if each.type != "pid")
    return with_linux(bundle, namespaces=kept)


def received(listening: socket.socket) -> tuple[str, int]:
    """The name and the descriptor that somebody sent."""
    listening.settimeout(30)
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(30)
        name, fds, _, _ = socket.recv_fds(connection, 100, 1)
    return name.decode(), fds[0]


def test_before_the_start(command: Command, forever: spec.Bundle) -> None:
    """A created container takes programs; one that was paused then goes on being created."""
    with command.created("early", forever):
        assert command("exec", "early", "echo", "hello") == "hello\n"
        command("pause", "early")
        assert command.status("early") == "paused"
        assert "paused" in command.fails("start", "early")["msg"]
        command("resume", "early")
        assert command.status("early") == "created"
        command("start", "early")
        assert command.status("early") == "running"


def test_a_signal_that_only_asks(command: Command, forever: spec.Bundle) -> None:
    with command.running("ask", forever) as pid:
        command("kill", "ask", "0")
        with closing_fd(os.pidfd_open(pid)) as pidfd:
            command("kill", "ask", "KILL")
            select.select([pidfd], [], [], 30)
        assert command.fails("kill", "ask", "0")["msg"] == "container not running"


class closing_fd:  # noqa: N801 - used as a function
    """A descriptor that is closed at the end of the block."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def test_what_outlives_the_first_process(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """Without a PID namespace of the container's own, KILL ends also those who are left when the first has ended."""
    with command.running("left", shared_pids(forever)) as pid:
        command.quiet("exec", "--detach", "--pid-file", tmp_path / "other", "left", *FOREVER)
        with (
            closing_fd(os.pidfd_open(pid)) as first,
            closing_fd(os.pidfd_open(int((tmp_path / "other").read_text()))) as other,
        ):
            signal.pidfd_send_signal(first, signal.SIGKILL)
            assert select.select([first], [], [], 30)[0]
            assert command.fails("kill", "left", "TERM")["msg"] == "container not running"
            assert not select.select([other], [], [], 0)[0]
            command("kill", "left", "KILL")
            assert select.select([other], [], [], 30)[0]
        assert command.fails("kill", "left", "KILL")["msg"] == "container not running"


def test_a_pidfd_for_whoever_asks(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """It is of the first process, or of the program of an exec, and works as long as that lives."""
    path = tmp_path / "pidfd"
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        listening.listen()
        with command.created("told", forever, "--pidfd-socket", path) as pid:
            name, fd = received(listening)
            with closing_fd(fd):
                assert (name, pid_behind(fd)) == ("pidfd", pid)
            command("start", "told")
            flags = ("--detach", "--pid-file", tmp_path / "other", "--pidfd-socket", path)
            command.quiet("exec", *flags, "told", *FOREVER)
            with closing_fd(received(listening)[1]) as fd:
                assert pid_behind(fd) == int((tmp_path / "other").read_text())
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                assert select.select([fd], [], [], 30)[0]
    assert (
        "expected a socket"
        in command.fails("create", "--bundle", written(forever).path, "--pidfd-socket", command.path, "x")[
            "msg"
        ]
    )


def pid_behind(fd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def test_a_root_that_is_not_there(command: Command, tmp_path: Path) -> None:
    """One that was named must exist to be listed; who names none has no containers yet."""
    done = subprocess.run(
        [command.path, "--root", tmp_path / "none", "list"], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert b"no such file or directory" in done.stderr


def test_debugging(command: Command, bundle: spec.Bundle) -> None:
    """Steps go to the log, what was executed with them does not."""
    box = written(with_process(bundle, args=("true",), env=("SECRET=hidden",)))
    command.log.unlink(missing_ok=True)
    said = command("--debug", "--log", command.log, "run", "--bundle", box.path, "told")
    lines = command.log.read_text().splitlines()
    assert not said
    assert all(" level=debug " in line for line in lines)
    for expected in ("begun by process", "pivot", "container told: started", "ended with status 0"):
        assert any(expected in line for line in lines)
    assert not any("hidden" in line for line in lines)
    assert "level=debug" in command("--debug", "list")


def test_without_control_groups(command: Command, bundle: spec.Bundle) -> None:
    """``--rootless`` is one of three words; false wants control groups."""
    box = written(with_process(bundle, args=("true",)))
    for word in ("true", "auto", *(["false"] if cgroups.detect().available else [])):
        command("--rootless", word, "run", "--bundle", box.path, "rootless")
    assert "true, false or auto" in command("--rootless", "maybe", "run", "-b", box.path, "x", status=1)


def test_documents_from_a_pipe(command: Command, forever: spec.Bundle) -> None:
    """What a shell makes of ``<(…)``."""
    assert forever.spec.process is not None
    process = spec.to_json(attrs.evolve(forever.spec.process, args=("echo", "piped"))).decode()
    with command.running("piped", forever):
        line = 'exec "$0" --root "$1" exec --process <(printf %s "$2") piped'
        done = subprocess.run(
            ["bash", "-c", line, str(command.path), str(command.root), process],
            capture_output=True,
            check=False,
            timeout=60,
            text=True,
        )
        assert (done.returncode, done.stdout) == (0, "piped\n"), done.stderr


def test_a_terminal_when_every_stream_is_redirected(command: Command, bundle: spec.Bundle) -> None:
    """There is still the controlling one."""
    box = written(with_process(bundle, args=("tty",), terminal=True))
    master, slave = pty.openpty()
    line = 'exec setsid --ctty "$0" -c \'exec "$0" "$@" </dev/null 2>/dev/null | cat >"$OUT"\' "$@" <"$PTY"'
    out = command.root.parent / "out"
    environment = {**os.environ, "PTY": os.ttyname(slave), "OUT": str(out)}
    arguments = command.arguments("run", "--bundle", box.path, "seat")
    subprocess.run(["sh", "-c", line, "sh", *arguments], env=environment, check=True, timeout=60)
    os.close(slave)
    os.close(master)
    assert out.read_text().startswith("/dev/")


def test_a_home_and_streams_of_its_own(command: Command, bundle: spec.Bundle) -> None:
    """Without ``HOME`` it is that of the container's list of users; who reads from a pipe may open it by name."""
    (bundle.rootfs / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nnew:x:1000:1000::/home/user:/bin/sh\n"
    )
    say = ("sh", "-c", "echo $HOME >/dev/stdout")
    homes = {
        (0, ()): "/root",
        (1000, ("HOME=",)): "/home/user",
        (7, ()): "/",
        (1000, ("HOME=/x",)): "/x",
        (0, ("HOME=/x", "HOME=")): "/root",
    }
    for (uid, env), home in homes.items():
        assert bundle.spec.process is not None
        own = (*bundle.spec.process.env, *env)
        box = written(with_process(bundle, args=say, env=own, user=spec.runtime.User(uid=uid, gid=uid)))
        assert command("run", "--bundle", box.path, "home") == f"{home}\n"
    with command.running("home", with_process(bundle, args=FOREVER)):
        assert command("exec", "--user", "1000", "home", *say) == "/home/user\n"


def test_a_home_in_a_list_of_users_that_is_hostile(command: Command, bundle: spec.Bundle) -> None:
    """No list, however it is made, keeps a program from running."""
    users = bundle.rootfs / "etc/passwd"
    say = with_process(bundle, args=("sh", "-c", "echo $HOME"))
    users.unlink()
    os.mkfifo(users)
    assert command("run", "--bundle", written(say).path, "fifo") == "/\n"
    users.unlink()
    users.symlink_to("/dev/zero")
    assert command("run", "--bundle", written(say).path, "zero") == "/\n"
    users.unlink()
    users.write_bytes(b"root:x:0:0::/a\0b:/bin/sh\n" + b":" * (3 << 20))
    assert command("run", "--bundle", written(say).path, "long") == "/ab\n"


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
@pytest.mark.parametrize("rootless", [False, True])
def test_the_first_configuration(command: Command, tmp_path: Path, *, rootless: bool) -> None:
    """Tools edit what ``spec`` writes, so it has what runc's has: the same members, mounts, rights and namespaces."""
    flags = ["--rootless"] if rootless else []
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    command("spec", *flags, "--bundle", tmp_path / "ours")
    subprocess.run(["runc", "spec", *flags, "--bundle", tmp_path / "theirs"], check=True, timeout=60)
    ours, theirs = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("ours", "theirs"))
    del theirs["process"]["capabilities"]["ambient"]  # newer ones have none either
    assert not spec.validate(spec.Bundle.load(tmp_path / "ours").spec)
    assert sorted(ours) == sorted(theirs)
    assert ours["process"] == theirs["process"]
    assert ours["root"] == theirs["root"]
    assert [(each["destination"], each["type"]) for each in ours["mounts"]] == [
        (each["destination"], each["type"]) for each in theirs["mounts"]
    ]
    assert sorted(ours["linux"]) == sorted(theirs["linux"])
    for same in ("namespaces", "resources", "uidMappings", "gidMappings", "readonlyPaths"):
        assert ours["linux"].get(same) == theirs["linux"].get(same)
    assert set(ours["linux"]["maskedPaths"]) > set(theirs["linux"]["maskedPaths"])


def test_cpus_of_the_caller(command: Command, bundle: spec.Bundle) -> None:
    """Who calls from one CPU (taskset(1)) does not bind the container to it."""
    count = os.sysconf("SC_NPROCESSORS_CONF")
    if count < 2:
        pytest.skip("this machine has one CPU")
    box = with_process(bundle, args=("grep", "Cpus_allowed_list", "/proc/self/status"))
    said = command("run", "--bundle", written(box).path, "free")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert command("run", "--bundle", box.path, "bound") == said
        with command.running("bound", with_process(bundle, args=FOREVER)):
            assert command("exec", "bound", "grep", "Cpus_allowed_list", "/proc/self/status") == said
    finally:
        os.sched_setaffinity(0, before)


def test_every_namespace_of_another_container(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """One that joins all of them is in a control group of its own, whatever its path looks like from in there."""
    files = {"network": "net", "mount": "mnt"}
    with command.running("first", forever) as pid:
        assert forever.spec.linux is not None
        joined = tuple(
            attrs.evolve(each, path=f"/proc/{pid}/ns/{files.get(each.type, each.type)}")
            if each.type != "mount"
            else each
            for each in forever.spec.linux.namespaces
        )
        second = with_linux(forever, namespaces=joined)
        with command.running("second", second) as other:
            groups = Path(f"/proc/{other}/cgroup").read_text()
            assert os.readlink(f"/proc/{other}/ns/cgroup") == os.readlink(f"/proc/{pid}/ns/cgroup")
            assert "/second" in groups
            assert "/first" not in groups


@pytest.mark.interop
@pytest.mark.root
@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: control groups of two runtimes")
def test_statistics_have_the_members_of_runc(command: Command, forever: spec.Bundle, tmp_path: Path) -> None:
    """Every member that runc's have on this host, of the same kind, and the same processors and nodes."""
    runc = ["runc", "--root", str(tmp_path / "runc")]
    null = subprocess.DEVNULL
    with command.running("ours", forever):
        ours = command.json("events", "--stats", "ours")["data"]
        create = [*runc, "run", "--detach", "--bundle", str(forever.path), f"theirs-{os.getpid()}"]
        subprocess.run(create, check=True, timeout=60, stdin=null, stdout=null, stderr=null)
        try:
            said = subprocess.run(
                [*runc, "events", "--stats", create[-1]], check=True, capture_output=True, timeout=60
            ).stdout
        finally:
            subprocess.run([*runc, "delete", "--force", create[-1]], check=True, timeout=60)
    theirs = json.loads(said)["data"]
    assert not missing(ours, theirs)
    assert ours["cpuset"] == {**ours["cpuset"], **theirs["cpuset"]}
    assert len(ours["cpu"]["usage"].get("percpu_user", ())) == len(
        theirs["cpu"]["usage"].get("percpu_user", ())
    )


def missing(ours: object, theirs: object, at: str = "$") -> list[str]:
    """Where ``theirs`` has a member that ``ours`` has not, or another kind of value."""
    if not isinstance(theirs, dict):
        return [] if isinstance(ours, type(theirs)) else [at]
    if not isinstance(ours, dict):
        return [at]
    return [
        place
        for name, value in theirs.items()
        for place in (missing(ours[name], value, f"{at}.{name}") if name in ours else [f"{at}.{name}"])
    ]
