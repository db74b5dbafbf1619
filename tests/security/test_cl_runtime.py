"""Attacks CL-01…06 on the command ``ociworks-runtime``: names, files, sockets, log lines, options and signals."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import state
from ociworks.runtime.cli import _files, _flags, _log, _process, _tty, _words, main
from ociworks.runtime.console import Console
from ociworks.spec.runtime import User
from tests.runtime.boxes import box, with_process
from tests.runtime.commands import Command, program, written

NAMES = ["../x", "/x", ".", "..", "", "a/b", "a\nb", "x\n", "x" * 1025, "ｉｄ", "@x", "a b", "\x1b]0;x\x07"]
SIGNALS = ["0", "65", "KILL\n", "-9", "9 ", "１", "SIGNOPE", "", "SIGRTMIN+99"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def command(tmp_path: Path, root: Path) -> Command:
    return Command(program(tmp_path), root, tmp_path / "log")


@pytest.fixture
def forever(tmp_path: Path) -> spec.Bundle:
    return written(with_process(box(tmp_path / "bundle"), args=("sleep", "1000")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verb", ["state", "delete", "start", "kill"])
def test_cl_01_names_that_are_no_ids(
    root: Path, name: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One harmless directory name or nothing happens; what was asked for is on one line."""
    canary = root.parent / "x"
    canary.mkdir()
    assert main(None, ["--root", str(root), verb, "--", name]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.isascii()
    assert canary.is_dir()
    assert list(root.iterdir()) == []


def test_cl_01_no_search_by_prefix(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "longname").mkdir(mode=0o700)
    for name in ("long", "l", "LONGNAME"):
        assert main(None, ["--root", str(root), "delete", "--force", name]) == 0
    assert (root / "longname").is_dir()


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_cl_02_a_pid_file_replaces_what_is_there(tmp_path: Path, kind: str) -> None:
    """Neither a link is followed nor a FIFO waited for."""
    canary = tmp_path / "canary"
    canary.write_text("as it was")
    target = tmp_path / "pid"
    if kind == "link":
        target.symlink_to(canary)
    else:
        os.mkfifo(target)
    _files.write_pid(str(target), 77)
    assert target.is_file()
    assert not target.is_symlink()
    assert target.read_text() == "77"
    assert canary.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "pid"]
    with pytest.raises(ValueError, match="name"):
        _files.write_pid("", 1)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "foreign"])
