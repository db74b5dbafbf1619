"""Pushing: in one piece and in chunks, mounted, interrupted, refused; what travels is what has to."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    ContentError,
    DigestMismatch,
    NotSupported,
    RateLimited,
    RegistryError,
    RegistryResponseError,
    RegistryUnreachable,
)
from ociworks.image import mutate, partial, remote
from ociworks.image.memory import MemoryBlobs
from ociworks.image.remote import ClientOptions, Limits
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.proxy import CuttingProxy
from tests.image.rawserver import RawServer, answer
from tests.image.registries import BLOB, DESCRIPTOR, MISSING, Sleeper, anonymous, client_for, push, serve

if TYPE_CHECKING:
    from ociworks.image.types import ByteStream

CREATED = answer(b"", status="201 Created")
STARTED = answer(b"", "Location: /v2/app/blobs/uploads/1", status="202 Accepted")


def source() -> ByteStream:
    return partial.stream_of(BLOB, DESCRIPTOR)


def asked(registry: testing.Registry) -> list[str]:
    """Method and kind of each request."""
    return [f"{request.method} {_kind(request.path)}" for request in registry.requests]


def _kind(path: str) -> str:
    for kind in ("mount=", "uploads", "blobs", "manifests", "token"):
        if kind in path:
            return kind.rstrip("=")
    return path


def seen(server: RawServer) -> list[str]:
    return [head.split(b" ")[0].decode() for head in server.heads]


def bodies(registry: testing.Registry, method: str) -> list[str | None]:
    return [request.header("content-range") for request in registry.requests if request.method == method]


# Mounting


def test_layers_of_the_same_registry_are_mounted(registry: testing.Registry) -> None:
    push(registry, "one/base:1", layers=3)
    with anonymous() as client:
        image = client.image(f"{registry.host}/one/base:1")
        before = len(registry.requests)
        client.push(image, f"{registry.host}/two/app:1")
        counted = Counter(asked(registry)[before:])
        assert counted == {
            "HEAD blobs": 4, "POST mount": 3, "POST uploads": 1, "PUT uploads": 1, "PUT manifests": 1,
        }  # fmt: skip
        assert client.image(f"{registry.host}/two/app:1").digest == image.digest


def test_an_appended_layer_is_sent_and_its_base_mounted(registry: testing.Registry) -> None:
    push(registry, "base:1", layers=2)
    (added,) = testing.random_image(1, seed=7).layers
    with anonymous() as client:
        image = mutate.append(client.image(f"{registry.host}/base:1"), added)
        before = len(registry.requests)
        client.push(image, f"{registry.host}/app:1")
        assert Counter(asked(registry)[before:])["POST mount"] == 2
        for layer in client.image(f"{registry.host}/app:1").layers:
            with layer.open() as stream:
                stream.read()


def test_mount_from_names_where_blobs_may_be(registry: testing.Registry) -> None:
    image = push(registry, "base:1", layers=2)
    with anonymous() as client:
        before = len(registry.requests)
        client.push(image, f"{registry.host}/app:1", mount_from=f"{registry.host}/base")
        assert Counter(asked(registry)[before:])["POST mount"] == 2
        with pytest.raises(NotSupported, match="expected a repository of"):
            client.push(image, f"{registry.host}/app:1", mount_from="other.example/base")


def test_a_mount_that_is_no_mount_becomes_an_upload(registry: testing.Registry) -> None:
    """One POST asks for both: what the registry does not have elsewhere is sent where it says."""
    with anonymous() as client:
        client.push_blob(f"{registry.host}/app", DESCRIPTOR, source, mount_from=f"{registry.host}/nothing")
        assert asked(registry) == ["POST mount", "PUT uploads"]
        assert client.has_blob(f"{registry.host}/app", DESCRIPTOR)


def test_a_mount_that_is_forbidden_becomes_an_upload() -> None:
    refused = answer(b"", status="403 Forbidden")
    rules = ("POST /v2/app/blobs/uploads/?mount=", refused), ("POST", STARTED), ("PUT", CREATED)
    with serve(*rules) as server, anonymous() as client:
        client.push_blob(f"{server.host}/app", DESCRIPTOR, source, mount_from=f"{server.host}/private")
        assert seen(server) == ["POST", "POST", "PUT"]


def test_rg_04_a_mount_asks_for_both_repositories_and_nothing_else() -> None:
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as registry:
        push(registry, "base:1", layers=1)
        with client_for(registry.host) as client:
            image = client.image(f"{registry.host}/base:1")
            client.push(image, f"{registry.host}/app:1")
        asked_for = [request.path for request in registry.requests if "%2Cpush&" in request.path]
    (path,) = asked_for
    assert re.findall("scope=([^&]*)", path) == ["repository%3Aapp%3Apull%2Cpush", "repository%3Abase%3Apull"]


# Pieces


@pytest.mark.parametrize("size", [1, 40_000, len(BLOB) - 1, len(BLOB), len(BLOB) + 1])
def test_chunks_are_what_was_asked_for(registry: testing.Registry, size: int) -> None:
    with anonymous(ClientOptions(chunk_size=max(size, 20_000), sleep=Sleeper())) as client:
        client.push_blob(f"{registry.host}/app", DESCRIPTOR, source)
        with client.open_blob(f"{registry.host}/app", DESCRIPTOR) as stream:
            assert stream.read() == BLOB
    step = max(size, 20_000)
    expected = [f"{start}-{min(start + step, len(BLOB)) - 1}" for start in range(0, len(BLOB), step)]
    assert bodies(registry, "PATCH") == expected
    assert bodies(registry, "PUT") == [None]


def patched(head: bytes) -> bytes:
    last = head.partition(b"Content-Range: ")[2].partition(b"\r\n")[0].partition(b"-")[2].decode()
    return answer(b"", "Location: /v2/app/blobs/uploads/1", f"Range: 0-{last}", status="202 Accepted")


@pytest.mark.parametrize(
    ("minimum", "expected"),
    [
        (0, ["0-9999", "10000-19999"]),
        (30_000, ["0-29999", "30000-59999"]),
        (10**15, ["0-39999", "40000-65535"]),
    ],
)
def test_rg_16_the_least_chunk_is_honoured_within_bounds(minimum: int, expected: list[str]) -> None:
    started = answer(
        b"", "Location: /v2/app/blobs/uploads/1", f"OCI-Chunk-Min-Length: {minimum}", status="202 Accepted"
    )

    def talk(head: bytes) -> list[bytes]:
        return [
            started if head.startswith(b"POST") else CREATED if head.startswith(b"PUT") else patched(head)
        ]

    options = ClientOptions(chunk_size=10_000, limits=Limits(max_chunk=40_000), sleep=Sleeper())
    with RawServer(talk) as server, anonymous(options) as client:
        client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
        ranges = re.findall(rb"Content-Range: ([0-9-]+)", b"".join(server.heads))
    assert [text.decode() for text in ranges][:2] == expected


def test_what_is_too_large_as_a_whole_goes_in_pieces() -> None:
    def talk(head: bytes) -> list[bytes]:
        if head.startswith(b"PUT") and b"Content-Length: 0" not in head:
            return [answer(b"", status="413 Content Too Large")]
        return [
            STARTED if head.startswith(b"POST") else CREATED if head.startswith(b"PUT") else patched(head)
        ]

    options = ClientOptions(limits=Limits(fallback_chunk=40_000), sleep=Sleeper())
    with RawServer(talk) as server, anonymous(options) as client:
        client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
        assert seen(server) == ["POST", "PUT", "POST", "PATCH", "PATCH", "PUT"]


def test_an_empty_blob_is_sent(registry: testing.Registry) -> None:
    empty = Descriptor.of(b"", mediatypes.OCI_LAYER)
    for chunk in (None, 1000):
        with anonymous(ClientOptions(chunk_size=chunk)) as client:
            client.push_blob(
                f"{registry.host}/app{chunk or ''}", empty, lambda: partial.stream_of(b"", empty)
            )
            assert client.has_blob(f"{registry.host}/app{chunk or ''}", empty)


def test_other_algorithms_are_announced() -> None:
    described = Descriptor.of(BLOB, mediatypes.OCI_LAYER, algorithm="sha512")
    with serve(("POST", STARTED), ("PUT", CREATED)) as server, anonymous() as client:
        client.push_blob(f"{server.host}/app", described, lambda: partial.stream_of(BLOB, described))
        assert server.heads[0].startswith(b"POST /v2/app/blobs/uploads/?digest-algorithm=sha512 ")


# Interruptions


def test_an_interrupted_upload_goes_on_where_it_stopped(registry: testing.Registry) -> None:
    content = testing.random_image(1, size=2_000_000, compression="none").layers[0]
    sleeper = Sleeper()
    options = ClientOptions(chunk_size=500_000, sleep=sleeper)
    with CuttingProxy(registry.host, [700_000, 800_000]) as proxy, anonymous(options) as client:
        client.push_blob(f"{proxy.host}/app", content.descriptor, content.open)
        assert proxy.cuts == []
    with anonymous() as client, client.open_blob(f"{registry.host}/app", content.descriptor) as stream:
        stream.read()
    assert Counter(asked(registry))["POST uploads"] == 1
    starts = [int((text or "").partition("-")[0]) for text in bodies(registry, "PATCH")]
    assert starts == sorted(starts)
    assert len(set(starts)) == len(starts)
    assert len(sleeper.pauses) == 2


def test_progress_falls_back_when_a_piece_is_sent_again(registry: testing.Registry) -> None:
    content = testing.random_image(1, size=1_000_000, compression="none").layers[0]
    heard: list[int] = []
    with CuttingProxy(registry.host, [300_000]) as proxy, anonymous() as client:
        client.push_blob(f"{proxy.host}/app", content.descriptor, content.open, advance=heard.append)
    assert heard[-1] == content.size
    assert heard != sorted(heard)


def test_a_lost_answer_is_no_second_upload() -> None:
    """The registry had stored the blob before the connection broke: asking is enough."""
    heads = iter([MISSING, answer(b"", length=len(BLOB))])

    def talk(head: bytes) -> list[bytes]:
        if head.startswith(b"HEAD"):
            return [next(heads)]
        return [STARTED] if head.startswith(b"POST") else []

    with RawServer(talk) as server, anonymous() as client:
        assert not client.has_blob(f"{server.host}/app", DESCRIPTOR)
        client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
        assert seen(server) == ["HEAD", "POST", "PUT", "HEAD"]


@pytest.mark.parametrize(
    "status",
    [
        answer(b"", status="404 Not Found"),
        answer(b"", status="204 No Content", length=None),
        answer(b"", "Range: 0-0", status="204 No Content", length=None),
        answer(b""),
    ],
    ids=["unknown", "silent", "nothing", "strange"],
)
def test_an_upload_that_cannot_go_on_starts_again(status: bytes) -> None:
    puts = iter([[], [CREATED]])

    def talk(head: bytes) -> list[bytes]:
        if head.startswith(b"PUT"):
            return list(next(puts))
        return [{b"HEAD": MISSING, b"POST": STARTED, b"GET ": status}[head[:4]]]

    with RawServer(talk) as server, anonymous() as client:
        client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
        assert seen(server) == ["POST", "PUT", "HEAD", "GET", "POST", "PUT"]


@pytest.mark.parametrize("text", ["0-65536", "0-99999999999", "1-5", "0--1", "x", "0-5/10", "bytes 0-5"])
def test_rg_16_a_registry_cannot_have_more_than_there_is(text: str) -> None:
    status = answer(b"", f"Range: {text}", status="204 No Content", length=None)
    with serve(("POST", STARTED), ("PUT", b""), ("GET", status), ("DELETE", MISSING)) as server:
        with anonymous() as client, pytest.raises(RegistryError, match="Range"):
            client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
        assert seen(server) == ["POST", "PUT", "HEAD", "GET"]


@pytest.mark.parametrize("status", ["503 Service Unavailable", "416 Range Not Satisfiable"])
def test_rg_10_an_upload_that_gets_nowhere_is_given_up(status: str) -> None:
    sleeper = Sleeper()
    stuck = answer(b"", "Range: 0-9999", status="204 No Content", length=None)
    rules = ("POST", STARTED), ("GET", stuck), ("DELETE", answer(b"")), ("P", answer(b"", status=status))
    with serve(*rules) as server, anonymous(ClientOptions(chunk_size=10_000, sleep=sleeper)) as client:
        with pytest.raises(RegistryResponseError, match=status[:3]):
            client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
        assert Counter(seen(server))["PATCH"] == Limits().resumes + 1
    assert sleeper.pauses == sorted(sleeper.pauses)
    assert len(sleeper.pauses) == Limits().resumes


def test_a_pause_that_a_registry_asks_for_is_made() -> None:
    sleeper = Sleeper()
    puts = iter([answer(b"", "Retry-After: 7", status="503 Service Unavailable"), CREATED])

    def talk(head: bytes) -> list[bytes]:
        if head.startswith(b"PUT"):
            return [next(puts)]
        return [STARTED if head.startswith(b"POST") else MISSING]

    with RawServer(talk) as server, anonymous(ClientOptions(sleep=sleeper)) as client:
        client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
    assert sleeper.pauses == [7.0]


def test_a_registry_that_wants_a_long_pause_is_not_waited_for() -> None:
    limited = answer(
        b"", "Retry-After: 3600", "RateLimit-Limit: 100;w=21600", "RateLimit-Remaining: 0;w=21600",
        status="429 Too Many Requests",
    )  # fmt: skip
    with RawServer(limited) as server, anonymous() as client:
        with pytest.raises(
            RateLimited, match="0 requests left of 100 allowed in 21600 s; try again in 3600 s"
        ) as caught:
            client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
        assert (caught.value.retry_after, caught.value.limit, caught.value.remaining) == (3600, 100, 0)
        assert client.rate_limit(server.host) == remote.RateLimit(100, 0, 21600)
        assert client.rate_limit("other.example") is None
        assert len(server.heads) == 1


# What is sent is proved


@pytest.mark.parametrize(
    "content", [BLOB[:-1] + b"x", BLOB[:-1], BLOB + b"x"], ids=["wrong", "short", "long"]
)
@pytest.mark.parametrize("chunk", [None, 20_000])
def test_a_damaged_source_is_not_a_damaged_push(
    registry: testing.Registry, content: bytes, chunk: int | None
) -> None:
    lie = Descriptor.of(content, mediatypes.OCI_LAYER)
    with anonymous(ClientOptions(chunk_size=chunk, sleep=Sleeper())) as client:
        with pytest.raises(ContentError):
            client.push_blob(f"{registry.host}/app", DESCRIPTOR, lambda: partial.stream_of(content, lie))
        if client.has_blob(
            f"{registry.host}/app", DESCRIPTOR
        ):  # of what is too long, the first bytes are right
            with client.open_blob(f"{registry.host}/app", DESCRIPTOR) as stream:
                assert stream.read() == BLOB
    assert "DELETE uploads" in asked(registry)


def test_what_may_not_be_distributed_is_not_pushed(registry: testing.Registry) -> None:
    image = testing.random_image(1)
    (layer,) = image.manifest.layers
    raw = image.raw_manifest.replace(
        layer.media_type.encode(), mediatypes.OCI_NONDISTRIBUTABLE_LAYER_GZIP.encode()
    ).replace(b'"size":%d}]' % layer.size, b'"size":%d,"urls":["https://a.example/x"]}]' % layer.size)
    foreign = partial.image(raw, image.raw_config, MemoryBlobs())
    with anonymous() as client:
        assert foreign.manifest.layers[0].urls
        client.push(foreign, f"{registry.host}/app:1")
        assert Counter(asked(registry))["POST uploads"] == 1


def test_a_reference_by_digest_takes_only_that_image(registry: testing.Registry) -> None:
    with anonymous() as client, pytest.raises(DigestMismatch):
        client.push(testing.random_image(1), f"{registry.host}/app@{Digest.of(b'other')}")
    assert registry.requests == ()


def test_nobody_answers() -> None:
    with RawServer(b"") as server, anonymous() as client, pytest.raises(RegistryUnreachable):
        client.push_blob(f"{server.host}/app", DESCRIPTOR, source)
