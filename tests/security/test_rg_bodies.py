"""RG-05, RG-06, RG-08 to RG-10, RG-14 and RG-15 of the regression catalogue: bytes that end late, early or never.

What pulls of one blob or manifest must stand is in ``tests/image/remote``, digests alone in
``tests/spec/test_digest.py``; here are the other verbs, whole images, and odd algorithms on the road.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    ContentError,
    DigestMismatch,
    LimitExceeded,
    NotFound,
    OciworksError,
    RegistryError,
    RegistryProtocolError,
    RegistryResponseError,
    RegistryUnreachable,
    UnsupportedDigest,
)
from ociworks.image import layout, partial
from ociworks.image.memory import MemoryBlobs
from ociworks.image.remote import ClientOptions, Limits
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, Index, mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import BLOB, DESCRIPTOR, Sleeper, anonymous, endless, read_blob, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ociworks.image.remote import Client
    from ociworks.image.types import ByteStream

STARTED = answer(b"", "Location: /v2/app/blobs/uploads/1", status="202 Accepted")


@pytest.fixture
def registry() -> Iterator[testing.Registry]:
    with testing.Registry() as opened:
        yield opened


def send(client: Client, where: str) -> None:
    client.push_blob(where, DESCRIPTOR, lambda: partial.stream_of(BLOB, DESCRIPTOR))


VERBS: dict[str, Callable[[Client, str], object]] = {
    "tags": lambda client, where: list(client.tags(where)),
    "referrers": lambda client, where: client.referrers(f"{where}@{DESCRIPTOR.digest}"),
    "tag": lambda client, where: client.tag(where, "other"),
    "index": lambda client, where: client.index(where),
    "referrer": lambda client, where: client.referrer(f"{where}@{DESCRIPTOR.digest}", DESCRIPTOR),
    "random access": lambda client, where: client.random_access(where, DESCRIPTOR).read(10),
}


# RG-05: bodies off the happy path


@pytest.mark.parametrize("verb", VERBS)
def test_rg_05_no_verb_reads_an_endless_body(verb: str) -> None:
    with RawServer(endless("200 OK")) as server, anonymous() as client:
        with pytest.raises((LimitExceeded, ContentError, OciworksError)) as caught:
            VERBS[verb](client, f"{server.host}/app")
        assert not isinstance(caught.value, RegistryUnreachable)


def test_rg_05_answers_to_uploads_and_deletes_are_not_drained() -> None:
    """After success the connection is dropped; of an error at most max_error_body is read."""
    limits = Limits(attempts=1, resumes=0)
    with (
        serve(
            ("POST", STARTED), ("PUT", endless("201 Created")(b"")), ("DELETE", endless("202 Accepted")(b""))
        ) as server,
        anonymous(ClientOptions(limits=limits)) as client,
    ):
        send(client, f"{server.host}/app")
        client.delete_blob(f"{server.host}/app", DESCRIPTOR.digest)
    with (
        RawServer(endless("500 Internal Server Error")) as server,
        anonymous(ClientOptions(limits=limits)) as client,
    ):
        with pytest.raises(RegistryResponseError, match="max_error_body"):
            send(client, f"{server.host}/app")
        with pytest.raises(RegistryResponseError, match="max_error_body"):
            client.delete_blob(f"{server.host}/app", DESCRIPTOR.digest)


# RG-06: oversized documents


def test_rg_06_a_list_with_a_million_entries() -> None:
    entry = Descriptor.of(b"", mediatypes.OCI_MANIFEST)
    item = json.dumps({"mediaType": entry.media_type, "digest": str(entry.digest), "size": 0}).encode()
    body = b'{"schemaVersion":2,"manifests":[%s]}' % b",".join([item] * 1_000_000)
    script = answer(body, f"Content-Type: {mediatypes.OCI_INDEX}")
    with RawServer(script) as server, anonymous() as client:
        with pytest.raises(LimitExceeded, match="max_document"):
            client.get(f"{server.host}/app:1")
        with pytest.raises(LimitExceeded, match="max_document"):
            client.referrers(f"{server.host}/app@{DESCRIPTOR.digest}")


def test_rg_06_a_manifest_that_really_is_a_layer() -> None:
    huge = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=DESCRIPTOR.digest, size=2 << 30)
    index = Index(media_type=mediatypes.OCI_INDEX, manifests=(huge,))
    with RawServer(answer(BLOB, length=2 << 30)) as server, anonymous() as client:
        with pytest.raises(LimitExceeded, match="max_document"):
            client.image(f"{server.host}/app@{DESCRIPTOR.digest}")
        with pytest.raises(LimitExceeded, match="max_document"):
            client.referrer(f"{server.host}/app@{DESCRIPTOR.digest}", index.manifests[0])


def test_rg_06_a_manifest_larger_than_registries_take_is_not_sent(registry: testing.Registry) -> None:
    image = testing.random_image(1)
    raw = image.raw_manifest[:-1] + b',"annotations":{"a":"%s"}}' % (b"x" * (4 << 20))
    large = partial.image(raw, image.raw_config, partial.source_of(image.layers[0]) or MemoryBlobs())
    with anonymous() as client, pytest.raises(LimitExceeded, match="max_manifest_pushed"):
        client.push(large, f"{registry.host}/app:1")


# RG-08: algorithms


@pytest.mark.parametrize(
    "digest",
    ["md5:" + "a" * 32, "sha1:" + "a" * 40, "blake3:" + "a" * 64, "sha256+b64u:" + "A" * 43, "multihash+base58:QmRZx",
     "shake_128:" + "a" * 32, "sha224:" + "a" * 56],
)  # fmt: skip
def test_rg_08_what_cannot_be_verified_is_neither_read_nor_kept_nor_sent(tmp_path: Path, digest: str) -> None:
    odd = Descriptor(media_type=mediatypes.OCI_LAYER, digest=Digest.parse(digest), size=len(BLOB))
    with (
        RawServer(answer(BLOB)) as server,
        anonymous() as client,
        layout.open(tmp_path / "l", create=True) as store,
    ):
        with pytest.raises(UnsupportedDigest, match="unsupported digest algorithm"):
            read_blob(client, server.host, odd)
        with pytest.raises(UnsupportedDigest):
            store.write_blob(odd, client.open_blob(f"{server.host}/app", odd))
        with pytest.raises(UnsupportedDigest):
            client.image(f"{server.host}/app@{digest}")
        assert not store.has(odd)
    with serve(("POST", STARTED)) as server, anonymous() as client:
        with pytest.raises(UnsupportedDigest):
            client.push_blob(f"{server.host}/app", odd, lambda: io.BytesIO(BLOB))
        assert server.heads == []


@pytest.mark.parametrize(
    "digest", ["SHA256:" + "a" * 64, "sha512:" + "a" * 64, "sha256:" + "A" * 64, "sha256:"]
)
def test_rg_08_what_is_no_digest_is_not_asked_for(registry: testing.Registry, digest: str) -> None:
    with anonymous() as client, pytest.raises(OciworksError):
        client.image(f"{registry.host}/app@{digest}")
    assert registry.requests == ()


def test_rg_08_images_of_mixed_algorithms_travel(tmp_path: Path) -> None:
    """Configuration by sha256, one layer by sha512, one by sha256: there and back."""
    image = testing.random_image(2)
    contents = []
    for layer in image.layers:
        with layer.open() as stream:
            contents.append(stream.read())
    first = image.manifest.layers[0]
    other = Digest.of(contents[0], "sha512")
    raw = image.raw_manifest.replace(str(first.digest).encode(), str(other).encode())
    blobs = {other: contents[0], image.layers[1].digest: contents[1]}

    class Source:
        def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
            return partial.stream_of(blobs[descriptor.digest], descriptor)

    mixed = partial.image(raw, image.raw_config, Source())
    with testing.Registry() as registry, anonymous() as client:
        client.push(mixed, f"{registry.host}/app:1")
        with layout.open(tmp_path / "l", create=True) as store:
            store.put(client.image(f"{registry.host}/app:1"), tag="app")
            assert store.verify() == []
            assert store.image("app").layers[0].digest == other


# RG-09: verification that stops early


def archive(extra: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"data"))
    return out.getvalue() + extra


def test_rg_09_what_follows_the_end_of_the_archive_counts(tmp_path: Path) -> None:
    """A reader that stops at the end marker would never see the bytes that break the digest."""
    right, wrong = archive(b"\0" * 512), archive(b"\0" * 511 + b"x")
    descriptor = Descriptor.of(right, mediatypes.OCI_LAYER)
    with RawServer(answer(wrong)) as server, anonymous() as client:
        with (
            pytest.raises(DigestMismatch) as caught,
            client.open_blob(f"{server.host}/app", descriptor) as stream,
            tarfile.open(fileobj=io.BytesIO(stream.read(10_240))) as tar,
        ):
            assert tar.getnames() == ["file"]
        assert (caught.value.expected, caught.value.found) == (
            str(descriptor.digest), f"sha256:{hashlib.sha256(wrong).hexdigest()}",
        )  # fmt: skip
        with layout.open(tmp_path / "l", create=True) as store:
            with pytest.raises(DigestMismatch):
                store.write_blob(descriptor, client.open_blob(f"{server.host}/app", descriptor))
            assert not store.has(descriptor)


def test_rg_09_a_consumer_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with (
        RawServer(answer(BLOB)) as server,
        anonymous() as client,
        layout.open(tmp_path / "l", create=True) as store,
    ):

        def stop(done: int) -> None:
            raise KeyboardInterrupt(done)

        with pytest.raises(KeyboardInterrupt):
            store.write_blob(DESCRIPTOR, client.open_blob(f"{server.host}/app", DESCRIPTOR), stop)
        assert not store.has(DESCRIPTOR)


# RG-10: lies about length and ranges


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Content-Type: multipart/byteranges; boundary=x"], "206 Partial Content"),
        (
            ["Content-Range: bytes 30000-65535/65536", "Content-Range: bytes 30000-65535/65536"],
            "206 Partial Content",
        ),
        (["Content-Range: bytes 0-65535/65536"], "206 Partial Content"),
        (['ETag: "other"', "Content-Range: bytes 30000-30001/65536"], "206 Partial Content"),
    ],
    ids=["multipart", "twice", "from the start", "a piece"],
)
def test_rg_10_a_resume_is_exactly_the_rest(headers: list[str], status: str) -> None:
    rest = answer(BLOB[30_000:], *headers, status=status)
    with RawServer(answer(BLOB[:30_000], length=len(BLOB)), rest) as server, anonymous() as client:
        with pytest.raises(RegistryProtocolError):
            read_blob(client, server.host)
        assert len(server.heads) == 2


def test_rg_10_another_blob_after_the_break_is_found_out() -> None:
    """A changed ETag or not: what decides is the digest over all that came."""
    other = bytes(reversed(BLOB))
    rest = answer(
        other[30_000:], 'ETag: "new"', "Content-Range: bytes 30000-65535/65536", status="206 Partial Content"
    )
    with (
        RawServer(answer(BLOB[:30_000], 'ETag: "old"', length=len(BLOB)), rest) as server,
        anonymous() as client,
        pytest.raises(DigestMismatch),
    ):
        read_blob(client, server.host)


# RG-14: encoded bodies


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "identity, gzip"])
@pytest.mark.parametrize("verb", VERBS)
def test_rg_14_no_verb_reads_an_encoded_body(verb: str, encoding: str) -> None:
    with (
        RawServer(answer(b"{}", f"Content-Encoding: {encoding}")) as server,
        anonymous() as client,
        pytest.raises(RegistryProtocolError, match="Content-Encoding"),
    ):
        VERBS[verb](client, f"{server.host}/app")


# RG-15: framing and slow senders


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 202 Accepted\r\nLocation: /v2/x\r\nLocation: /v2/y\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nLocation: /v2/x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nLocation: /v2/x\r\n y\r\n folded: z\r\n\r\n",
        b"HTTP/1.1 202 Accepted\nLocation /v2/x\n\n",
        b"HTTP/1.1 202 Accepted\r\nX: \x00\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["locations", "lengths", "folded", "no colon", "zero", "interim", "upgrade"],
)
def test_rg_15_uploads_stand_bad_framing(raw: bytes) -> None:
    with RawServer(raw) as server, anonymous() as client, pytest.raises(RegistryError):
        send(client, f"{server.host}/app")


def test_rg_15_a_connection_is_not_used_again_after_an_error(registry: testing.Registry) -> None:
    """The second answer is smuggled behind the first: nobody asked for it, so it is nobody's."""
    double = (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
    )
    with RawServer(double, answer(b"", status="404 Not Found")) as server, anonymous() as client:
        assert not client.exists(f"{server.host}/app:1")
        with pytest.raises(NotFound):
            list(client.tags(f"{server.host}/app"))
        assert len(server.heads) == 2