def test_cl_02_a_log_that_is_none_of_ours(
    tmp_path: Path, root: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("as it was")
    target = tmp_path / "log"
    if kind == "link":
        target.symlink_to(canary)
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "directory":
        target.mkdir()
    elif os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    else:
        target.touch()
        os.chown(target, 12345, 12345)
    assert main(None, ["--root", str(root), "--log", str(target), "state", "x"]) == 1
    assert "log" in capsys.readouterr().err
    assert canary.read_text() == "as it was"


def test_cl_02_documents_are_bounded_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises((ValueError, OSError)):
            _files.read_document(str(tmp_path / name))
    with (tmp_path / "large").open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(ValueError, match="larger"):
        _files.read_document(str(tmp_path / "large"))


def test_cl_02_a_state_root_of_somebody_else(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root.chmod(0o770)
    for verb in (["state", "x"], ["list"], ["delete", "--force", "x"]):
        assert main(None, ["--root", str(root), *verb]) == 1
        assert "state root" in capsys.readouterr().err


def test_cl_03_sockets_that_are_none(tmp_path: Path) -> None:
    """A link, a file and a socket that does not go with what is asked for are refused before anything is made."""
    regular = tmp_path / "file"
    regular.touch()
    link = tmp_path / "link"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        link.symlink_to("s")
        for path in (regular, link):
            with pytest.raises(ValueError, match="expected a socket"):
                _tty.check_socket(str(path), terminal=True, detach=True)
        with pytest.raises(ValueError, match="cannot use console socket"):
            _tty.check_socket(str(tmp_path / "s"), terminal=False, detach=True)
        with pytest.raises(ValueError, match="without setting console socket"):
            _tty.check_socket("", terminal=True, detach=True)


def test_cl_03_exactly_one_descriptor_is_sent(tmp_path: Path) -> None:
    """The master and nothing else; a peer that closes at once is no reason to hang."""
    master, slave = os.openpty()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        _tty.send_console(str(tmp_path / "s"), Console(master))
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 4096, 8)
            assert connection.recv(10) == b""
        assert len(fds) == 1
        assert os.path.sameopenfile(fds[0], master)
        os.close(fds[0])
    with pytest.raises(OSError, match="refused"):
        _tty.send_console(str(tmp_path / "s"), Console(master))
    os.close(slave)
    os.close(master)


HOSTILE = [
    "\x1b]0;title\x07", "\x1b[2J", "a\nlevel=error", "\r", "\x9b31m", "\u202e", "\u200b", "x" * 100_000, "\x7f", '"',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", ["text", "json"])
def test_cl_04_a_record_is_one_line(
    tmp_path: Path, text: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a message holds, it is one record of printable ASCII, and in JSON one object."""
    log = _log.Log()
    options, _ = _flags.parse(
        "", {"log": ("text", "", ""), "log-format": ("text", "", ""), "debug": ("bool", "", "")},
        ["--log", str(tmp_path / "log"), "--log-format", form],
    )  # fmt: skip
    log.configure(options)
    assert log.fatal(_words.of(errors.ContainerError(text)), 1) == 1
    for written_text in ((tmp_path / "log").read_text(), capsys.readouterr().err):
        assert written_text.endswith("\n")
        assert written_text[:-1].isascii()
        assert written_text[:-1].isprintable()
        assert len(written_text) < 70_000
    if form == "json":
        assert json.loads((tmp_path / "log").read_text())["level"] == "error"


@pytest.mark.parametrize(
    ("text", "ids"), [("1", (1, 5)), ("1:2", (1, 2)), ("0", (0, 5)), ("4294967294:0", (4294967294, 0))]
)
def test_cl_05_users(text: str, ids: tuple[int, int]) -> None:
    """A number alone is the user; the group stays what it was."""
    user = _process.user_of(User(uid=4, gid=5), text, [])
    assert (user.uid, user.gid) == ids


@pytest.mark.parametrize(
    "text", ["", "1:", ":1", "root", "root:", "-1", "4294967295", "4294967296", " 1", "1:2:3", "01", "１"]
)
def test_cl_05_users_that_are_none(text: str) -> None:
    with pytest.raises(errors.SpecError):
        _process.user_of(User(), text, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--preserve-fds", "-1"], ["--preserve-fds", "5"], ["--env", "A"], ["--env", "=x"], ["--cwd", "relative"],
        ["--cap", "all"], ["-u", "1:"], ["--cgroup", "../x"], ["--cgroup", "a:b:c"],
    ],
)  # fmt: skip
@pytest.mark.root
def test_cl_05_options_that_mean_nothing(
    command: Command, forever: spec.Bundle, arguments: list[str]
) -> None:
    """Refused with a reason; nothing runs."""
    with command.running("cl05", forever):
        command.fails("exec", *arguments, "cl05", "touch", "/ran", status=255)
        assert not (forever.rootfs / "ran").exists()


@pytest.mark.parametrize("text", SIGNALS)
def test_cl_06_signals_from_a_closed_table(root: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    from ociworks.spec.signals import signal_number

    with pytest.raises(errors.SpecError):
        signal_number(text)


@pytest.mark.root
def test_cl_06_a_recycled_pid_gets_no_signal(command: Command, forever: spec.Bundle) -> None:
    """A pid with another start time is somebody else."""
    with command.running("cl06", forever), subprocess.Popen(["sleep", "1000"]) as bystander:
        path = command.root / "cl06/state.json"
        kept = path.read_text()
        document = json.loads(kept)
        document["pid"], document["startTime"] = bystander.pid, state.start_time(bystander.pid) - 1
        path.write_text(json.dumps(document))
        assert command.status("cl06") == "stopped"
        assert command.fails("kill", "cl06", "KILL")["msg"] == "container not running"
        assert bystander.poll() is None
        bystander.kill()
        path.write_text(kept)


@pytest.mark.root
def test_cl_06_two_deletes_and_a_delete_during_create(command: Command, forever: spec.Bundle) -> None:
    """Whoever comes second finds nothing left to do; nobody is stuck and nothing remains."""
    command.quiet("create", "--bundle", forever.path, "cl06b")
    threads = [threading.Thread(target=command, args=("delete", "--force", "cl06b")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(command.root.iterdir()) == []
    (command.root / "making").mkdir(mode=0o700)
    with state.Lock(str(command.root), "making"):
        waiting = subprocess.Popen(command.arguments("delete", "--force", "making"))
        assert (command.root / "making").is_dir()
        assert waiting.poll() is None
    assert waiting.wait(60) == 0
    assert list(command.root.iterdir()) == []
