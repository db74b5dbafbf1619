"""CR-03 to CR-05: ports, ExecSync, and sessions that never end."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.streaming import execsync, remotecommand
from ociworks.errors import CommandNotFound, DeadlinePassed, PodStateError
from ociworks.runtime.attach import Attachment
from tests.cri import streams
from tests.cri.streams import CONTAINER, POD, Node, SpdyClient

V4 = "v4.channel.k8s.io"


# --- CR-03: ports -------------------------------------------------------------------------------------


def test_cr_03_a_pod_that_went_between_token_and_connection(node: Node) -> None:
    import attrs

    url = node.forward()
    node.store.sandboxes.update(POD, lambda record: attrs.evolve(record, phase="removing"))
    with SpdyClient(url) as client:
        assert client.at_end()


def test_cr_03_a_namespace_that_was_replaced(node: Node, tmp_path: Path) -> None:
    import attrs

    def private(record: Any) -> Any:
        return attrs.evolve(record, config=b"", pins=str(tmp_path))

    node.store.sandboxes.update(POD, private)
    with pytest.raises(PodStateError):
        node.forward()
    (tmp_path / "net").symlink_to("/proc/self/ns/net")
    with pytest.raises(PodStateError):
        node.forward()
    (tmp_path / "net").unlink()
    (tmp_path / "net").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as listener, SpdyClient(node.forward()) as client:
        error, data = client.port_streams(listener.getsockname()[1], "0")
        client.until_ended(error, data)
        assert client.received[error]
        assert not client.received[data]
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_cr_03_a_port_that_takes_nothing(node: Node) -> None:
    """The client is not read any more, and its going is noticed all the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener, SpdyClient(node.forward()) as client:
        _, data = client.port_streams(listener.getsockname()[1], "0")
        taken, _ = listener.accept()
        with taken:
            fill(client, data)
            client.reset()
            taken.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                while taken.recv(65536):
                    pass


# --- CR-04: ExecSync ----------------------------------------------------------------------------------


def test_cr_04_a_gibibyte_is_read_and_dropped(node: Node) -> None:
    """Of both streams the cap is kept, the program is never held up, its exit code comes."""
    script = "head -c 300000000 /dev/zero >&2 & head -c 300000000 /dev/zero; wait; exit 9"
    done = node.streaming.exec_sync(CONTAINER, ["sh", "-c", script], 100)
    assert (len(done.stdout), len(done.stderr), done.exit_code) == (execsync.KEPT, execsync.KEPT, 9)


def test_cr_04_who_ignores_signals_is_killed(node: Node) -> None:
    with pytest.raises(DeadlinePassed):
        node.streaming.exec_sync(CONTAINER, ["sh", "-c", "trap '' TERM HUP INT; while :; do :; done"], 1)
    assert node.containers.begun[-1].pidfd == -1


@pytest.mark.parametrize(
    "script",
    [
        "(sleep 1000; sleep 1001) & echo $! >&3; sleep 1000",
        "setsid sh -c 'echo $$ >&3; sleep 1000' & sleep 1000",
        "(setsid sh -c 'echo $$ >&3; sleep 1000' &); sleep 1000",  # its parent is not ours any more
        "(sh -c 'echo $$ >&3; exec >/dev/null 2>&1; sleep 1000' &); sleep 1000",  # in our session only
    ],
)
def test_cr_04_what_it_began_is_killed_with_it(node: Node, tmp_path: Path, script: str) -> None:
    written = tmp_path / "pids"
    with pytest.raises(DeadlinePassed):
        node.streaming.exec_sync(CONTAINER, ["sh", "-c", f"exec 3>{written}; {script}"], 1)
    (pid,) = written.read_text().split()
    try:
        pidfd = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(60_000)
    os.close(pidfd)


def test_cr_04_endless_output_has_a_deadline(node: Node) -> None:
    with pytest.raises(DeadlinePassed):
        node.streaming.exec_sync(CONTAINER, ["sh", "-c", "while :; do echo x; done"], 1)


def test_cr_04_somebody_else_holds_the_pipe_and_writes(node: Node) -> None:
    read, write = os.pipe()
    try:
        script = f"(while kill -0 {os.getpid()} && ! read x <&{read}; do :; done) & yes & echo $!; exit 0"
        done = node.streaming.exec_sync(CONTAINER, ["sh", "-c", script], 0)
    finally:
        os.close(write)
        os.close(read)
    pid = int(done.stdout.split()[0])
    os.kill(pid, 9)
    assert done.exit_code == 0


