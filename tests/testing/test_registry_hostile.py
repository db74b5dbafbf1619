"""The registry against clients that break the protocol: each is answered or cut off, and the next one is served."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from ociworks import testing
from ociworks.spec import Digest
from tests.testing.http import ask, manifest_of, push_blob, raw, start_upload

HOST = b"Host: x\r\n"


def status(answer: bytes) -> int:
    """The status of the first response."""
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])


@pytest.fixture(autouse=True)
def _still_serving(registry: testing.Registry) -> Iterator[None]:
    """Whatever happened, the next client is served, and no connection's thread is left at the end."""
    yield
    assert ask(registry, "GET", "/v2/").status == 200
    registry.close()
    assert [thread for thread in threading.enumerate() if thread.name == "ociworks-registry-client"] == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v2/\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"A b: c\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"A : c\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"A: c\x00d\r\n\r\n", 400),
        (b"GET /v2/\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /v2/ HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"GET v2 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /v2/?" + b"a&" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 10_000 + b"\r\n", 431),
        (b"A" * 100_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x00" * 100, 400),
        (b"GET http://elsewhere.example/v2/ HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 200),
        (b"\r\nGET /v2/ HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 200),
        (b"GET /v2/ HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_heads(registry: testing.Registry, data: bytes, expected: int) -> None:
    assert status(raw(registry, data)) == expected


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Content-Length: -1",
        b"Content-Length: +3",
        b"Content-Length: 3_0",
        b"Content-Length: 0x3",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)
def test_two_readers_would_see_two_bodies(registry: testing.Registry, framing: bytes) -> None:
    """A second request hidden in the body is never answered."""
    head = b"PATCH " + start_upload(registry).encode() + b" HTTP/1.1\r\n" + HOST + framing + b"\r\n\r\n"
    answer = raw(registry, head + b"0\r\n\r\nGET /v2/_catalog HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status(answer) in {400, 501}
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "body",
    [b"3\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"-3\r\nabc\r\n", b"0x3\r\nabc\r\n", b" 3\r\nabc\r\n", b"\r\n",
     b"f" * 16 + b"\r\nabc", b"3;" + b"x" * 5000 + b"\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * 5000],
)  # fmt: skip
def test_malformed_chunks(registry: testing.Registry, body: bytes) -> None:
    path = start_upload(registry)
    head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = raw(registry, head + body)
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer


def test_chunks_with_extensions_and_trailers_are_read(registry: testing.Registry) -> None:
    digest = Digest.of(b"abcdef")
    head = f"POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    body = "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n03\r\ndef\r\n0\r\nTrailer: x\r\n\r\n"
    assert status(raw(registry, (head + body).encode())) == 201


def test_a_body_that_breaks_off_can_be_continued(registry: testing.Registry) -> None:
    path, content = start_upload(registry), bytes(range(256)) * 40
    head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    assert raw(registry, head + content[:5000]) == b""
    assert ask(registry, "GET", path).headers["range"] == "0-4999"
    headers = {"Content-Range": f"5000-{len(content) - 1}"}
    assert ask(registry, "PATCH", path, content[5000:], headers).status == 202
    assert ask(registry, "PUT", f"{path}?digest={Digest.of(content)}", b"").status == 201


def test_a_put_that_breaks_off_stores_nothing(registry: testing.Registry) -> None:
    content = bytes(10_000)
    digest = Digest.of(content[:5000])
    for target in (start_upload(registry), "/v2/app/blobs/uploads/"):
        method = "POST" if target.endswith("/") else "PUT"
        head = f"{method} {target}?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n"
        assert raw(registry, head.encode() + content[:5000]) == b""
    assert ask(registry, "GET", f"/v2/app/blobs/{digest}").status == 404


def test_pipelined_requests_are_answered_in_order(registry: testing.Registry) -> None:
    one = b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n"
    two = b"GET /v2/none/tags/list HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answers = raw(registry, one * 3 + two)
    assert [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]] == [200, 200, 200, 404]


@pytest.mark.parametrize("allowed", [True, False])
def test_expect_continue(registry: testing.Registry, allowed: bool) -> None:
    """A body that is not wanted is not asked for, and the connection ends, for it may still come."""
    path = start_upload(registry) if allowed else "/v2/app/blobs/uploads/" + "0" * 48
    target = f"{path}?digest={Digest.of(b'abc')}"
    host, _, port = registry.host.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        sock.sendall(
            f"PUT {target} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n".encode()
        )
        interim = sock.recv(65536)
        if not allowed:
            assert (status(interim), b"Connection: close" in interim) == (404, True)
            return
        assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert status(sock.recv(65536)) == 201


def test_a_refused_body_is_thrown_away_and_the_answer_arrives(registry: testing.Registry) -> None:
    """16 MiB for an upload that does not exist: the client reads 404, not a reset."""
    path = "/v2/app/blobs/uploads/" + "0" * 48
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {16 << 20}\r\n\r\n".encode()
    assert status(raw(registry, head + bytes(16 << 20))) == 404


@pytest.mark.parametrize(
    "name",
    ["..", "../..", "a/../b", "a/./b", ".", "a//b", "/etc", "a%2f..%2fb", "%2e%2e", "a\\b", "_blobs", "a/_tags",
     "a..b", "a/", "a%00", "a%0d%0aX: y", "a_-b", "ä", "%c3%a4", "a" * 300, "-a", "a-"],
)  # fmt: skip
def test_path_traversal_by_names(
    options: testing.RegistryOptions, registry: testing.Registry, name: str
) -> None:
    content = b"hostile"
    digest = Digest.of(content)
    path = f"/v2/{name}/blobs/uploads/?digest={digest}".encode()
    answer = raw(registry, b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 7\r\n\r\nhostile")
    assert status(answer) in {400, 404}
    assert b"\r\nX: y" not in answer
    if options.directory is not None:
        assert set(os.listdir(options.directory)) <= {"ociworks-registry"}
        assert os.listdir(Path(options.directory).parent) == [Path(options.directory).name]


@pytest.mark.parametrize(
    "reference", ["..", "%2e%2e%2fx", "a%2fb", "sha256:..%2f..", "sha256:" + "0" * 64 + "%2f", "%00"]
)
@pytest.mark.parametrize("kind", ["blobs", "manifests", "blobs/uploads", "referrers"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_path_traversal_by_references(
    registry: testing.Registry, method: str, kind: str, reference: str
) -> None:
    push_blob(registry, b"x")
    target = f"{method} /v2/app/{kind}/{reference} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    assert status(raw(registry, target.encode())) in {400, 404, 405}


def test_too_many_connections(options: testing.RegistryOptions) -> None:
    limits = testing.RegistryLimits(connections=2)
    directory = None if options.directory is None else f"{options.directory}-2"
    with testing.Registry(evolve(options, limits=limits, directory=directory)) as registry:
        host, _, port = registry.host.rpartition(":")
        kept = [socket.create_connection((host, int(port)), timeout=60) for _ in range(2)]
        for sock in kept:  # an answer proves that its thread runs
            sock.sendall(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n")
            assert status(sock.recv(65536)) == 200
        with socket.create_connection((host, int(port)), timeout=60) as third:
            assert status(third.recv(65536)) == 503
        for sock in kept:
            sock.close()


@pytest.mark.parametrize("sent", [b"", b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\n" + HOST + b"A: "])
def test_silent_clients_are_dropped(options: testing.RegistryOptions, sent: bytes) -> None:
    limits = testing.RegistryLimits(idle_timeout=0.1, head_timeout=0.1)
    directory = None if options.directory is None else f"{options.directory}-2"
    with testing.Registry(evolve(options, limits=limits, directory=directory)) as registry:
        assert raw(registry, sent, half_close=False) == b""


def test_an_end_while_clients_are_connected(registry: testing.Registry) -> None:
    """Idle, in the middle of a head and of a body: closing waits for none of them."""
    host, _, port = registry.host.rpartition(":")
    path = start_upload(registry)
    starts = [b"", b"GET /", f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1".encode()]
    sockets = [socket.create_connection((host, int(port)), timeout=60) for _ in starts]
    for sock, start in zip(sockets, starts, strict=True):
        sock.sendall(start)
    with testing.Registry() as other:
        other.close()
        other.close()
    for sock in sockets:
        sock.close()


def test_a_manifest_cannot_forge_headers(registry: testing.Registry) -> None:
    """What is echoed in headers passed a grammar or is escaped."""
    raw_manifest = manifest_of(registry)
    for kind in ("text/plain\r\nX: y", "a/b\x0bc"):
        head = f"PUT /v2/app/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        answer = raw(
            registry, head.encode() + f"Content-Length: {len(raw_manifest)}\r\n\r\n".encode() + raw_manifest
        )
        assert b"\r\nX: y" not in answer
    answer = raw(
        registry,
        f"GET /v2/app/referrers/{Digest.of(b'')}?artifactType=a%0d%0aX:%20y HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    )
    assert (status(answer), b"\r\nX: y" in answer) == (200, False)
