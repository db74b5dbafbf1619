"""Streams of real containers of ociworks and of runc, through gRPC and the streaming server; kubectl as a client."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ociworks import testing
from ociworks.cri import CriService, Handler
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.spec import FrozenDict
from tests.cri.nodes import IMAGE, Client, config_below, container_config, pod_config, serving
from tests.cri.stands import until
from tests.cri.streams import SpdyClient, WebSocketClient
from tests.interop.kube import Kubectl, Query, kubectl

pytestmark = pytest.mark.root
DAEMON = "(busybox setsid sleep 1001 </dev/null >/dev/null 2>&1 &);"
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


class Pod:
    """A pod of one server, with the containers that a test wants."""

    def __init__(self, client: Client, place: Path, handler: str) -> None:
        self.client, self.place = client, place
        self.config = pod_config(place)
        request = api.RunPodSandboxRequest(config=self.config, runtime_handler=handler)
        self.id = client.runtime.RunPodSandbox(request).pod_sandbox_id

    def run(self, *command: str, **settings: Any) -> str:
        config = container_config(*command, **settings)
        made = self.client.runtime.CreateContainer(
            api.CreateContainerRequest(pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        )
        self.client.runtime.StartContainer(api.StartContainerRequest(container_id=made.container_id))
        return str(made.container_id)

    def exec_sync(self, id: str, *command: str, timeout: int = 0) -> api.ExecSyncResponse:
        request = api.ExecSyncRequest(container_id=id, cmd=command, timeout=timeout)
        response: api.ExecSyncResponse = self.client.runtime.ExecSync(request)
        return response

    def remove(self) -> None:
        self.client.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=self.id))
        self.client.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=self.id))


@pytest.fixture(params=["", "runc"])
def pod(request: pytest.FixtureRequest, place: Path, registry: testing.Registry) -> Iterator[Pod]:
    runc = shutil.which("runc")
    if request.param and runc is None:
        pytest.skip("runc is not installed")
    handlers = FrozenDict({"runc": Handler(program=str(runc))} if request.param else {})
    config = config_below(place, registry.url, handlers=handlers)
    with CriService(config) as service, serving(service, place) as client:
        client.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
        made = Pod(client, place, request.param)
        try:
            yield made
        finally:
            made.remove()


def test_exec_sync(pod: Pod) -> None:
    main = pod.run("sleep", "1000")
    done = pod.exec_sync(main, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 7)
    with pytest.raises(grpc.RpcError) as caught:
        pod.exec_sync(main, "sh", "-c", "(sh -c 'exec >/dev/null 2>&1; sleep 1001' &); sleep 1002", timeout=1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    left = pod.exec_sync(main, "ps").stdout
    assert b"sleep 1000" in left
    assert b"sleep 1001" not in left
    assert b"sleep 1002" not in left


@pytest.mark.parametrize("pod", [""], indirect=True)
def test_daemons_of_an_exec_sync(pod: Pod) -> None:
    """What has left parent, session and streams is killed with it, though not what another one left behind."""
    main = pod.run("sleep", "1000")
    processes = pod.client.node.containers.open(main).processes
    assert pod.exec_sync(main, "sh", "-c", f"{DAEMON} echo done").stdout == b"done\n"
    until(lambda: len(processes()) == 2)
    before = set(processes())
    with pytest.raises(grpc.RpcError) as caught:
        pod.exec_sync(main, "sh", "-c", f"{DAEMON} echo done; sleep 1002", timeout=1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: set(processes()) == before)


def test_exec(pod: Pod) -> None:
    main = pod.run("sleep", "1000")
    request = api.ExecRequest(container_id=main, cmd=["sh", "-c", "cat; exit 3"], stdin=True, stdout=True)
    with SpdyClient(pod.client.runtime.Exec(request).url, V4) as client:
        opened = client.command_streams("error", "stdin", "stdout")
        client.send(opened["stdin"], b"hello", fin=True)
        client.until_end()
    assert client.received[opened["stdout"]] == b"hello"
    assert b'"3"' in client.received[opened["error"]]


def test_exec_with_a_terminal(pod: Pod) -> None:
    main = pod.run("sleep", "1000")
    script = "trap 'stty size; exit 0' WINCH; echo up; while :; do read x; done"
    request = api.ExecRequest(container_id=main, cmd=["sh", "-c", script], tty=True, stdin=True, stdout=True)
    with WebSocketClient(pod.client.runtime.Exec(request).url, V5) as client:
        client.until(1, b"up")
        client.send(4, b'{"Width":100,"Height":40}')
        client.send(0, b"\n")
        client.until_end()
    assert b'"Success"' in client.channels[3]


def test_a_program_that_is_not_there(pod: Pod) -> None:
    main = pod.run("sleep", "1000")
    request = api.ExecRequest(container_id=main, cmd=["/nowhere"], stdout=True)
    with SpdyClient(pod.client.runtime.Exec(request).url, V4) as client:
        opened = client.command_streams("error", "stdout")
        client.until_end()
    assert b"Failure" in client.received[opened["error"]]


def test_attach_types_into_the_container(pod: Pod) -> None:
    """The end of the first client's input is the program's: ``stdin_once``."""
    main = pod.run("sh", "-c", "read x; echo got $x; cat; echo end", stdin=True, stdin_once=True)
    request = api.AttachRequest(container_id=main, stdin=True, stdout=True)
    with SpdyClient(pod.client.runtime.Attach(request).url, V4) as client:
        opened = client.command_streams("error", "stdin", "stdout")
        client.send(opened["stdin"], b"one\n")
        client.until(opened["stdout"], b"got one\n")
        client.send(opened["stdin"], b"two\n", fin=True)
        client.until_end()
    assert client.received[opened["stdout"]] == b"got one\ntwo\nend\n"
    assert b"Success" in client.received[opened["error"]]


def test_attach_where_nobody_reads(pod: Pod) -> None:
    main = pod.run("sh", "-c", "sleep 1; echo end")
    request = api.AttachRequest(container_id=main, stdin=True, stdout=True)
    with SpdyClient(pod.client.runtime.Attach(request).url, V4) as client:
        opened = client.command_streams("error", "stdin", "stdout")
        client.send(opened["stdin"], b"lost")
        client.until_end()
    assert bytes(client.received[opened["stdout"]]) in (b"end\n", b"")
    assert b"Success" in client.received[opened["error"]]


def test_an_exec_sync_that_nobody_waits_for(pod: Pod) -> None:
    main = pod.run("sleep", "1000")
    request = api.ExecSyncRequest(container_id=main, cmd=["sh", "-c", "echo up; exec sleep 1003"])
    call = pod.client.runtime.ExecSync.future(request)
    while b"sleep 1003" not in pod.exec_sync(main, "ps").stdout:
        pass
    call.cancel()
    while b"sleep 1003" in pod.exec_sync(main, "ps").stdout:
        pass


def test_attach_to_a_terminal(pod: Pod) -> None:
    main = pod.run("sh", "-c", "while read x; do stty size; done", stdin=True, tty=True)
    request = api.AttachRequest(container_id=main, stdin=True, stdout=True, tty=True)
    with SpdyClient(pod.client.runtime.Attach(request).url, V4) as client:
        opened = client.command_streams("error", "stdin", "stdout", "resize")
        client.send(opened["resize"], b'{"Width":101,"Height":41}\n')
        client.send(opened["stdin"], b"\n")
        client.until(opened["stdout"], b"41 101")
    assert pod.exec_sync(main, "true").exit_code == 0, "the container goes on"


def test_the_end_of_the_container_ends_its_sessions(pod: Pod) -> None:
    main = pod.run("sleep", "1000")
    attach = pod.client.runtime.Attach(api.AttachRequest(container_id=main, stdout=True))
    run = pod.client.runtime.Exec(api.ExecRequest(container_id=main, cmd=["sleep", "1000"], stdout=True))
    with SpdyClient(attach.url, V4) as first, SpdyClient(run.url, V4) as second:
        for client in (first, second):
            opened = client.command_streams("error", "stdout")
            while len(client.replies) < len(opened):
                assert client.frame()
        pod.client.runtime.StopContainer(api.StopContainerRequest(container_id=main))
        first.until_end()
        second.until_end()
    assert second.received[1], "it heard how its program ended"


def test_ports_of_the_host(pod: Pod) -> None:
    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.sendall(sock.recv(100).upper())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        url = pod.client.runtime.PortForward(api.PortForwardRequest(pod_sandbox_id=pod.id)).url
        with SpdyClient(url, "portforward.k8s.io") as client:
            error, data = client.port_streams(listener.getsockname()[1], "0")
            client.send(data, b"hello")
            client.until_ended(error, data)
        thread.join()
    assert client.received[data] == b"HELLO"


@pytest.fixture(params=["spdy", "websocket"])
def client(request: pytest.FixtureRequest, pod: Pod, place: Path) -> Iterator[Kubectl]:
    """Kubectl, over either transport (one older than 1.29 knows SPDY alone)."""
    main = pod.run("sh", "-c", "read line; echo attached to $line; sleep 1000", stdin=True)

    def url_of(kind: str, query: Query) -> str:
        runtime = pod.client.runtime
        if kind == "portforward":
            return str(runtime.PortForward(api.PortForwardRequest(pod_sandbox_id=pod.id)).url)
        streams = {name: query.get(name) == ["true"] for name in ("stdin", "stdout", "stderr", "tty")}
        if kind == "attach":
            return str(runtime.Attach(api.AttachRequest(container_id=main, **streams)).url)
        return str(runtime.Exec(api.ExecRequest(container_id=main, cmd=query["command"], **streams)).url)

    with kubectl(place, url_of, websockets=request.param == "websocket") as found:
        yield found


@pytest.mark.interop
def test_kubectl_exec(client: Kubectl) -> None:
    """A real client, behind a stand-in for what forwards its requests: input, both outputs, the exit code."""
    done = client.run("exec", "-i", "pod", "--", "sh", "-c", "cat; echo oops >&2; exit 3", input=b"hello")
    assert done.stdout == b"hello", done.stderr
    assert b"oops" in done.stderr
    assert done.returncode == 3
    large = client.run("exec", "pod", "--", "sh", "-c", "head -c 3000000 /dev/zero")
    assert len(large.stdout) == 3_000_000


@pytest.mark.interop
def test_kubectl_attach(client: Kubectl) -> None:
    """The container's own input and output."""
    with client.begun("attach", "-i", "pod") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"us\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"attached to us\n"


@pytest.mark.interop
def test_kubectl_port_forward(client: Kubectl) -> None:
    """Two connections to one port, one after the other."""

    def serve() -> None:
        for _ in range(2):
            sock, _ = listener.accept()
            with sock:
                while data := sock.recv(100):
                    sock.sendall(data.upper())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        with client.port_forward(listener.getsockname()[1]) as port:
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                    sock.sendall(b"hello")
                    assert sock.recv(100) == b"HELLO"
        thread.join()