def test_cr_04_two_hundred_at_once(node: Node) -> None:
    with ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(node.streaming.exec_sync, CONTAINER, ["echo", str(n)], 60) for n in range(200)]
        outputs = {int(call.result().stdout) for call in calls}
    assert outputs == set(range(200))


# --- CR-05: sessions that never end -------------------------------------------------------------------


class Shim:
    """A container's shim that says nothing, with a channel that we see the end of."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours = ours
        self.attachment = Attachment(theirs)

    def wait_closed(self) -> None:
        self.ours.settimeout(60)
        assert self.ours.recv(10) == b""
        self.ours.close()


def fill(client: SpdyClient, stream: int) -> None:
    """Send until nothing more is taken."""
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.raw((struct.pack("!II", stream, 1 << 20) + bytes(1 << 20)) * 100)


def attach(node: Node, **settings: Any) -> tuple[str, Shim]:
    shim = Shim()
    node.containers.attachments.append(shim.attachment)
    request = api.AttachRequest(container_id=CONTAINER, **({"stdout": True} | settings))
    return node.streaming.attach(request), shim


def test_cr_05_execs_that_fail_leave_nothing(node: Node) -> None:
    node.containers.failure = CommandNotFound("nothing: not in the container", step="execve", errno=2)
    for _ in range(100):
        with SpdyClient(node.exec("nothing", tty=True), V4) as client:
            client.command_streams("error", "stdout", "resize")
            client.until_end()


@pytest.mark.parametrize("how", ["close", "reset", "shutdown"])
def test_cr_05_attached_to_silence(node: Node, how: str) -> None:
    for _ in range(50):
        url, shim = attach(node)
        client = SpdyClient(url, V4)
        opened = client.command_streams("error", "stdout")
        while len(client.replies) < len(opened):
            client.frame()
        if how == "shutdown":
            client.socket.shutdown(socket.SHUT_WR)
        getattr(client, "reset" if how == "reset" else "close")()
        shim.wait_closed()


def test_cr_05_the_container_ends_the_attachment(node: Node) -> None:
    url, shim = attach(node)
    with SpdyClient(url, V4) as client:
        opened = client.command_streams("error", "stdout")
        shim.ours.send(b"Olast words")
        client.until(opened["stdout"], b"last words")
        shim.ours.close()
        client.until_end()
    assert b"Success" in client.received[opened["error"]]


def test_cr_05_input_for_a_container_that_never_reads(node: Node) -> None:
    """The client is held up, nothing grows, and its going is noticed without reading on."""
    url, shim = attach(node, stdin=True)
    client = SpdyClient(url, V4)
    opened = client.command_streams("error", "stdin", "stdout")
    fill(client, opened["stdin"])
    client.reset()
    shim.ours.settimeout(60)
    while shim.ours.recv(20000):
        pass
    shim.ours.close()


def test_cr_05_input_for_a_program_that_never_reads(node: Node) -> None:
    client = SpdyClient(node.exec("sleep", "1000", stdin=True), V4)
    opened = client.command_streams("error", "stdin", "stdout")
    fill(client, opened["stdin"])
    client.reset()


def test_cr_05_a_reader_that_stops(tmp_path: Path) -> None:
    """What waits for it is bounded, and after the idle time it is dropped, and its program with it."""
    with streams.node(tmp_path, stream_idle_timeout=1) as node, SpdyClient(node.exec("yes"), V4) as client:
        done = threading.Event()
        node.containers.ended = done.set
        client.command_streams("error", "stdout")
        assert done.wait(60)


def test_cr_05_a_client_that_opens_no_streams(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotecommand, "_OPENING", 0.2)
    with SpdyClient(node.exec("true"), V4) as client:
        client.command_streams("error")
        client.until_end()
    assert not node.containers.begun


def test_cr_05_closing_the_server_ends_sessions(node: Node) -> None:
    with SpdyClient(node.exec("sleep", "1000"), V4) as client:
        opened = client.command_streams("error", "stdout")
        while len(client.replies) < len(opened):
            client.frame()
        node.streaming.close()
        assert client.at_end()
    assert node.containers.begun[-1].pidfd == -1
