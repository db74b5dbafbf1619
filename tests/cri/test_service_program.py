"""``ociworks cri serve`` as a program: its socket, its end."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire


@contextmanager
def program(place: Path, path: Path | None = None, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The program with directories below ``place``; ended after the block."""
    config = place / "cri.toml"
    lines = [f'{name} = "{place}/{name}"' for name in ("root", "state", "cni_conf_dir", "cni_cache_dir")]
    config.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "ociworks", "cri", "serve", "--config", str(config)]
    command += ["--socket", str(path or place / "cri.sock")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("serving on "), process.communicate()


def version(path: Path) -> api.VersionResponse:
    with grpc.insecure_channel(f"unix:{path}") as channel:
        return wire.RuntimeServiceStub(channel).Version(api.VersionRequest(), timeout=60, wait_for_ready=True)


def test_it_serves_until_told(place: Path) -> None:
    """The socket is the group's at most; SIGTERM ends it in peace, and the socket is gone."""
    path = place / "cri.sock"
    with program(place) as process:
        ready(process)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o660
        assert version(path).runtime_name == "ociworks"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not path.exists()


def test_who_follows_events_sees_their_end(place: Path) -> None:
    """Not a connection that breaks after the seconds that calls under way have."""
    path = place / "cri.sock"
    with program(place) as process, grpc.insecure_channel(f"unix:{path}") as channel:
        ready(process)
        runtime = wire.RuntimeServiceStub(channel)
        stream = runtime.GetContainerEvents(api.GetEventsRequest())
        runtime.Version(api.VersionRequest(), timeout=20)  # later on the same connection: both have arrived
        process.send_signal(signal.SIGTERM)
        assert list(stream) == []


def test_systemd_is_told(place: Path) -> None:
    """READY when it can be asked, STOPPING when it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(place / "notify"))
        inbox.settimeout(60)
        with program(place, NOTIFY_SOCKET=str(place / "notify")) as process:
            ready(process)
            assert inbox.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert inbox.recv(100) == b"STOPPING=1"


def test_a_killed_one_leaves_a_socket_that_the_next_takes(place: Path) -> None:
    """Nobody answers there any more."""
    path = place / "cri.sock"
    with program(place) as process:
        ready(process)
        process.kill()
        process.wait()
    assert path.is_socket()
    with program(place) as process:
        ready(process)
        assert version(path).runtime_name == "ociworks"


@pytest.mark.parametrize("what", ["file", "link", "live", "directory", "open-directory", "long", "second"])
def test_other_things_at_its_path_stay(place: Path, what: str) -> None:
    """Only a dead socket is ever removed; the message says what is there."""
    path = place / "sockets" / "cri.sock"
    path.parent.mkdir(mode=0o700)
    live = socket.socket(socket.AF_UNIX)
    first: subprocess.Popen[str] | None = None
    with live:
        if what == "file":
            path.write_text("precious")
        elif what == "link":
            path.symlink_to(place / "elsewhere")
        elif what == "live":
            live.bind(str(path))
            live.listen()
        elif what == "directory":
            path.mkdir()
        elif what == "open-directory":
            path.parent.chmod(0o777)
        elif what == "long":
            path = path.parent / ("x" * 100)
        other = place / "other"
        other.mkdir()
        with program(other, path) as first:
            if what == "second":
                ready(first)
                with program(place, path) as second:
                    refused(second)
                assert version(path).runtime_name == "ociworks"
            else:
                refused(first)
        if what == "file":
            assert path.read_text() == "precious"
        if what == "link":
            assert path.is_symlink()


def refused(process: subprocess.Popen[str]) -> None:
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.startswith("ociworks: socket: ")
    assert "Traceback" not in complaint
