"""Port-forward over SPDY, over its tunnel in WebSocket and over channels, to servers on the loopback interface."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.cri.streaming._pod import PodNetwork
from ociworks.cri.streaming._room import SPARE, Room, Spare
from ociworks.errors import InvalidRequest, PodNotFound, PodStateError
from tests.cri import streams
from tests.cri.streams import Node, SpdyClient, TunnelClient, WebSocketClient

PROTOCOL = "portforward.k8s.io"


@pytest.fixture
def node(place: Path) -> Iterator[Node]:
    with streams.node(place) as made:
        yield made


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that gives each client its bytes back, after the last of them a word, and closes."""

    def serve(sock: socket.socket) -> None:
        with sock:
            while data := sock.recv(65536):
                sock.sendall(data)
            sock.sendall(b"bye")

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(sock,))
            thread.start()
            threads.append(thread)

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for thread in threads:
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_over_spdy(node: Node, echo: int) -> None:
    with SpdyClient(node.forward(), PROTOCOL) as client:
        assert client.headers["x-stream-protocol-version"] == PROTOCOL
        error, data = client.port_streams(echo, "0")
        client.send(data, b"hello")
        client.until(data, b"hello")
        other, more = client.port_streams(echo, "1")
        client.send(more, b"again", fin=True)
        client.send(data, b" world", fin=True)
        client.until_ended(error, data, other, more)
    assert client.received[data] == b"hello worldbye"
    assert client.received[more] == b"againbye"
    assert not client.received[error]
    assert not client.received[other]


def test_through_the_tunnel(node: Node, echo: int) -> None:
    with TunnelClient(node.forward()) as client:
        assert client.outer.headers["sec-websocket-protocol"] == "SPDY/3.1+portforward.k8s.io"
        error, data = client.port_streams(echo, "0")
        payload = bytes(range(256)) * 1000
        client.send(data, payload, fin=True)
        client.until_ended(error, data)
    assert client.received[data] == payload + b"bye"


def test_over_channels(node: Node, echo: int) -> None:
    with WebSocketClient(node.forward(echo), "v4.channel.k8s.io") as client:
        client.send(0, b"hello")
        client.until(0, b"hello")
    number = echo.to_bytes(2, "little")
    assert client.channels == {0: number + b"hello", 1: number}


def test_nobody_listens(node: Node) -> None:
    with SpdyClient(node.forward(), PROTOCOL) as client:
        error, data = client.port_streams(free_port(), "0")
        client.until_ended(error, data)
        assert b"cannot connect to port" in client.received[error]
        again, _ = client.port_streams(free_port(), "1")
        client.until(again, b"cannot connect to port")


@pytest.mark.parametrize("port", ["0", "-1", "65536", "80@10.0.0.1", "localhost", "٨٠", " 80", "80\n"])
def test_what_is_no_port(node: Node, port: str) -> None:
    with SpdyClient(node.forward(), PROTOCOL) as client:
        error, data = client.port_streams(port, "0")
        while len(client.resets) < 2:
            assert client.frame()
    assert client.resets == {error: 3, data: 3}


def test_only_the_ports_of_the_request(node: Node, echo: int) -> None:
    with SpdyClient(node.forward(free_port()), PROTOCOL) as client:
        client.port_streams(echo, "0")
        while len(client.resets) < 2:
            assert client.frame()


def test_halves_that_do_not_fit(node: Node, echo: int) -> None:
    with SpdyClient(node.forward(), PROTOCOL) as client:
        client.open(streamtype="error", port=str(echo), requestid="0")
        again = client.open(streamtype="error", port=str(echo), requestid="0")
        other = client.open(streamtype="data", port="1", requestid="0")
        unknown = client.open(streamtype="stdin", port=str(echo), requestid="0")
        while len(client.resets) < 3:
            assert client.frame()
        assert client.resets.keys() == {again, other, unknown}


def test_a_client_resets_one_connection(node: Node, echo: int) -> None:
    with SpdyClient(node.forward(), PROTOCOL) as client:
        _, data = client.port_streams(echo, "0")
        client.send(data, b"x")
        client.until(data, b"x")
        client.control(3, data.to_bytes(4, "big") + b"\0\0\0\5")
        _, more = client.port_streams(echo, "1")
        client.send(more, b"y", fin=True)
        client.until(more, b"ybye")


