"""How much the registry client reads, and what it asks for at all (ATTACKS.md, RG-05 to RG-08, RG-15 and RG-16)."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    DigestMismatch,
    InvalidReference,
    LimitExceeded,
    MediaTypeMismatch,
    NotFound,
    RegistryProtocolError,
    RegistryResponseError,
    RegistryUnreachable,
    SizeMismatch,
    SpecError,
    UnsupportedDigest,
)
from ociworks.image import remote
from ociworks.image.remote import Limits
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import BLOB, DESCRIPTOR, client_for, endless, paths, read_blob

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("status", ["404 Not Found", "401 Unauthorized", "403 Forbidden", "400 Bad Request"])
def test_rg_05_error_bodies_are_cut(client: remote.Client, status: str) -> None:
    with RawServer(endless(status)) as server:
        with pytest.raises(RegistryResponseError, match="max_error_body") as caught:
            client.image(f"{server.host}/app:1")
        assert caught.value.status == int(status[:3])


def test_rg_05_redirect_and_head_bodies_are_not_read(client: remote.Client) -> None:
    away, gone = endless("302 Found", "Location: /x"), answer(b"", status="404 Not Found")
    with RawServer(away, gone) as server, pytest.raises(NotFound):
        client.image(f"{server.host}/app:1")
    head, wrong = endless("200 OK", f"Docker-Content-Digest: {DESCRIPTOR.digest}"), answer(b"{}")
    expected = (MediaTypeMismatch, DigestMismatch, RegistryProtocolError)
    with RawServer(head, wrong) as server, pytest.raises(expected):
        client.resolve(f"{server.host}/app:1")


def test_rg_05_token_bodies_are_cut() -> None:
    with RawServer(b"", endless("200 OK")) as server:
        bearer = f'WWW-Authenticate: Bearer realm="http://{server.host}/t"'
        server._scripts = (answer(b"", bearer, status="401 Unauthorized"), endless("200 OK"))
        with client_for(server.host) as client, pytest.raises(LimitExceeded, match="max_token_body"):
            client.image(f"{server.host}/app:1")


@pytest.mark.parametrize("length", [None, 5 << 30])
def test_rg_06_manifests_are_small(client: remote.Client, length: int | None) -> None:
    def talk(_head: bytes) -> Iterator[bytes]:
        yield answer(b"", f"Content-Type: {mediatypes.OCI_MANIFEST}", length=length)
        yield from itertools.repeat(b" " * 65536)

    with RawServer(talk) as server, pytest.raises(LimitExceeded, match="max_document"):
        client.image(f"{server.host}/app:1")


def test_rg_06_declared_sizes_bound_what_is_read(client: remote.Client) -> None:
    image = testing.random_image(0)
    config = image.manifest.config
    huge = image.raw_manifest.replace(b'"size":%d' % config.size, b'"size":%d' % 2**62)
    manifest = answer(huge, f"Content-Type: {mediatypes.OCI_MANIFEST}")
    with RawServer(manifest, endless("200 OK")) as server:
        with pytest.raises(LimitExceeded, match="max_document"):
            client.image(f"{server.host}/app:1")
        assert len(server.heads) == 1
    manifest = answer(image.raw_manifest, f"Content-Type: {mediatypes.OCI_MANIFEST}")
    with RawServer(manifest, endless("200 OK")) as server, pytest.raises(SizeMismatch):
        client.image(f"{server.host}/app:1")


def test_rg_07_only_digests_reach_the_registry(registry: testing.Registry, client: remote.Client) -> None:
    for tail in [
        "sha256:../../../x",
        "sha256:%2e%2e%2f",
        "sha256:" + "a" * 63,
        "sha256:" + "A" * 64,
        "sha256:\0",
    ]:
        with pytest.raises(InvalidReference):
            client.image(f"{registry.host}/app@{tail}")
    config = b'{"mediaType":"a/b","digest":"sha256:aa/../../manifests/x","size":1}'
    raw = b'{"schemaVersion":2,"config":%s,"layers":[]}' % config
    with RawServer(answer(raw, f"Content-Type: {mediatypes.OCI_MANIFEST}")) as server:
        with pytest.raises(SpecError):
            client.image(f"{server.host}/app:1")
        assert len(server.heads) == 1
    assert paths(registry) == []


@pytest.mark.parametrize("digest", ["md5:" + "a" * 32, "sha1:" + "a" * 40, "blake3:" + "a" * 64])
def test_rg_08_unverifiable_blobs_are_refused(client: remote.Client, digest: str) -> None:
    descriptor = Descriptor(media_type=mediatypes.OCI_LAYER, digest=Digest.parse(digest), size=len(BLOB))
    with RawServer(answer(BLOB)) as server, pytest.raises(UnsupportedDigest):
        read_blob(client, server.host, descriptor)


@pytest.mark.parametrize(
    "raw",
    [
        answer(BLOB, "Transfer-Encoding: chunked"),
        answer(BLOB, "Content-Length: 5"),
        answer(b"zz\r\nabc", "Transfer-Encoding: chunked", length=None),
        answer(b"3\r\nabcXX", "Transfer-Encoding: chunked", length=None),
        answer(b"", "Transfer-Encoding: gzip, chunked", length=None),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header : x\r\n\r\n",
    ],
)
def test_rg_15_bad_framing_is_an_error(client: remote.Client, raw: bytes) -> None:
    with RawServer(raw) as server, pytest.raises((RegistryProtocolError, LimitExceeded)):
        read_blob(client, server.host)


def test_rg_15_a_truncated_chunked_body_is_resumed_or_fails(client: remote.Client) -> None:
    body = b"%x\r\n%s\r\n" % (len(BLOB), BLOB) + b"0\r\n\r\n"
    with RawServer(answer(body, "Transfer-Encoding: chunked", length=None)) as server:
        assert read_blob(client, server.host) == BLOB


def test_rg_15_a_slow_sender_is_stopped() -> None:
    """Each single byte comes in time; the whole does not. The clock of the test is the limits, all set to little."""
    stop = threading.Event()

    def drip(_head: bytes) -> Iterator[bytes]:
        yield answer(b"", length=len(BLOB))
        while not stop.wait(0.02):
            yield b"x"

    limits = Limits(slow_window=0.1, slow_bytes=64 * 1024, answer_deadline=0.2, attempts=1)
    with RawServer(drip) as server, client_for(server.host, limits=limits) as client:
        with pytest.raises(RegistryUnreachable, match="slow_bytes"):
            read_blob(client, server.host)
        with pytest.raises(RegistryUnreachable, match="in time"):
            client.image(f"{server.host}/app:1")
        stop.set()


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/x", "/v2/../../x", "https://{host}/v2/x", "http://localhost:1/v2/x", "/elsewhere",
     "http://u:p@{host}/v2/x", "//evil.example/v2/"],
)  # fmt: skip
def test_rg_16_upload_locations_stay_home(client: remote.Client, location: str) -> None:
    with RawServer(b"") as server:
        started = answer(b"", f"Location: {location.format(host=server.host)}", status="202 Accepted")
        server._scripts = (answer(b"", status="404 Not Found"), started)
        with pytest.raises(RegistryProtocolError, match="upload"):
            client.push(testing.random_image(0), f"{server.host}/app:1")
        assert len(server.heads) == 2
