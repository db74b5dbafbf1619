"""What the registry client believes of what it is sent (ATTACKS.md, RG-09 to RG-14)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    ContentError,
    DigestMismatch,
    MediaTypeMismatch,
    RegistryProtocolError,
    RegistryResponseError,
    RegistryUnreachable,
    SizeMismatch,
    SpecError,
    UnsupportedDigest,
)
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS
from ociworks.image.remote import ClientOptions, Limits
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import BLOB, DESCRIPTOR, Sleeper, client_for, push, read_blob

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (answer(BLOB[:-1] + b"x"), DigestMismatch),
        (answer(BLOB[:-1]), SizeMismatch),
        (answer(BLOB + b"x"), SizeMismatch),
        (answer(BLOB + b"x", length=None), SizeMismatch),
        (answer(b""), SizeMismatch),
    ],
)
def test_rg_09_blobs_are_proved(
    client: remote.Client, tmp_path: Path, script: bytes, expected: type[ContentError]
) -> None:
    with RawServer(script) as server, layout.open(tmp_path / "l", create=True) as store:
        with pytest.raises(expected):
            read_blob(client, server.host)
        with pytest.raises(expected), client.open_blob(f"{server.host}/app", DESCRIPTOR) as stream:
            stream.read(10)
        with pytest.raises(expected):
            store.write_blob(DESCRIPTOR, client.open_blob(f"{server.host}/app", DESCRIPTOR))
        assert not store.has(DESCRIPTOR)
        assert os.listdir(tmp_path / "l" / ".ociworks" / "ingest") == []


def test_rg_09_a_wrong_byte_in_one_layer_stops_the_pull(
    registry: testing.Registry, client: remote.Client, tmp_path: Path
) -> None:
    image = push(registry, layers=4)
    registry.inject(testing.Fault(path=str(image.layers[2].digest), flip_at=50_000))
    with layout.open(tmp_path / "l", create=True) as store:
        with pytest.raises(DigestMismatch):
            store.put(client.image(f"{registry.host}/app:1"), tag="app")
        assert store.tags() == {}
        assert not store.has(image.layers[2].descriptor)
        store.put(client.image(f"{registry.host}/app:1"), tag="app")
        assert store.verify() == []


def test_rg_10_interrupted_blobs_are_resumed(registry: testing.Registry, sleeper: Sleeper) -> None:
    image = push(registry, layers=1, size=300_000)
    for cut in (100_000, 1000, 150_000):
        registry.inject(testing.Fault(path=str(image.layers[0].digest), cut_after=cut))
    with remote.Client(keychain=ANONYMOUS, options=ClientOptions(sleep=sleeper)) as client:
        content = read_blob(client, registry.host, image.layers[0].descriptor)
    assert Digest.of(content) == image.layers[0].digest
    ranges = [request.header("range") for request in registry.requests if "/blobs/sha256" in request.path][
        -3:
    ]
    assert ranges == ["bytes=100000-", "bytes=101000-", "bytes=251000-"]
    assert len(sleeper.pauses) == 3


def test_rg_10_a_server_without_ranges_sends_all_again(client: remote.Client) -> None:
    with RawServer(answer(BLOB[:30_000], length=len(BLOB)), answer(BLOB)) as server:
        assert read_blob(client, server.host) == BLOB
    with RawServer(answer(BLOB[:30_000], length=None), answer(BLOB)) as server:
        assert read_blob(client, server.host) == BLOB


@pytest.mark.parametrize(
    "content_range",
    ["bytes 29999-65535/65536", "bytes 30001-65535/65536", "bytes 30000-65535/*", "bytes 30000-65534/65536",
     "bytes 30000-65535/65537", "bytes */65536", "items 30000-65535/65536", "", "bytes 30000-65535/65536 "],
)  # fmt: skip
def test_rg_10_misplaced_ranges_are_refused(client: remote.Client, content_range: str) -> None:
    rest = answer(BLOB[30_000:], f"Content-Range: {content_range}X", status="206 Partial Content")
    with RawServer(answer(BLOB[:30_000], length=len(BLOB)), rest) as server:
        with pytest.raises(RegistryProtocolError, match="Content-Range"):
            read_blob(client, server.host)
        assert len(server.heads) == 2


def test_rg_10_416_is_the_end(client: remote.Client) -> None:
    gone = answer(b"", "Content-Range: bytes */10", status="416 Range Not Satisfiable")
    with RawServer(answer(BLOB[:30_000], length=len(BLOB)), gone) as server:
        with pytest.raises(RegistryResponseError, match="416"):
            read_blob(client, server.host)
        assert len(server.heads) == 2


def test_rg_10_one_byte_per_connection_is_given_up(client: remote.Client, sleeper: Sleeper) -> None:
    def trickle(head: bytes) -> list[bytes]:
        start = int(head.partition(b"Range: bytes=")[2].partition(b"-")[0] or 0)
        size = len(BLOB)
        headers = [f"Content-Range: bytes {start}-{size - 1}/{size}"] if start else []
        status = "206 Partial Content" if start else "200 OK"
        return [answer(BLOB[start : start + 1], *headers, status=status, length=size - start)]

    with RawServer(trickle) as server:
        with pytest.raises(RegistryUnreachable, match="before the end"):
            read_blob(client, server.host)
        assert len(server.heads) == 1 + Limits().resumes
    assert sleeper.pauses == sorted(sleeper.pauses)


@pytest.mark.parametrize("size", [0, 1, len(BLOB) - 1, len(BLOB) + 1])
def test_rg_10_length_and_descriptor_must_agree(client: remote.Client, size: int) -> None:
    descriptor = Descriptor(media_type=mediatypes.OCI_LAYER, digest=DESCRIPTOR.digest, size=size)
    with RawServer(answer(BLOB)) as server:
        with pytest.raises(SizeMismatch):
            read_blob(client, server.host, descriptor)
        assert len(server.heads) == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([f"Docker-Content-Digest: {DESCRIPTOR.digest}"], DigestMismatch),
        (["Docker-Content-Digest: nonsense"], RegistryProtocolError),
        (["Docker-Content-Digest: md5:00"], UnsupportedDigest),
        ([f"Docker-Content-Digest: {Digest.of(BLOB, 'sha512')}"], DigestMismatch),
        (["Docker-Content-Digest: {true}", "Docker-Content-Digest: {true}"], RegistryProtocolError),
    ],
)
def test_rg_11_the_header_is_a_claim(
    client: remote.Client, headers: list[str], expected: type[Exception]
) -> None:
    image = testing.random_image(0)
    sent = [header.replace("{true}", str(image.digest)) for header in headers]
    script = answer(image.raw_manifest, f"Content-Type: {mediatypes.OCI_MANIFEST}", *sent)
    with RawServer(script) as server, pytest.raises(expected):
        client.image(f"{server.host}/app:1")


def test_rg_11_a_digest_gets_its_own_document(client: remote.Client) -> None:
    asked, other = testing.random_image(1, seed=1), testing.random_image(1, seed=2)
    lie = [f"Content-Type: {mediatypes.OCI_MANIFEST}", f"Docker-Content-Digest: {asked.digest}"]
    with RawServer(answer(other.raw_manifest, *lie)) as server, pytest.raises(DigestMismatch):
        client.image(f"{server.host}/app@{asked.digest}")


def test_rg_11_a_tag_is_resolved_once(registry: testing.Registry, client: remote.Client) -> None:
    index = testing.random_index()
    with client_for(registry.host) as pusher:
        pusher.push(index, f"{registry.host}/app:1")
    before = len(registry.requests)
    client.image(f"{registry.host}/app:1", "linux/amd64")
    asked = [request.path for request in registry.requests[before:]]
    assert [path for path in asked if path.endswith("/1")] == ["/v2/app/manifests/1"]
    assert all("sha256:" in path for path in asked[1:])


def test_rg_11_sha512_images_work(registry: testing.Registry, client: remote.Client) -> None:
    image = push(registry)
    digest = Digest.of(image.raw_manifest, "sha512")
    with registry.store.lock:
        repository = registry.store.repository("app")
        repository.manifests[digest] = repository.manifests[image.digest]
    assert client.image(f"{registry.host}/app@{digest}").digest == digest


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [(mediatypes.OCI_INDEX, MediaTypeMismatch), ("text/html; charset=utf-8", MediaTypeMismatch),
     (mediatypes.OCI_MANIFEST.upper(), MediaTypeMismatch), (mediatypes.DOCKER_MANIFEST, MediaTypeMismatch),
     ("x", SpecError)],
)  # fmt: skip
def test_rg_12_media_types_must_agree(
    client: remote.Client, content_type: str, expected: type[Exception]
) -> None:
    image = testing.random_image(0)
    with (
        RawServer(answer(image.raw_manifest, f"Content-Type: {content_type}")) as server,
        pytest.raises(expected),
    ):
        client.image(f"{server.host}/app:1")


def test_rg_12_a_child_is_what_its_index_says(registry: testing.Registry, client: remote.Client) -> None:
    index = testing.random_index(["linux/amd64"])
    with client_for(registry.host) as pusher:
        pusher.push(index, f"{registry.host}/app:1")
    (entry,) = index.index.manifests
    lie = (("Content-Type", mediatypes.DOCKER_MANIFEST),)
    registry.inject(testing.Fault(path=str(entry.digest), headers=lie))
    with pytest.raises(MediaTypeMismatch):
        client.image(f"{registry.host}/app:1", "linux/amd64")


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", ", ".join(["gzip"] * 50), "unknown"])
def test_rg_14_encoded_bodies_are_refused(client: remote.Client, encoding: str) -> None:
    with RawServer(answer(BLOB, f"Content-Encoding: {encoding}")) as server:
        with pytest.raises(RegistryProtocolError, match="Content-Encoding"):
            read_blob(client, server.host)
        with pytest.raises(RegistryProtocolError, match="Content-Encoding"):
            client.image(f"{server.host}/app:1")
        assert all(b"accept-encoding: identity\r\n" in head.lower() for head in server.heads)
