"""CR-01 and CR-02: the streaming endpoint against whoever can reach it."""

from __future__ import annotations

import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ociworks.cri import CriConfig
from ociworks.cri.streaming._dictionary import DICTIONARY
from ociworks.cri.streaming._sizes import Size, Sizes
from ociworks.cri.streaming.tokens import LIFETIME, PENDING, Tokens
from ociworks.errors import ConfigError, TooMany
from tests.cri import streams
from tests.cri.streams import Node, SpdyClient, Upgraded, WebSocketClient

V4 = "v4.channel.k8s.io"
V5 = "v5.channel.k8s.io"


def status(url: str, method: str = "POST", headers: tuple[str, ...] = ()) -> int:
    with SpdyClient(url, V4, method=method, headers=headers) as client:
        return client.status


# --- CR-01: the endpoint and its tokens ---------------------------------------------------------------


def test_cr_01_tokens_that_are_none_look_alike(node: Node) -> None:
    url = node.exec("true")
    base, token = url.rsplit("/", 1)
    root = base.rsplit("/", 1)[0]
    answers = set()
    for wrong in (
        f"{base}/",
        base,
        f"{base}/{token[:-1]}",
        f"{base}/{token}/",
        f"{base}/{token}?x=1",
        f"{base}/{token.swapcase()}",
        f"{base}/{token}/../{token}",
        f"{root}/attach/{token}",
        f"{root}/portforward/{token}",
        f"{root}/EXEC/{token}",
        f"{root}/",
        f"{base}/{'A' * 43}",
    ):
        with SpdyClient(wrong, V4) as client:
            answers.add((client.status, tuple(sorted(client.headers.items()))))
    assert answers == {(404, (("connection", "close"), ("content-length", "0")))}
    assert status(url, "PUT") == 404
    assert not node.containers.begun
    assert status(url) == 101, "none of that has used the token up"


def test_cr_01_a_token_works_once(node: Node) -> None:
    url = node.exec("true")
    assert status(url) == 101
    assert status(url) == 404


def test_cr_01_one_of_two_at_once(node: Node) -> None:
    url = node.exec("true")
    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(status, [url] * 8))
    assert answers == [101, *[404] * 7]


def test_cr_01_tokens_end() -> None:
    now = 100.0
    tokens: Tokens[str] = Tokens(lambda: now)
    first = tokens.issue("exec", "request")
    now += LIFETIME
    assert tokens.take("exec", first) is None
    assert not len(tokens)


def test_cr_01_so_many_wait(node: Node) -> None:
    urls = [node.exec("true") for _ in range(PENDING)]
    with pytest.raises(TooMany):
        node.exec("true")
    assert len(set(urls)) == PENDING
    assert status(urls[0]) == 101, "those that there are go on"
    node.exec("true")


def test_cr_01_tokens_are_long_and_nowhere_else(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    token = node.exec("true").rsplit("/", 1)[1]
    assert len(token) * 6 >= 128
    assert status(f"{node.exec('true').rsplit('/', 1)[0]}/{token}") == 101
    assert token not in caplog.text
    assert token not in repr(node.streaming)


def test_cr_01_loopback_or_tls(tmp_path: Path) -> None:
    assert CriConfig().stream_address == "127.0.0.1"
    for address in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ConfigError):
            CriConfig(stream_address=address)
    with streams.node(tmp_path) as node:
        assert node.exec("true").startswith("http://127.0.0.1:")


# --- CR-02: upgrades, origins, frames -----------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Origin: https://evil.example",
        "Origin: null",
        "Origin:",
        "Host: evil.example",
        "Host: 127.0.0.1.evil.example:80",
        "Host: evil.example:10250",
    ],
)
def test_cr_02_browsers_and_names_that_were_bent(node: Node, header: str) -> None:
    url = node.exec("true")
    assert status(url, headers=(header,)) == 403
    assert status(url) == 101, "it did no work, and used nothing up"


def test_cr_02_requests_that_are_none(node: Node) -> None:
    url = node.exec("true")
    address = node.streaming._server.base.removeprefix("http://")
    host, port = address.split(":")
    for raw in (
        b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
        f"POST {url} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 5\r\n\r\nhello".encode(),
        f"GET /exec/x HTTP/1.1\r\nHost: {address}\r\nHost: {address}\r\n\r\n".encode(),
        f"GET /exec/x HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n".encode(),
    ):
        with socket.create_connection((host, int(port)), timeout=60) as sock:
            sock.sendall(raw)
            answer = sock.recv(100)
            assert answer.startswith(b"HTTP/1.1 40"), answer
    assert not node.containers.begun


def test_cr_02_websocket_handshakes(node: Node) -> None:
    for method, line in (("GET", "websocket"), ("POST", "websocket"), ("GET", "h2c"), ("POST", "SPDY/2")):
        with Upgraded(node.exec("true"), method, [f"Upgrade: {line}"]) as client:
            assert client.status == 403
    for spoiled in ("Sec-WebSocket-Key: short", "Sec-WebSocket-Version: 8"):
        with WebSocketClient(node.exec("true"), V5, headers=[spoiled]) as client2:
            assert client2.status in (400, 403)
    assert not node.containers.begun


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82\xff" + struct.pack("!Q", 2**63 - 1 | 1 << 63) + b"mask",
        b"\x82\x05\0abcd",  # not masked
        b"\xf2\x81maskx",  # reserved bits
        b"\x83\x80mask",  # reserved opcode
        b"\x89\xfe\x01\x00mask" + bytes(256),  # a ping of 256 bytes
        b"\x09\x80mask",  # a ping in pieces
        b"\x80\x80mask",  # goes on with nothing
        b"\x88\x81maskx",  # a close of one byte
        b"\x88\x82mask" + bytes(a ^ b for a, b in zip(b"\x03\xed", b"mask", strict=False)),  # close 1005
    ],
)
def test_cr_02_frames_that_are_none(node: Node, frame: bytes) -> None:
    with WebSocketClient(node.exec("cat", stdin=True), V5) as client:
        client.raw(frame)
        client.until_end()
        assert client.closed in {1002, 1007, 1009}