def test_rg_15_an_answer_to_an_upload_has_a_deadline() -> None:
    def drip(_head: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 202 Accepted\r\n"
        while True:
            yield b"X: y\r\n"

    limits = Limits(answer_deadline=0.2, attempts=1, resumes=0, max_header=2**40)
    with (
        RawServer(drip) as server,
        anonymous(ClientOptions(limits=limits, sleep=Sleeper())) as client,
        pytest.raises((RegistryUnreachable, RegistryProtocolError, LimitExceeded)),
    ):
        send(client, f"{server.host}/app")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"<html>", b'{"name":"a","tags":"x"}', b'{"name":"a","tags":[1]}', b'{"name":"a","name":"b"}',
     b'{"name":"a","tags":["../x"]}', b'{"name":"a","tags":["a\\u001b[31m"]}'],
)  # fmt: skip
def test_a_page_is_json_of_the_right_shape(body: bytes) -> None:
    with RawServer(answer(body)) as server, anonymous() as client:
        with pytest.raises(RegistryProtocolError) as caught:
            list(client.tags(f"{server.host}/app"))
        assert str(caught.value).isprintable() or "\n" in str(caught.value)
        with pytest.raises(OciworksError):
            client.referrers(f"{server.host}/app@{DESCRIPTOR.digest}")


def test_rg_10_a_short_list_is_an_error() -> None:
    with (
        RawServer(answer(b'{"name":"a"', length=500)) as server,
        anonymous() as client,
        pytest.raises(RegistryUnreachable, match="before the end"),
    ):
        list(client.tags(f"{server.host}/app"))
