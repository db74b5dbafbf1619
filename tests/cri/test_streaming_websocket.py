"""Exec over WebSocket: each sub-protocol, by frames that are written by hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cri import streams
from tests.cri.streams import Node, WebSocketClient

SCRIPT = ("sh", "-c", "cat; echo oops >&2; exit 3")
BINARY = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
]


@pytest.fixture
def node(place: Path) -> Iterator[Node]:
    with streams.node(place) as made:
        yield made


def test_the_handshake_of_the_rfc(node: Node) -> None:
    """RFC 6455, 1.3: the sample key has this answer."""
    with WebSocketClient(node.exec("true"), "v5.channel.k8s.io") as client:
        assert client.status == 101
        assert client.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert client.headers["sec-websocket-protocol"] == "v5.channel.k8s.io"
        assert "sec-websocket-extensions" not in client.headers


def test_v5_closes_standard_input(node: Node) -> None:
    with WebSocketClient(node.exec(*SCRIPT, stdin=True, stderr=True), "v5.channel.k8s.io") as client:
        client.send(0, b"hello ")
        client.send(0, b"world")
        client.send(255, b"\0")
        client.until_end()
    assert client.channels[1] == b"hello world"
    assert client.channels[2] == b"oops\n"
    assert json.loads(client.channels[3])["details"]["causes"][0]["message"] == "3"
    assert client.closed == 1000


@pytest.mark.parametrize("protocol", [*BINARY, ""])
def test_each_binary_protocol(node: Node, protocol: str) -> None:
    script = ("sh", "-c", "read x; echo $x; exit 3")
    offers = (protocol,) if protocol else ()
    with WebSocketClient(node.exec(*script, stdin=True), *offers) as client:
        client.send(0, b"hello\n")
        client.until_end()
    assert client.channels[1] == b"hello\n"
    expected = b"command terminated with exit code 3"
    assert expected in client.channels[3]
    assert (client.channels[3] == expected) == (protocol not in BINARY[:2])


@pytest.mark.parametrize("protocol", ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"])
def test_base64(node: Node, protocol: str) -> None:
    with WebSocketClient(node.exec("head", "-c", "7", stdin=True), protocol) as client:
        client.raw(client.frame_of(1, b"0" + base64.b64encode(b"hel")))
        client.raw(client.frame_of(1, b"0" + base64.b64encode(b"lo you")[:4], fin=False))
        client.raw(client.frame_of(0, base64.b64encode(b"lo you")[4:]))
        client.until_end()
    assert client.channels[1] == b"hello y"


def test_the_first_that_both_know_is_chosen(node: Node) -> None:
    with WebSocketClient(node.exec("true"), "v9.channel.k8s.io", "v4.channel.k8s.io", BINARY[0]) as client:
        assert client.headers["sec-websocket-protocol"] == "v4.channel.k8s.io"
    with WebSocketClient(node.exec("true"), "chat") as client:
        assert client.status == 403


def test_the_first_message_is_empty(node: Node) -> None:
    """Clients that read before they write learn that the other side is there."""
    with WebSocketClient(node.exec("cat", stdin=True), BINARY[0]) as client:
        assert client.message() == (2, b"\x01")


def test_a_terminal_over_channels(node: Node) -> None:
    command = ("sh", "-c", "echo up; read x; stty size")
    with WebSocketClient(node.exec(*command, tty=True, stdin=True), BINARY[0]) as client:
        client.until(1, b"up")
        client.send(4, b'{"Width":120,"Height":50}')
        client.send(0, b"\n")
        client.until(1, b"50 120")
        client.until_end()
    assert client.closed == 1000


def test_a_message_in_pieces_and_a_ping_between(node: Node) -> None:
    with WebSocketClient(node.exec("head", "-c", "6", stdin=True), BINARY[0]) as client:
        client.raw(client.frame_of(2, b"\0abc", fin=False))
        client.raw(client.frame_of(9, b"are you there"))
        client.raw(client.frame_of(0, b"def"))
        client.until_end()
    assert client.channels[1] == b"abcdef"
    assert client.pongs == [b"are you there"]


def test_text_where_bytes_are_spoken(node: Node) -> None:
    with WebSocketClient(node.exec("cat", stdin=True), BINARY[0]) as client:
        client.raw(client.frame_of(1, b"0hello"))
        client.until_end()
    assert client.closed == 1003


def test_a_client_that_closes_ends_the_program(node: Node) -> None:
    with WebSocketClient(node.exec("cat", stdin=True), BINARY[0]) as client:
        client.raw(client.frame_of(8, b"\x03\xe8"))
        client.until_end()
    assert client.closed == 1000
