"""The registry client against registries that misbehave: what must hold whatever the other side says."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
import threading
import urllib.request
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    ContentError,
    DigestMismatch,
    ImageNotFound,
    InvalidReference,
    LimitExceeded,
    MediaTypeMismatch,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryProtocolError,
    RegistryResponseError,
    RegistryUnreachable,
    SizeMismatch,
    SpecError,
    Unauthorized,
    UnsupportedDigest,
)
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS, Basic, IdentityToken, RegistryToken, Secret, StaticKeychain
from ociworks.image.remote import ClientOptions, Limits
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import (
    BLOB,
    DESCRIPTOR,
    HIDDEN,
    Sleeper,
    client_for,
    endless,
    paths,
    push,
    read_blob,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ociworks.image.progress import Progress


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def client(sleeper: Sleeper) -> Iterator[remote.Client]:
    with remote.Client(keychain=ANONYMOUS, options=ClientOptions(sleep=sleeper)) as made:
        yield made


@pytest.fixture
def registry() -> Iterator[testing.Registry]:
    with testing.Registry() as opened:
        yield opened


# The road


def test_a_pull_reads_manifest_and_configuration_only(
    registry: testing.Registry, client: remote.Client
) -> None:
    image = push(registry)
    before = len(registry.requests)
    found = client.image(f"{registry.host}/app:1")
    assert found.digest == image.digest
    assert found.config == image.config
    asked = [request.path for request in registry.requests[before:]]
    assert asked == ["/v2/app/manifests/1", f"/v2/app/blobs/{image.manifest.config.digest}"]
    with found.layers[0].open() as mine, image.layers[0].open() as theirs:
        assert mine.read() == theirs.read()


def test_layers_travel_in_parallel_into_a_layout(
    registry: testing.Registry, client: remote.Client, tmp_path: Path
) -> None:
    image = push(registry, layers=6)
    with layout.open(tmp_path / "l", create=True) as store:
        store.put(client.image(f"{registry.host}/app:1"), tag="app")
        assert store.verify() == []
        assert store.image("app").digest == image.digest
        before = len(registry.requests)
        store.put(client.image(f"{registry.host}/app:1"), tag="again")
        assert len(registry.requests) == before + 2
    assert [thread for thread in threading.enumerate() if thread.name.startswith("ociworks-blob")] == []


def test_a_second_push_sends_nothing_twice(registry: testing.Registry, client: remote.Client) -> None:
    image = push(registry)
    before = len(registry.requests)
    reference = client.push(image, f"{registry.host}/app:2")
    assert str(reference) == f"{registry.host}/app:2@{image.digest}"
    methods = [request.method for request in registry.requests[before:]]
    assert methods == ["HEAD", "HEAD", "HEAD", "PUT"]


def test_resolve(registry: testing.Registry, client: remote.Client) -> None:
    image = push(registry)
    assert client.resolve(f"{registry.host}/app:1") == image.descriptor
    with pytest.raises(NotFound) as caught:
        client.resolve(f"{registry.host}/app:2")
    assert caught.value.status == 404
    with pytest.raises(ImageNotFound, match="use image"):
        client.index(f"{registry.host}/app:1")


def test_errors_carry_status_and_codes(registry: testing.Registry, client: remote.Client) -> None:
    push(registry)
    with pytest.raises(NotFound, match="MANIFEST_UNKNOWN") as caught:
        client.image(f"{registry.host}/app:nothing")
    assert (caught.value.status, caught.value.codes) == (404, ("MANIFEST_UNKNOWN",))
    assert caught.value.url == f"{registry.url}/v2/app/manifests/nothing"
    assert not caught.value.temporary


# Credentials


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_credentials_open_the_door(auth: str) -> None:
    options = testing.RegistryOptions(auth="basic" if auth == "basic" else "bearer")
    with testing.Registry(options) as registry:
        image = push(registry)
        with client_for(registry.host) as client:
            assert client.image(f"{registry.host}/app:1").digest == image.digest
        with remote.Client(keychain=ANONYMOUS) as anonymous, pytest.raises(Unauthorized):
            anonymous.image(f"{registry.host}/app:1")
        wrong = StaticKeychain({registry.host: Basic("user", Secret(HIDDEN))})
        with remote.Client(keychain=wrong) as client, pytest.raises(Unauthorized) as caught:
            client.image(f"{registry.host}/app:1")
        assert HIDDEN not in str(caught.value)


def test_an_identity_token_is_exchanged() -> None:
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as registry:
        image = push(registry)
        keychain = StaticKeychain({registry.host: IdentityToken(Secret("password"))})
        with remote.Client(keychain=keychain) as client:
            assert client.image(f"{registry.host}/app:1").digest == image.digest
        assert not any("password" in request.path for request in registry.requests)


def test_a_token_of_the_registry_is_sent_as_it_is() -> None:
    """A good one opens; a bad one is refused once, and nobody is asked for another."""
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as registry:
        image = push(registry)
        request = urllib.request.Request(
            f"{registry.url}/token?service={registry.host}&scope=repository:app:pull",
            headers={"Authorization": f"Basic {base64.b64encode(b'user:password').decode()}"},
        )
        with urllib.request.urlopen(request) as answer:
            token = json.load(answer)["token"]
        seen = len(registry.requests)
        with remote.Client(keychain=StaticKeychain({registry.host: RegistryToken(token)})) as client:
            assert client.image(f"{registry.host}/app:1").digest == image.digest
        with remote.Client(keychain=StaticKeychain({registry.host: RegistryToken(HIDDEN)})) as client:
            with pytest.raises(Unauthorized) as caught:
                client.image(f"{registry.host}/app:1")
            assert HIDDEN not in str(caught.value)
        assert not any("/token" in each.path for each in registry.requests[seen:])
    with pytest.raises(SpecError, match="visible ASCII"):
        RegistryToken("a b")


def test_one_token_serves_all_layers() -> None:
    with testing.Registry(testing.RegistryOptions(auth="bearer", anonymous_pull=True)) as registry:
        push(registry, layers=4)
        before = len(registry.requests)
        with remote.Client(keychain=ANONYMOUS) as client:
            for layer in client.image(f"{registry.host}/app:1").layers:
                layer.open().close()
        asked = [request.path for request in registry.requests[before:]]
        assert len([path for path in asked if path.startswith("/token")]) == 1


def test_rg_04_tokens_are_per_repository_and_per_right() -> None:
    with (
        testing.Registry(testing.RegistryOptions(auth="bearer")) as registry,
        client_for(registry.host) as client,
    ):
        client.push(testing.random_image(1), f"{registry.host}/one:1")
        client.push(testing.random_image(1), f"{registry.host}/two:1")
        scopes = [path.partition("scope=")[2] for path in paths(registry) if path.startswith("/token")]
    assert scopes == [
        "repository%3Aone%3Apull",
        "repository%3Aone%3Apull%2Cpush",
        "repository%3Atwo%3Apull",
        "repository%3Atwo%3Apull%2Cpush",
    ]


def test_rg_04_a_challenge_cannot_widen_the_scope() -> None:
    challenge = 'WWW-Authenticate: Bearer realm="http://{host}/token",service="s",scope="registry:catalog:*"'

    def refuse(head: bytes) -> list[bytes]:
        host = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"host:"))[6:].decode()
        return [answer(b"", challenge.format(host=host), status="401 Unauthorized")]

    with RawServer(refuse, answer(b'{"token":"abc"}'), answer(b"{}", status="404 Not Found")) as server:
        with remote.Client(keychain=ANONYMOUS) as client, pytest.raises(NotFound):
            client.image(f"{server.host}/mine:1")
        assert b"scope=repository%3Amine%3Apull " in server.heads[1]
        assert b"Authorization: Bearer abc" in server.heads[2]


def test_rg_01_credentials_stay_with_their_origin(registry: testing.Registry) -> None:
    """Blobs are redirected to another port; it sees no credentials, and its 401 is answered by nobody."""
    image = push(registry)
    options = testing.RegistryOptions(auth="bearer", redirect_blobs_to=registry.url)
    with testing.Registry(options) as front:
        push(front)
        seen = len(registry.requests)
        with client_for(front.host, registry.host, trusted=(registry.host,)) as client:
            found = client.image(f"{front.host}/app:1")
            with found.layers[0].open() as stream:
                assert Digest.of(stream.read()) == image.layers[0].digest
            assert [request.header("authorization") for request in registry.requests[seen:]] == [None, None]
            challenge = ("WWW-Authenticate", f'Bearer realm="{registry.url}/token",service="x"')
            registry.inject(testing.Fault(path="/blobs/", status=401, headers=(challenge,)))
            seen, asked = len(registry.requests), len(front.requests)
            with pytest.raises(Unauthorized):
                found.layers[1].open()
            assert len(registry.requests) == seen + 1
            with found.layers[1].open() as stream:
                stream.read()
        assert not any(path.startswith("/token") for path in paths(front)[asked:])
        assert not any(path.startswith("/token") for path in paths(registry))


@pytest.mark.parametrize(
    "location",
    ["http://10.1.2.3/x", "http://169.254.169.254/latest", "https://127.1/x", "https://user:pw@a.example/x", "//[::]/x",
     "file:///etc/passwd", "ftp://a.example/", "/v2/../x", "http://a.example/x", "https://0.0.0.0/x",
     "https://[::ffff:10.0.0.1]/", "https://x.localhost/", "https://a.example/ b", "https://a.example:99999/", ""],
)  # fmt: skip
def test_rg_01_bad_redirects_are_refused(client: remote.Client, location: str) -> None:
    with RawServer(answer(b"", f"Location: {location}", status="307 Temporary Redirect")) as server:
        with pytest.raises((RegistryProtocolError, SpecError)):
            read_blob(client, server.host)
        assert len(server.heads) == 1


@pytest.mark.parametrize("location", ["/v2/app/blobs/again", None])
def test_rg_01_redirects_are_counted(client: remote.Client, location: str | None) -> None:
    headers = [] if location is None else [f"Location: {location}"]
    with RawServer(answer(b"", *headers, status="302 Found")) as server:
        with pytest.raises((LimitExceeded, RegistryProtocolError), match="redirect"):
            read_blob(client, server.host)
        assert len(server.heads) == (6 if location else 1)


def test_rg_01_bodies_are_not_replayed(client: remote.Client) -> None:
    redirect = answer(b"", "Location: /elsewhere", status="307 Temporary Redirect")
    with RawServer(answer(b"", status="404 Not Found"), redirect) as server:
        with pytest.raises(RegistryProtocolError, match="redirected POST"):
            client.push(testing.random_image(0), f"{server.host}/app:1")
        assert len(server.heads) == 2


@pytest.mark.parametrize(
    "realm",
    ["http://169.254.169.254/token", "https://0.0.0.0/", "https://[::]/", "https://[fd00:ec2::254]/",
     "https://[::ffff:127.0.0.1]/", "https://127.1/", "https://localhost./", "https://u:p@a.example/", "https://100.64.0.1/",
     "https://localhost/", "http://a.example/token", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
     "https://a.example/?scope=push", "file:///etc/passwd", "https://224.0.0.1/"],
)  # fmt: skip
def test_rg_03_hostile_realms_are_not_asked(realm: str) -> None:
    challenge = f'WWW-Authenticate: Bearer realm="{realm}",service="s"'
    with RawServer(answer(b"", challenge, status="401 Unauthorized")) as server:
        with client_for(server.host) as client, pytest.raises(RegistryProtocolError):
            client.image(f"{server.host}/app:1")
        assert len(server.heads) == 1


def test_rg_03_a_redirecting_realm_gets_no_credentials_elsewhere(registry: testing.Registry) -> None:
    away = answer(b"", f"Location: {registry.url}/token", status="302 Found")
    with RawServer(b"", away) as server:
        server._scripts = (
            answer(
                b"", f'WWW-Authenticate: Bearer realm="http://{server.host}/t"', status="401 Unauthorized"
            ),
            away,
        )
        with client_for(server.host) as client, pytest.raises(RegistryProtocolError, match="trusted"):
            client.image(f"{server.host}/app:1")
        assert paths(registry) == []
        server.heads.clear()
        with (
            client_for(server.host, trusted=(registry.host,)) as client,
            pytest.raises(RegistryError),
        ):
            client.image(f"{server.host}/app:1")
        assert b"Authorization: Basic" in server.heads[1]
        assert registry.requests[0].header("authorization") is None


def test_rg_03_no_basic_over_http_after_bearer() -> None:
    with RawServer(b"") as server:
        bearer = f'WWW-Authenticate: Bearer realm="http://{server.host}/t"'
        basic = 'WWW-Authenticate: Basic realm="x"'
        server._scripts = (
            answer(b"", bearer, status="401 Unauthorized"),
            answer(b'{"token":"abc"}'),
            answer(b"", basic, status="401 Unauthorized"),
        )
        with client_for(server.host) as client, pytest.raises(Unauthorized):
            client.image(f"{server.host}/app:1")
        assert len(server.heads) == 3
        assert b"Basic" not in server.heads[2]


def test_rg_03_challenges_do_not_go_on_for_ever() -> None:
    with RawServer(b"") as server:
        bearer = f'WWW-Authenticate: Bearer realm="http://{server.host}/t"'

        def talk(head: bytes) -> list[bytes]:
            asked = head.startswith(b"GET /t")
            return [answer(b'{"token":"abc"}') if asked else answer(b"", bearer, status="401 Unauthorized")]

        server._scripts = (talk,)
        with client_for(server.host) as client, pytest.raises(Unauthorized):
            client.image(f"{server.host}/app:1")
        assert len(server.heads) == 5


def test_rg_02_urls_in_descriptors_are_not_followed(
    registry: testing.Registry, client: remote.Client
) -> None:
    with testing.Registry() as elsewhere:
        urls = (f"{elsewhere.url}/v2/app/blobs/{DESCRIPTOR.digest}", "file:///etc/passwd")
        foreign = Descriptor(
            media_type=mediatypes.OCI_NONDISTRIBUTABLE_LAYER,
            digest=DESCRIPTOR.digest,
            size=len(BLOB),
            urls=urls,
        )
        with pytest.raises(NotFound):
            read_blob(client, registry.host, foreign)
        assert paths(elsewhere) == []


# Bounds


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


# Content


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


# Framing


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


def test_nothing_stays_open(tmp_path: Path) -> None:
    """Descriptors and threads are the same before and after pulls that succeed, fail and are interrupted."""

    def opened() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = opened()
    with testing.Registry() as registry, client_for(registry.host) as client:
        image = push(registry, layers=4)
        faults = (
            testing.Fault(path=str(image.layers[3].digest), flip_at=1),
            testing.Fault(path=str(image.layers[1].digest), status=404),
            testing.Fault(path="/manifests/", status=500, times=4),
        )
        for number, fault in enumerate(faults):
            registry.inject(fault)
            path = tmp_path / str(number)
            with layout.open(path, create=True) as store, pytest.raises((ContentError, RegistryError)):
                store.put(client.image(f"{registry.host}/app:1"), tag="app")

        def interrupt(event: Progress) -> None:
            if event.phase == "transfer":
                raise KeyboardInterrupt

        found = client.image(f"{registry.host}/app:1")
        with layout.open(tmp_path / "l", create=True) as store, pytest.raises(KeyboardInterrupt):
            store.put(found, progress=interrupt)
        assert os.listdir(tmp_path / "l" / ".ociworks" / "ingest") == []
    assert opened() == before


# Uploads


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


def test_a_registry_that_stores_something_else_is_found_out(
    registry: testing.Registry, client: remote.Client
) -> None:
    lie = (("Docker-Content-Digest", str(DESCRIPTOR.digest)),)
    registry.inject(testing.Fault(path="/manifests/", method="PUT", headers=lie))
    with pytest.raises(DigestMismatch):
        client.push(testing.random_image(1), f"{registry.host}/app:1")


# Origins and TLS


def test_rg_18_plain_http_only_where_it_is_allowed(registry: testing.Registry) -> None:
    from ociworks.image.remote._policy import TargetPolicy

    policy = TargetPolicy.of(["reg.corp:5000"], [], ["localhost:5001"])
    schemes = {
        name: policy.registry(name).scheme
        for name in ["localhost:5000", "127.0.0.1:1", "[::1]:1", "reg.corp:5000", "docker.io", "localhost:5001",
                     "reg.corp", "reg.corp:5001", "reg.local", "localhost.evil", "10.0.0.1:5000", "127.0.0.1.nip.io"]
    }  # fmt: skip
    assert [name for name, scheme in schemes.items() if scheme == "http"] == [
        "localhost:5000", "127.0.0.1:1", "[::1]:1", "reg.corp:5000",
    ]  # fmt: skip
    assert str(policy.registry("docker.io")) == "https://registry-1.docker.io"
    with pytest.raises(SpecError):
        remote.Client(insecure=["reg.corp"])


def test_rg_18_a_tls_failure_never_becomes_http(registry: testing.Registry) -> None:
    options = ClientOptions(https=[registry.host], sleep=Sleeper())
    with (
        remote.Client(keychain=ANONYMOUS, options=options) as client,
        pytest.raises(RegistryUnreachable, match="no TLS") as caught,
    ):
        client.image(f"{registry.host}/app:1")
    assert not caught.value.temporary
    assert paths(registry) == []


# Retries


def test_temporary_failures_are_tried_again(registry: testing.Registry, sleeper: Sleeper) -> None:
    image = push(registry)
    registry.inject(testing.Fault(path="/manifests/", status=503, times=2))
    registry.inject(testing.Fault(path="/manifests/", status=429, headers=(("Retry-After", "7"),)))
    with remote.Client(keychain=ANONYMOUS, options=ClientOptions(sleep=sleeper)) as client:
        assert client.image(f"{registry.host}/app:1").digest == image.digest
    assert sleeper.pauses == [0.5, 1.0, 7.0]


def test_retries_are_bounded(registry: testing.Registry, client: remote.Client, sleeper: Sleeper) -> None:
    registry.inject(testing.Fault(path="/manifests/", status=500, times=-1))
    with pytest.raises(RegistryResponseError, match="status 500") as caught:
        client.image(f"{registry.host}/app:1")
    assert caught.value.temporary
    assert len(registry.requests) == Limits().attempts
    registry.inject(testing.Fault(path="/blobs/", status=429, headers=(("Retry-After", "99999"),)))
    with pytest.raises(RateLimited) as limited:
        read_blob(client, registry.host)
    assert limited.value.retry_after == 99999
    assert len(sleeper.pauses) == Limits().attempts - 1


def test_final_failures_are_not_repeated(
    registry: testing.Registry, client: remote.Client, sleeper: Sleeper
) -> None:
    for status in (400, 403, 404, 405, 501):
        registry.inject(testing.Fault(path="/manifests/", status=status))
        with pytest.raises(RegistryResponseError):
            client.image(f"{registry.host}/app:1")
    assert sleeper.pauses == []
    assert len(registry.requests) == 5


def test_an_interrupted_upload_starts_again(registry: testing.Registry, client: remote.Client) -> None:
    registry.inject(testing.Fault(path="/blobs/uploads/", method="PUT", status=503))
    image = testing.random_image(2)
    client.push(image, f"{registry.host}/app:1")
    assert client.image(f"{registry.host}/app:1").digest == image.digest


def test_nobody_listens(client: remote.Client, sleeper: Sleeper) -> None:
    with testing.Registry() as gone:
        host = gone.host
    with pytest.raises(RegistryUnreachable, match="cannot connect"):
        client.image(f"{host}/app:1")


def test_a_closed_client_says_so(registry: testing.Registry) -> None:
    push(registry)
    with remote.Client(keychain=ANONYMOUS) as client:
        image = client.image(f"{registry.host}/app:1")
    with pytest.raises(RegistryError, match="closed"):
        image.layers[0].open()


# Secrets


def test_rg_20_nothing_secret_is_said(registry: testing.Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Pre-signed redirects, refused passwords and echoing servers, with every logger at DEBUG."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    echo = answer(
        b'{"errors":[{"code":"UNAUTHORIZED","message":"%s"}]}' % HIDDEN.encode(),
        f'WWW-Authenticate: Basic realm="{HIDDEN}"',
        status="401 Unauthorized",
    )
    signed = answer(b"", f"Location: http://127.0.0.1:1/blob?sig={HIDDEN}", status="307 Temporary Redirect")
    for script in (echo, signed):
        with RawServer(script) as server:
            keychain = StaticKeychain({server.host: Basic("user", Secret(HIDDEN))})
            options = ClientOptions(sleep=Sleeper(), trusted=["127.0.0.1:1"])
            with remote.Client(keychain=keychain, options=options) as client:
                with pytest.raises(RegistryError) as caught:
                    read_blob(client, server.host)
                error: BaseException | None = caught.value
                while error is not None:
                    said += [str(error), repr(error), str(vars(error))]
                    error = error.__cause__ or error.__context__
    assert len(said) >= 6
    assert HIDDEN not in "".join(said)
    assert HIDDEN not in caplog.text
