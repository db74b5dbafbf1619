"""Exec and attach over SPDY through a real socket, and ExecSync, with programs of the host in place of containers."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.cri._caller import Caller
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.streaming import execsync
from ociworks.errors import CommandNotFound, DeadlinePassed, InvalidRequest, PodNotFound, PodStateError
from tests.cri import streams
from tests.cri.streams import CONTAINER, Node, SpdyClient
from tests.image.authority import Authority

V4 = "v4.channel.k8s.io"


@pytest.fixture
def node(place: Path) -> Iterator[Node]:
    with streams.node(place) as made:
        yield made


def test_exec_relays_all_streams(node: Node) -> None:
    url = node.exec("sh", "-c", "cat; echo oops >&2; exit 3", stdin=True, stderr=True)
    with SpdyClient(url, V4, "v3.channel.k8s.io") as client:
        assert client.status == 101
        assert client.headers["x-stream-protocol-version"] == V4
        opened = client.command_streams("error", "stdin", "stdout", "stderr")
        client.send(opened["stdin"], b"hello ")
        client.send(opened["stdin"], b"world", fin=True)
        client.until_end()
    assert client.replies == set(opened.values())
    assert client.received[opened["stdout"]] == b"hello world"
    assert client.received[opened["stderr"]] == b"oops\n"
    status = json.loads(client.received[opened["error"]])
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert client.ended == set(opened.values())


def test_exec_tells_success(node: Node) -> None:
    with SpdyClient(node.exec("true"), V4) as client:
        opened = client.command_streams("error", "stdout")
        client.until_end()
    assert json.loads(client.received[opened["error"]]) == {"metadata": {}, "status": "Success"}


def test_exec_tells_a_signal(node: Node) -> None:
    with SpdyClient(node.exec("sh", "-c", "kill -9 $$"), V4) as client:
        opened = client.command_streams("error", "stdout")
        client.until_end()
    assert b'"137"' in client.received[opened["error"]]


def test_exec_of_something_that_cannot_run(node: Node) -> None:
    node.containers.failure = CommandNotFound("nothing: not in the container", step="execve", errno=2)
    with SpdyClient(node.exec("nothing"), V4) as client:
        opened = client.command_streams("error", "stdout")
        client.until_end()
    status = json.loads(client.received[opened["error"]])
    assert status["reason"] == "InternalError"
    assert "nothing" in status["message"]


def test_older_versions_read_words(node: Node) -> None:
    with SpdyClient(node.exec("false")) as client:
        assert "x-stream-protocol-version" not in client.headers
        opened = client.command_streams("error", "stdout")
        client.until_end()
    assert client.received[opened["error"]] == b"command terminated with exit code 1"


def test_exec_with_a_terminal(node: Node) -> None:
    url = node.exec("sh", "-c", "echo up; read x; stty size", tty=True, stdin=True)
    with SpdyClient(url, V4) as client:
        opened = client.command_streams("error", "stdin", "stdout", "resize")
        client.until(opened["stdout"], b"up")
        client.send(opened["resize"], b'{"Width":99,"Height":33}\n{"Width":100,"Hei')
        client.send(opened["resize"], b'ght":40}\n')
        client.send(opened["stdin"], b"\n")
        client.until(opened["stdout"], b"40 100")
        client.until_end()


def test_large_output_is_whole(node: Node) -> None:
    with SpdyClient(node.exec("head", "-c", "5000000", "/dev/zero"), V4) as client:
        opened = client.command_streams("error", "stdout")
        client.until_end()
    assert client.received[opened["stdout"]] == bytes(5_000_000)


def test_large_input_is_whole(node: Node) -> None:
    with SpdyClient(node.exec("wc", "-c", stdin=True), V4) as client:
        opened = client.command_streams("error", "stdin", "stdout")
        for _ in range(50):
            client.send(opened["stdin"], bytes(100_000))
        client.send(opened["stdin"], b"", fin=True)
        client.until_end()
    assert client.received[opened["stdout"]].strip() == b"5000000"


def test_only_v5_over_spdy_is_refused_with_what_is_known(node: Node) -> None:
    with SpdyClient(node.exec("true"), "v5.channel.k8s.io") as client:
        assert client.status == 403
        assert "x-accepted-stream-protocol-versions" in client.headers


def test_a_ping_comes_back(node: Node) -> None:
    with SpdyClient(node.exec("cat", stdin=True), V4) as client:
        opened = client.command_streams("error", "stdin", "stdout")
        client.control(6, b"\0\0\0\x07")
        client.send(opened["stdin"], b"x", fin=True)
        client.until_end()
    assert client.received[opened["stdout"]] == b"x"


@pytest.mark.parametrize(
    "request_",
    [
        api.ExecRequest(container_id=CONTAINER, cmd=["sh"]),
        api.ExecRequest(container_id=CONTAINER, cmd=["sh"], tty=True, stdout=True, stderr=True),
        api.ExecRequest(container_id=CONTAINER, stdout=True),
    ],
)
def test_requests_that_make_no_sense(node: Node, request_: api.ExecRequest) -> None:
    with pytest.raises(InvalidRequest):
        node.streaming.exec(request_)


def test_only_running_containers(node: Node) -> None:
    with pytest.raises(PodNotFound):
        node.streaming.exec(api.ExecRequest(container_id="d" * 64, cmd=["sh"], stdout=True))
    node.store.containers.update(CONTAINER, lambda _: streams.container_record(phase="exited"))
    with pytest.raises(PodStateError):
        node.exec("sh")


def test_exec_sync(node: Node) -> None:
    done = node.streaming.exec_sync(CONTAINER, ["sh", "-c", "echo out; echo err >&2; exit 7"], 0)
    assert done == api.ExecSyncResponse(stdout=b"out\n", stderr=b"err\n", exit_code=7)


def test_exec_sync_keeps_so_much(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execsync, "KEPT", 100_000)
    command = ["sh", "-c", "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 4"]
    done = node.streaming.exec_sync(CONTAINER, command, 20)
    assert (len(done.stdout), len(done.stderr), done.exit_code) == (100_000, 100_000, 4)


def test_exec_sync_in_time(node: Node) -> None:
    with pytest.raises(DeadlinePassed):
        node.streaming.exec_sync(CONTAINER, ["sleep", "100"], 1)


def test_exec_sync_does_not_wait_for_who_holds_the_pipe(node: Node) -> None:
    done = node.streaming.exec_sync(CONTAINER, ["sh", "-c", "sleep 2 & echo done"], 0)
    assert done.stdout == b"done\n"


def test_tls(place: Path) -> None:
    authority = Authority(place / "authority")
    cert, key = map(str, authority.issue("localhost"))
    context = ssl.create_default_context(cafile=authority.certificate)
    with streams.node(place, stream_tls_cert=cert, stream_tls_key=key) as node:
        url = node.exec("sh", "-c", "cat; exit 3", stdin=True)
        assert url.startswith("https://127.0.0.1:")
        with SpdyClient(url, V4, context=context, headers=["Host: kubelet.example"]) as client:
            opened = client.command_streams("error", "stdin", "stdout")
            client.send(opened["stdin"], bytes(300_000), fin=True)
            client.until_end()
        assert client.received[opened["stdout"]] == bytes(300_000)
        assert b'"3"' in client.received[opened["error"]]


def test_an_exec_sync_ends_with_its_caller(node: Node) -> None:
    caller, begun = Caller(), threading.Event()

    def call() -> None:
        with caller.waiting(), pytest.raises(DeadlinePassed):
            node.streaming.exec_sync(CONTAINER, ["sleep", "1000"], 0)
        begun.set()

    thread = threading.Thread(target=call)
    thread.start()
    caller.leave()
    thread.join()
    assert begun.is_set()
    assert node.containers.begun[-1].pidfd == -1