SLOW = 9


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The far end of the port SLOW: between it and us is hardly any room."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    dial = PodNetwork.connect
    monkeypatch.setattr(PodNetwork, "connect", lambda self, port: ours if port == SLOW else dial(self, port))
    with theirs:
        yield theirs


def test_a_slow_port_holds_up_no_other(node: Node, echo: int, slow: socket.socket) -> None:
    """What it has not taken waits for it; later all of it arrives, in order."""
    payload = b"".join(number.to_bytes(4, "big") for number in range(450_000))
    with SpdyClient(node.forward()) as client:
        error, data = client.port_streams(SLOW, "0")
        _, other = client.port_streams(echo, "1")
        client.send(data, payload, fin=True)
        client.send(other, b"hello")
        client.until(other, b"hello")
        with slow.makefile("rb") as reader:
            assert reader.read() == payload
        slow.shutdown(socket.SHUT_WR)
        client.until_ended(error, data)
    assert not client.received[error]


def test_a_port_that_takes_nothing_is_given_up(
    node: Node, echo: int, slow: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than may wait holds up the others, but only so long; what was lent to it is given back."""
    monkeypatch.setattr("ociworks.cri.streaming.portforward._HALF", 0.2)
    with SpdyClient(node.forward()) as client:
        error, data = client.port_streams(SLOW, "0")
        _, other = client.port_streams(echo, "1")
        client.send(data, bytes(8 << 20))
        client.send(other, b"hello")
        client.until_ended(error, data)
        assert client.received[error] == b"the connection made no progress"
        client.until(other, b"hello")
        assert slow.recv(1 << 16)
    assert node.streaming._spare.lend(SPARE)


def test_a_port_that_only_talks_is_given_up(
    node: Node, echo: int, slow: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never stops, but takes nothing, and holds up the others."""
    monkeypatch.setattr("ociworks.cri.streaming.portforward._HALF", 0.2)

    def talk() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.01):
                slow.send(b".")

    over, talking = threading.Event(), threading.Thread(target=talk)
    with SpdyClient(node.forward()) as client:
        error, data = client.port_streams(SLOW, "0")
        _, other = client.port_streams(echo, "1")
        talking.start()
        try:
            client.send(data, bytes(8 << 20))
            client.send(other, b"hello")
            client.until_ended(error, data)
            client.until(other, b"hello")
        finally:
            over.set()
            talking.join()
    assert client.received[error] == b"the connection made no progress"


def test_room_for_what_waits() -> None:
    """Each has a little always, and more while there is spare; what nobody needs any more is there for others."""
    spare = Spare(3 << 18)
    one, two = Room(spare), Room(spare)
    assert one.is_left((1 << 18) - 1)
    assert one.is_left(1 << 18)
    assert one.is_left(3 << 18)
    assert not one.is_left(4 << 18)
    assert two.is_left((1 << 18) - 1)
    assert not two.is_left(1 << 18)
    assert one.is_left(1 << 18)
    assert two.is_left(1 << 18)
    one.close()
    two.close()
    assert spare.lend(3 << 18)
    rich = Room(Spare(1 << 30))
    assert rich.is_left((1 << 21) - 1)
    assert not rich.is_left(1 << 21)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_ports_in_requests(node: Node, port: int) -> None:
    with pytest.raises(InvalidRequest):
        node.forward(port)


def test_pods_that_are_not_ready(node: Node) -> None:
    import attrs

    node.store.sandboxes.update(streams.POD, lambda record: attrs.evolve(record, phase="notready"))
    with pytest.raises(PodStateError):
        node.forward()
    node.store.sandboxes.remove(streams.POD)
    with pytest.raises(PodNotFound):
        node.forward()


def test_the_hosts_network_may_be_forbidden(place: Path) -> None:
    with streams.node(place, host_network_port_forward=False) as node, pytest.raises(PodStateError):
        node.forward()
