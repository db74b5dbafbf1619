"""``ociworks registry serve`` as a program."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from ociworks import testing
from ociworks.cli import main
from ociworks.cli._units import address
from ociworks.errors import SpecError
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS
from ociworks.image.remote import ClientOptions
from ociworks.spec import Digest
from tests.image.authority import self_signed
from tests.testing.http import ask, start_upload


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server in a process of its own, and ``host:port``."""
    command = [sys.executable, "-m", "ociworks", "registry", "serve", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            match = re.fullmatch(r"serving on (https?://127\.0\.0\.1:[0-9]+)(?:, in memory)?\n", line)
            assert match, (
                line,
                process.stderr.read() if process.poll() is not None and process.stderr else "",
            )
            yield process, urlsplit(match[1]).netloc
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    image = testing.random_image(2)
    with (
        serving("--dir", str(tmp_path / "r")) as (process, host),
        remote.Client(keychain=ANONYMOUS) as client,
    ):
        client.push(image, f"{host}/app:1")
        process.send_signal(number)
        out, log = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
        assert re.search(
            r"^127\.0\.0\.1 PUT /v2/app/manifests/1 201 in=[0-9]+ out=0 [0-9.]+s$", log, re.MULTILINE
        )
    with serving("--dir", str(tmp_path / "r"), "--read-only", "-q") as (process, host):
        with remote.Client(keychain=ANONYMOUS) as client:
            assert client.image(f"{host}/app:1").digest == image.digest
        process.terminate()
        assert process.communicate(timeout=60) == ("", "")


def test_a_request_under_way_gets_to_its_end(tmp_path: Path) -> None:
    """The signal comes in the middle of a body; its sender still gets 201."""
    with serving("--dir", str(tmp_path / "r"), "-q") as (process, host):
        name, _, port = host.rpartition(":")
        with (
            socket.create_connection((name, int(port)), timeout=60) as sock,
            socket.create_connection((name, int(port)), timeout=60) as idle,
        ):
            digest = Digest.of(b"body")
            sock.sendall(
                f"POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\n"
                "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n".encode()
            )
            assert sock.recv(100).startswith(b"HTTP/1.1 100 ")  # it is being answered now
            process.terminate()
            with contextlib.suppress(ConnectionResetError):  # it may not have been accepted yet
                assert idle.recv(100) == b""
            sock.sendall(b"body")
            assert sock.recv(1000).startswith(b"HTTP/1.1 201 ")
        assert process.wait(60) == 0


def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL in the middle of an upload: what was acknowledged is there, and the upload goes on."""
    image, content = testing.random_image(2), b"0123456789" * 1000
    with serving("--dir", str(tmp_path / "r"), "-q") as (process, host):
        with remote.Client(keychain=ANONYMOUS) as client:
            client.push(image, f"{host}/app:1")
        location = start_upload(At(host))
        assert ask(At(host), "PATCH", location, content[:5000]).status == 202
        process.kill()
        process.wait(60)
    with serving("--dir", str(tmp_path / "r"), "-q") as (process, host):
        assert ask(At(host), "GET", location).headers["range"] == "0-4999"
        answer = ask(At(host), "PUT", f"{location}?digest={Digest.of(content)}", content[5000:])
        assert answer.status == 201
        assert ask(At(host), "GET", answer.headers["location"]).body == content
        with remote.Client(keychain=ANONYMOUS) as client:
            assert client.image(f"{host}/app:1").digest == image.digest


class At(NamedTuple):
    """Where a registry is."""

    host: str


def test_cl_04_the_log_cannot_act_on_a_terminal() -> None:
    with serving() as (process, host):
        name, _, port = host.rpartition(":")
        with socket.create_connection((name, int(port)), timeout=60) as sock:
            target = b"/v2/\x1b]0;title\x07\x9b2J\xe2\x80\xae" + b"a" * 5000
            sock.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = sock.recv(1000)
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
    assert all(line.isprintable() and len(line) < 1500 for line in log.splitlines())


def test_https(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    image = testing.random_image(1)
    with serving("--tls-cert", certificate, "--tls-key", certificate) as (_, host):
        options = ClientOptions(ca_file=certificate, https=[host])
        with remote.Client(keychain=ANONYMOUS, options=options) as client:
            client.push(image, f"{host}/app:1")
            assert client.image(f"{host}/app:1").digest == image.digest


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tls-cert", "x"],
        ["--tls-key", "x"],
        ["--htpasswd", "/no/such/file"],
        ["--tls-cert", "/no", "--tls-key", "/no"],
    ],
)
def test_what_cannot_be_served(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registry", "serve", "--listen", "127.0.0.1:0", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ociworks: ")
    assert captured.err.count("\n") == 1


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with testing.Registry() as registry:
        assert main(["registry", "serve", "--listen", registry.host, "--dir", str(tmp_path / "r")]) == 1
    assert capsys.readouterr().err.startswith("ociworks: ")
    os.rename(tmp_path / "r/ociworks-registry", tmp_path / "moved")  # nothing holds it any more


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:5000", ("127.0.0.1", 5000)), ("[::1]:0", ("::1", 0)), ("localhost:1", ("localhost", 1))],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5000", ":5000", "a:", "a:65536", "a:-1", "a:1x", "::1:5", "a b:1", "[x]:1", "a:٣"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(SpecError):
        address(text)
