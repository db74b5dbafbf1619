"""A container says that it is ready, and whoever started the command hears it (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import spec
from tests.runtime.boxes import remapped_box, with_process
from tests.runtime.commands import Command, written

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bind of a directory that is root's alone"),
]
READY = (
    "ln -s $NOTIFY_SOCKET /dev/log && busybox logger 'STATUS=soon' && "
    "busybox logger 'x\nREADY=1\nMAINPID=1' && exec sleep {}"
)
"""``logger`` writes its message as one datagram, with its own words before it."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd would listen at; the command is told of it by its environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "host"))
        channel.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "host"))
        yield channel


def saying(bundle: spec.Bundle, seconds: int) -> spec.Bundle:
    return with_process(bundle, args=("sh", "-c", READY.format(seconds)))


def heard(host: socket.socket) -> list[bytes]:
    """The two messages; the barrier is answered."""
    said = [host.recv(4096), host.recv(4096)]
    barrier, fds, _, _ = socket.recv_fds(host, 4096, 1)
    assert barrier == b"BARRIER=1"
    for fd in fds:
        os.close(fd)
    return said


def test_create_and_start(command: Command, bundle: spec.Bundle, host: socket.socket) -> None:
    """``start`` ends when the container is ready, and the host is to watch the container."""
    with command.created("ready", saying(bundle, 1000)) as pid:
        starting = subprocess.Popen(command.arguments("start", "ready"))
        assert heard(host) == [b"READY=1\n", b"MAINPID=%d\n" % pid]
        assert starting.wait(60) == 0
        assert command.status("ready") == "running"


def test_run(command: Command, bundle: spec.Bundle, host: socket.socket) -> None:
    """In the foreground it is the command that is to be watched."""
    own = written(saying(bundle, 1))
    running = subprocess.Popen(command.arguments("--debug", "run", "--bundle", own.path, "ready"))
    assert heard(host) == [b"READY=1\n", b"MAINPID=%d\n" % running.pid]
    assert running.wait(60) == 0


def test_detached(command: Command, bundle: spec.Bundle, host: socket.socket) -> None:
    own = written(saying(bundle, 1000))
    null = subprocess.DEVNULL
    arguments = command.arguments("run", "--detach", "--bundle", own.path, "ready")
    running = subprocess.Popen(arguments, stdin=null, stdout=null, stderr=null)
    assert heard(host)[0] == b"READY=1\n"
    assert running.wait(60) == 0
    command("delete", "--force", "ready")


def test_one_that_ends_without_a_word(command: Command, bundle: spec.Bundle, host: socket.socket) -> None:
    """Nobody waits for it any longer, and the host hears nothing."""
    with command.created("silent", with_process(bundle, args=("true",))):
        command("start", "silent")
    command("run", "--bundle", bundle.path, "silent")
    host.setblocking(False)
    with pytest.raises(BlockingIOError):
        host.recv(1)


def test_in_a_user_namespace(command: Command, bundle: spec.Bundle, host: socket.socket) -> None:
    """Its root could not reach the socket: it runs without, and the log says so."""
    own = written(remapped_box(with_process(bundle, args=("env",))))
    said = command("run", "--bundle", own.path, "other", status=0)
    assert "NOTIFY_SOCKET=" not in said
    assert "cannot say that it is ready" in said
    host.setblocking(False)