def test_cr_02_a_huge_frame_is_given_on_as_it_comes(node: Node) -> None:
    with WebSocketClient(node.exec("head", "-c", "5", stdin=True), V5) as client:
        client.raw(b"\x82\xff" + struct.pack("!Q", 2**62) + bytes(4) + b"\0hello")
        client.until_end()
        assert client.channels[1] == b"hello"


def test_cr_02_endless_pieces_and_pings(node: Node) -> None:
    with WebSocketClient(node.exec("cat", stdin=True), V5) as client:
        client.raw(client.frame_of(2, b"\0", fin=False))
        for _ in range(200):
            client.raw(client.frame_of(0, b"x", fin=False) * 20 + client.frame_of(9, b"p" * 100))
        while len(client.pongs) < 200:
            assert client.read()


def test_cr_02_unknown_channels_are_passed_over(node: Node) -> None:
    with WebSocketClient(node.exec("cat", stdin=True), V5) as client:
        for channel in (1, 2, 3, 7, 254):
            client.send(channel, b"lost")
        client.send(255, b"\x07")
        client.send(0, b"found")
        client.send(255, b"\0")
        client.until_end()
    assert client.channels[1] == b"found"


def spdy_end(node: Node, raw: bytes) -> None:
    """What is sent ends the connection, and nothing else."""
    with SpdyClient(node.exec("cat", stdin=True), V4) as client:
        client.raw(raw)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.at_end()
    assert not node.containers.begun


def bomb(pairs: int, size: int) -> bytes:
    raw = struct.pack("!I", pairs) + (struct.pack("!I", 1) + b"a" + struct.pack("!I", size) + bytes(size)) * 1
    deflate = zlib.compressobj(zdict=DICTIONARY)
    block = deflate.compress(raw) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack("!HHIIIH", 0x8003, 1, len(block) + 10, 1, 0, 0) + block


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack("!HHII", 0x8003, 4, 4, 2**31),  # settings that are not there
        struct.pack("!HHI", 0x8003, 4, 0xFFFFFF),
        struct.pack("!HHI", 0x8003, 1, 0xFFFFFF),
        struct.pack("!HHI", 0x8002, 1, 10) + bytes(10),  # version 2
        struct.pack("!HHI", 0x8003, 1, 4) + bytes(4),
        struct.pack("!HHI", 0x8003, 6, 5) + bytes(5),
        struct.pack("!HHI", 0x8003, 3, 8) + struct.pack("!II", 9, 1),
        struct.pack("!II", 1, 5) + b"hello" * 1000,  # data of no stream
        struct.pack("!HHI", 0x8003, 1, 20) + bytes(20),  # headers that cannot be inflated
        bomb(1, 10_000_000),
        bomb(2**31, 1),
        bomb(1, 2**20),
        bomb(2, 1),
    ],
    ids=range(13),
)
def test_cr_02_spdy_that_is_none(node: Node, raw: bytes) -> None:
    spdy_end(node, raw)


def test_cr_02_so_many_streams(node: Node) -> None:
    with SpdyClient(node.forward()) as client:
        opened = [client.open(streamtype="error", port="1", requestid=str(number)) for number in range(600)]
        while len(client.resets) + len(client.replies) < len(opened):
            assert client.frame()
        assert set(client.resets.values()) == {3}
        assert len(client.replies) == 512


def test_cr_02_many_streams_one_after_another_leave_nothing(node: Node) -> None:
    with SpdyClient(node.forward()) as client:
        for number in range(2000):
            stream = client.open(streamtype="data", port="1", requestid=str(number))
            client.control(3, struct.pack("!II", stream, 5))
        last = client.open(streamtype="error", port="1", requestid="last")
        while last not in client.replies:
            assert client.frame()
        assert last not in client.resets


@pytest.mark.parametrize(
    "text", [b'{"Width":0,"Height":0}', b"{", b"[1]", b'{"Width":1e9,"Height":1}', b"\xff{}"]
)
def test_cr_02_sizes_that_are_none(text: bytes) -> None:
    assert Sizes().receive(text) is None


def test_cr_02_of_many_sizes_the_latest_counts(node: Node) -> None:
    sizes = Sizes()
    many = b"".join(b'{"Width":%d,"Height":%d}\n' % (place % 200 + 1, 7) for place in range(100_000))
    assert sizes.receive(many) == Size(200, 7)
    assert sizes.receive(b"{" * 100_000) is None
    assert len(sizes._rest) <= 1024
    with WebSocketClient(node.exec("cat", stdin=True, tty=True), V5) as client:
        client.raw(client.frame_of(2, b"\4" + many))
        client.send(0, b"\4")
        client.until_end()
    assert client.closed == 1000
