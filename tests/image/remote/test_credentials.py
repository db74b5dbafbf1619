"""To whom the registry client gives credentials, and to whom it does not (ATTACKS.md, RG-01 to RG-04 and RG-18)."""

from __future__ import annotations

import base64
import json
import urllib.request

import pytest

from ociworks import testing
from ociworks.errors import (
    LimitExceeded,
    NotFound,
    RegistryError,
    RegistryProtocolError,
    RegistryUnreachable,
    SpecError,
    Unauthorized,
)
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS, Basic, IdentityToken, RegistryToken, Secret, StaticKeychain
from ociworks.image.remote import ClientOptions
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import BLOB, DESCRIPTOR, HIDDEN, Sleeper, client_for, paths, push, read_blob


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
