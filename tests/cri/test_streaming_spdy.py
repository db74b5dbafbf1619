"""SPDY frames: what comes back out, in any pieces, and what is none."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cri.streaming._dictionary import DICTIONARY
from ociworks.cri.streaming.forward import SpdyForward
from ociworks.cri.streaming.spdy import Data, GoAway, Opened, Reset, SpdyConnection, SpdyLimits
from ociworks.cri.streaming.websocket import Channels, Tunnel
from ociworks.errors import StreamError
from tests.cri.streams import SpdyFrames

# What crictl (Go, spdystream) sent for an exec: three streams.
RECORDED = bytes.fromhex(
    "800300010000002a0000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a5a54945f04000000"
    "ffff800300010000001900000003000000000000c22ac5565c92925f5a02000000ffff80030001000000150000000500"
    "0000000000c229975a5404000000ffff"
)


class Recorder(SpdyFrames):
    """Keeps what a client sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def raw(self, data: bytes) -> None:
        self.sent += data


def test_the_dictionary() -> None:
    """Its checksum is what streams name that were compressed with it (RFC 1950, DICTID)."""
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


def test_what_a_go_client_sent() -> None:
    events = SpdyConnection().receive(RECORDED)
    assert [dict(event.headers) for event in events if isinstance(event, Opened)] == [
        {"streamtype": "error"},
        {"streamtype": "stdout"},
        {"streamtype": "stderr"},
    ]


@given(st.lists(st.integers(1, 40), max_size=30), st.binary(max_size=300))
def test_any_pieces_give_the_same(cuts: list[int], data: bytes) -> None:
    client = Recorder()
    stream = client.open(streamtype="stdin")
    client.send(stream, data)
    client.control(4, struct.pack("!III", 1, 7, 65536))
    client.control(9, struct.pack("!II", stream, 1000))
    client.control(8, struct.pack("!I", stream) + client.headers_block({"more": "yes"}))
    client.control(77, b"unknown")
    client.send(stream, b"end", fin=True)
    other = client.open(streamtype="resize", fin=True)
    client.control(3, struct.pack("!II", other, 5))
    client.control(7, bytes(8))
    connection, events, rest = SpdyConnection(), [], client.sent
    for cut in cuts:
        events += connection.receive(rest[:cut])
        rest = rest[cut:]
    events += connection.receive(rest)
    assert events[0] == Opened(stream, {"streamtype": "stdin"}, ended=False)
    received = [event for event in events if isinstance(event, Data)]
    assert b"".join(event.data for event in received) == data + b"end"
    assert [event.ended for event in received].count(True) == 1
    assert [type(event) for event in events[-3:]] == [Opened, Reset, GoAway]


@given(st.binary(max_size=500))
def test_any_bytes(data: bytes) -> None:
    """Anything is an event or a StreamError."""
    try:
        SpdyConnection().receive(data)
        SpdyForward().receive(data)
    except StreamError:
        return


@given(st.integers(1, 9), st.integers(0, 3), st.binary(max_size=64))
def test_any_control_frame(kind: int, flags: int, body: bytes) -> None:
    client = Recorder()
    client.open(streamtype="stdin")
    client.control(kind, body, flags)
    try:
        SpdyConnection().receive(client.sent)
    except StreamError:
        return


@given(st.binary(max_size=300), st.sampled_from(["v5.channel.k8s.io", "base64.channel.k8s.io", ""]))
def test_any_bytes_of_a_websocket(data: bytes, protocol: str) -> None:
    """Anything is an event, and the connection may end; never an exception."""
    Channels(protocol).receive(data)
    Tunnel().receive(data)


@given(st.binary(max_size=100), st.booleans())
def test_headers_are_exactly_what_they_say(raw: bytes, count: bool) -> None:
    client = Recorder()
    block = client.deflated((struct.pack("!I", 1) if count else b"") + raw)
    client.control(1, struct.pack("!IIH", 1, 0, 0) + block)
    try:
        (event,) = SpdyConnection().receive(client.sent)
    except StreamError:
        return
    assert isinstance(event, Opened)
    assert sum(8 + len(a) + len(b) for a, b in event.headers.items()) + 4 == len(raw) + 4 * count


@pytest.mark.parametrize("stream", [0, 2, 1])
def test_streams_are_odd_and_rise(stream: int) -> None:
    client = Recorder()
    client.open(streamtype="stdin")
    client.control(1, struct.pack("!IIH", stream, 0, 0) + client.headers_block({}))
    with pytest.raises(StreamError):
        SpdyConnection().receive(client.sent)


def test_a_bound_on_open_streams() -> None:
    client = Recorder()
    for _ in range(3):
        client.open(streamtype="data")
    connection = SpdyConnection(SpdyLimits(streams=2))
    assert len(connection.receive(client.sent)) == 2
    assert connection.take() == struct.pack("!HHIII", 0x8003, 3, 8, 5, 3)


def test_frames_of_ours_are_bounded() -> None:
    client = Recorder()
    client.open(streamtype="stdout")
    connection = SpdyConnection()
    connection.receive(client.sent)
    connection.send(1, bytes(200_000))
    sizes, rest = [], connection.take()
    while rest:
        size = struct.unpack("!II", rest[:8])[1]
        sizes.append(size)
        rest = rest[8 + size :]
    assert sum(sizes) == 200_000
    assert max(sizes) == 65536


def test_nothing_is_sent_on_what_has_ended() -> None:
    client = Recorder()
    client.open(streamtype="stdout")
    connection = SpdyConnection()
    connection.receive(client.sent)
    connection.finish(1)
    connection.take()
    connection.send(1, b"late")
    connection.finish(1)
    connection.send(3, b"never")
    assert connection.take() == b""
