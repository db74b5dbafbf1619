"""RG-01 to RG-04, RG-18 and RG-20 of the regression catalogue: who is asked, who sees which secret, what is said.

Redirects, realms and token exchanges as such are in ``tests/image/remote/test_credentials.py`` and ``test_auth.py``,
references in ``test_reference.py``, certificates in ``test_tls.py``; here is what a hostile registry or image adds.
"""

from __future__ import annotations

import copy
import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from attrs import asdict

from ociworks import testing
from ociworks.errors import (
    ContentError,
    InvalidReference,
    LimitExceeded,
    NotFound,
    NotSupported,
    OciworksError,
    RegistryError,
    RegistryProtocolError,
    RegistryResponseError,
    SpecError,
    Unauthorized,
)
from ociworks.image import remote
from ociworks.image.auth import Basic, Secret, StaticKeychain
from ociworks.image.origin import Url
from ociworks.image.remote import ClientOptions, Limits
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import (
    BLOB,
    DESCRIPTOR,
    HIDDEN,
    Sleeper,
    anonymous,
    client_for,
    paths,
    push,
    read_blob,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MISSING = answer(b"", status="404 Not Found")


@pytest.fixture
def registry() -> Iterator[testing.Registry]:
    with testing.Registry() as opened:
        yield opened


def secret_client(host: str, **options: object) -> remote.Client:
    """A client that knows a password for ``host``."""
    keychain = StaticKeychain({host: Basic("user", Secret(HIDDEN))})
    return remote.Client(keychain=keychain, options=ClientOptions(sleep=Sleeper(), **options))  # type: ignore[arg-type]


# RG-01: credentials across redirects


def test_rg_01_a_chain_of_thirty_hops_is_cut() -> None:
    hops = iter(range(1, 31))

    def talk(_head: bytes) -> list[bytes]:
        return [answer(b"", f"Location: /hop/{next(hops)}", status="302 Found")]

    with RawServer(talk) as server, anonymous() as client:
        with pytest.raises(LimitExceeded, match="redirects"):
            read_blob(client, server.host)
        assert len(server.heads) == Limits().redirects + 1


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_rg_01_what_changes_something_is_not_redirected(registry: testing.Registry, method: str) -> None:
    away = answer(b"", f"Location: {registry.url}/v2/app/x", status="307 Temporary Redirect")
    started = answer(b"", "Location: /v2/app/blobs/uploads/1", status="202 Accepted")
    chunk = 1000 if method == "PATCH" else None
    options = ClientOptions(chunk_size=chunk, trusted=[registry.host], sleep=Sleeper())
    with serve(("POST", started), (method, away)) as server, anonymous(options) as client:
        where = f"{server.host}/app"
        acts: dict[str, Callable[[], object]] = {
            "DELETE": lambda: client.delete_blob(where, DESCRIPTOR.digest),
            "PUT": lambda: client.push(testing.random_image(0), where),
            "PATCH": lambda: client.push(testing.random_image(0), where),
        }
        with pytest.raises(RegistryProtocolError, match=f"redirected {method}"):
            acts[method]()
        assert registry.requests == ()


def test_rg_01_a_password_is_not_taken_along(registry: testing.Registry) -> None:
    """The registry wants Basic, then sends the client elsewhere; there the header is gone, and a 401 is final."""
    push(registry)
    refused = answer(b"", 'WWW-Authenticate: Basic realm="x"', status="401 Unauthorized")
    away = answer(b"", f"Location: {registry.url}/v2/app/blobs/x", status="307 Temporary Redirect")
    registry.inject(
        testing.Fault(
            path="/v2/app/blobs/x", status=401, headers=(("WWW-Authenticate", 'Basic realm="y"'),), times=-1
        )
    )
    with RawServer(refused, away) as server, secret_client(server.host, trusted=[registry.host]) as client:
        seen = len(registry.requests)
        with pytest.raises(Unauthorized):
            read_blob(client, server.host)
        (request,) = registry.requests[seen:]
        assert request.header("authorization") is None
        assert b"Authorization: Basic" in server.heads[1]


# RG-02: layers from elsewhere


def foreign(*urls: str, media_type: str = mediatypes.OCI_NONDISTRIBUTABLE_LAYER) -> Descriptor:
    return Descriptor(media_type=media_type, digest=DESCRIPTOR.digest, size=len(BLOB), urls=urls)


def with_urls(host: str = "", *trusted: str) -> remote.Client:
    options = {"foreign_layers": True, "trusted": list(trusted)}
    return secret_client(host, **options)


def test_rg_02_layers_from_elsewhere_are_off_by_default_and_the_error_says_so(
    registry: testing.Registry,
) -> None:
    with serve(("GET", answer(BLOB))) as elsewhere, anonymous() as client:
        with pytest.raises(NotFound, match="foreign_layers=True"):
            read_blob(client, registry.host, foreign(f"http://{elsewhere.host}/layer"))
        assert elsewhere.heads == []


def test_rg_02_layers_from_elsewhere_are_fetched_and_proved(registry: testing.Registry) -> None:
    with serve(("GET", answer(BLOB))) as elsewhere, with_urls(registry.host, elsewhere.host) as client:
        place = f"http://{elsewhere.host}/layer?sig=x"
        assert read_blob(client, registry.host, foreign("file:///etc/passwd", place)) == BLOB
        assert elsewhere.heads[0].startswith(b"GET /layer?sig=x ")
    with (
        serve(("GET", answer(BLOB[:-1] + b"x"))) as liar,
        with_urls(registry.host, liar.host) as client,
        pytest.raises(ContentError),
    ):
        read_blob(client, registry.host, foreign(f"http://{liar.host}/layer"))


@pytest.mark.parametrize("scheme", ['Basic realm="x"', 'Bearer realm="http://{host}/token",service="s"'])
def test_rg_02_their_challenges_are_not_answered(registry: testing.Registry, scheme: str) -> None:
    with RawServer(b"") as elsewhere:
        refusal = answer(
            b"", f"WWW-Authenticate: {scheme.format(host=elsewhere.host)}", status="401 Unauthorized"
        )
        elsewhere._scripts = (refusal,)
        keychain = StaticKeychain(
            {host: Basic("user", Secret(HIDDEN)) for host in (registry.host, elsewhere.host)}
        )
        options = ClientOptions(foreign_layers=True, trusted=[elsewhere.host], sleep=Sleeper())
        with remote.Client(keychain=keychain, options=options) as client, pytest.raises(Unauthorized):
            read_blob(client, registry.host, foreign(f"http://{elsewhere.host}/layer"))
        assert len(elsewhere.heads) == 1
        assert b"authorization" not in elsewhere.heads[0].lower()


@pytest.mark.parametrize(
    "url",
    ["file:///etc/shadow", "unix:///run/docker.sock", "http://169.254.169.254/latest", "https://10.0.0.1/", "ftp://a.example/",
     "https://127.1/", "https://u:p@a.example/", "//a.example/x", "/v2/app/blobs/x", "", "https://[::ffff:169.254.169.254]/"],
)  # fmt: skip
def test_rg_02_places_that_are_nobodys_business(registry: testing.Registry, url: str) -> None:
    with with_urls(registry.host) as client, pytest.raises((RegistryProtocolError, SpecError)):
        read_blob(client, registry.host, foreign(url))


def test_rg_02_a_good_place_cannot_send_to_a_bad_one(registry: testing.Registry) -> None:
    away = answer(b"", "Location: https://169.254.169.254/latest", status="302 Found")
    with (
        serve(("GET", away)) as elsewhere,
        with_urls(registry.host, elsewhere.host) as client,
        pytest.raises(RegistryProtocolError, match="public host"),
    ):
        read_blob(client, registry.host, foreign(f"http://{elsewhere.host}/layer"))


def test_rg_02_ten_thousand_places_are_not_all_tried(registry: testing.Registry) -> None:
    with serve() as elsewhere, with_urls(registry.host, elsewhere.host) as client:
        with pytest.raises(NotFound):
            read_blob(
                client, registry.host, foreign(*[f"http://{elsewhere.host}/{n}" for n in range(10_000)])
            )
        assert len(elsewhere.heads) == Limits().max_urls


@pytest.mark.parametrize(
    "kind", [mediatypes.OCI_CONFIG, mediatypes.OCI_MANIFEST, mediatypes.OCI_LAYER_GZIP, "a/b"]
)
def test_rg_02_only_layers_of_that_kind_have_other_places(registry: testing.Registry, kind: str) -> None:
    with serve(("GET", answer(BLOB))) as elsewhere, with_urls(registry.host, elsewhere.host) as client:
        with pytest.raises(NotFound):
            read_blob(client, registry.host, foreign(f"http://{elsewhere.host}/x", media_type=kind))
        assert elsewhere.heads == []


# RG-03: token endpoints


@pytest.mark.parametrize(
    "challenge",
    ['Bearer realm="https://a.example/t",realm="https://b.example/t"', 'Bearer realm="https://a.example/t', "Bearer",
     'Basic realm="x", Bearer realm="http://10.0.0.1/t"', "Bearer realm=" + "x" * 60_000, 'Bearer service="s"'],
    ids=["duplicate", "unbalanced", "bare", "two", "long", "no-realm"],
)  # fmt: skip
def test_rg_03_no_challenge_of_this_kind_gets_an_answer(challenge: str) -> None:
    refusal = answer(b"", f"WWW-Authenticate: {challenge}", status="401 Unauthorized")
    with RawServer(refusal) as server, secret_client(server.host) as client:
        with pytest.raises((RegistryError, LimitExceeded)) as caught:
            client.image(f"{server.host}/app:1")
        assert len(server.heads) == 1
        assert HIDDEN not in str(caught.value)


def test_rg_03_a_header_of_a_mebibyte_is_not_read() -> None:
    refusal = answer(b"", "WWW-Authenticate: Bearer " + "x" * 2**20, status="401 Unauthorized")
    with (
        RawServer(refusal) as server,
        secret_client(server.host) as client,
        pytest.raises((LimitExceeded, RegistryProtocolError)),
    ):
        client.image(f"{server.host}/app:1")


# RG-04: scopes and tokens


def test_rg_04_two_users_of_one_repository_share_no_token() -> None:
    """Two clients with different passwords at the same time: each pulls with its own, one of them is refused."""
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as registry:
        push(registry)
        wrong = StaticKeychain({registry.host: Basic("user", Secret("wrong"))})
        with (
            client_for(registry.host) as right_client,
            remote.Client(keychain=wrong) as wrong_client,
            ThreadPoolExecutor(4) as pool,
        ):
            good = [pool.submit(right_client.image, f"{registry.host}/app:1") for _ in range(4)]
            bad = [pool.submit(wrong_client.image, f"{registry.host}/app:1") for _ in range(4)]
            assert all(future.result().layers for future in good)
            assert all(isinstance(future.exception(), RegistryResponseError) for future in bad)


def test_rg_04_each_verb_asks_for_what_it_needs() -> None:
    with testing.Registry(testing.RegistryOptions(auth="bearer")) as registry:
        image = push(registry, layers=1)
        before = len(paths(registry))
        with client_for(registry.host) as client:
            list(client.tags(f"{registry.host}/app"))
            client.referrers(f"{registry.host}/app:1")
            client.delete(f"{registry.host}/app@{image.digest}")
        asked = [path.partition("scope=")[2] for path in paths(registry)[before:] if "/token" in path]
    assert asked == ["repository%3Aapp%3Apull", "repository%3Aapp%3Apull%2Cdelete"]


def test_rg_04_anonymous_exchanges_carry_no_refresh_token() -> None:
    with RawServer(b"") as server:
        bearer = f'WWW-Authenticate: Bearer realm="http://{server.host}/t"'
        server._scripts = (
            answer(b"", bearer, status="401 Unauthorized"),
            answer(b'{"token":"abc","refresh_token":"%s"}' % HIDDEN.encode()),
            MISSING,
        )
        with anonymous() as client, pytest.raises(NotFound):
            client.image(f"{server.host}/app:1")
        assert server.heads[1].startswith(b"GET /t?")
        assert HIDDEN.encode() not in b"".join(server.heads)


# RG-18: from reference to origin


@pytest.mark.parametrize(
    "text",
    ["docker.io@evil/x", "reg\\@evil/x", "http://reg/x", "reg:99999/x", "a/../b", "reg.example/Upper/x", "a" * 64,
     "reg.example/x\n", "reg.example/x:1\n", "reg.example//x", "user:pw@reg.example/x"],
)  # fmt: skip
def test_rg_18_no_verb_asks_anybody_about_such_a_name(text: str) -> None:
    with anonymous() as client:
        for verb in (
            client.image,
            client.resolve,
            client.exists,
            client.tags,
            client.delete,
            client.referrers,
        ):
            with pytest.raises(InvalidReference):
                verb(text)


def test_rg_18_with_tag_and_digest_the_digest_is_asked_for(registry: testing.Registry) -> None:
    image = push(registry)
    with anonymous() as client:
        client.image(f"{registry.host}/app:nothing@{image.digest}")
    assert not any("nothing" in path for path in paths(registry))


# RG-20: secrets in errors and logs


def test_rg_20_no_verb_says_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Signed locations and pages, echoing errors, every logger at DEBUG: uploads, lists, deletes and foreign layers."""
    caplog.set_level(logging.DEBUG)
    secret = HIDDEN.encode()
    echo = b'{"errors":[{"code":"DENIED","message":"%s","detail":"%s"}]}' % (secret, secret)
    signed = answer(b"", f"Location: /v2/app/blobs/uploads/1?sig={HIDDEN}", status="202 Accepted")
    linked = answer(b'{"name":"app","tags":[]}', f'Link: <http://169.254.169.254/?sig={HIDDEN}>; rel="next"')
    rules = (
        ("POST", signed),
        ("PUT", answer(echo, status="403 Forbidden")),
        ("DELETE", answer(echo, status="500 Internal Server Error")),
        ("GET /v2/app/tags", linked),
    )
    said: list[str] = []
    with serve(*rules) as server, with_urls(server.host) as client:
        where = f"{server.host}/app"
        for act in (
            lambda: client.push(testing.random_image(1), f"{where}:1"),
            lambda: list(client.tags(where)),
            lambda: client.delete_blob(where, DESCRIPTOR.digest),
            lambda: read_blob(
                client, server.host, foreign(f"https://u:{HIDDEN}@a.example/", f"http://10.0.0.1/?s={HIDDEN}")
            ),
        ):
            with pytest.raises(OciworksError) as caught:
                act()
            error: BaseException | None = caught.value
            while error is not None:
                said += [str(error), repr(error), str(vars(error))]
                error = error.__cause__ or error.__context__
    assert len(said) >= 12
    assert HIDDEN not in "".join(said)
    assert HIDDEN not in caplog.text


def test_rg_20_a_secret_survives_every_dump() -> None:
    credential = Basic("user", Secret(HIDDEN))
    shown = [
        repr(credential),
        f"{credential!r}",
        str(asdict(credential)),
        repr(Url.parse(f"https://a.example/?s={HIDDEN}")),
    ]
    assert HIDDEN not in "".join(shown)
    with pytest.raises((TypeError, NotSupported, pickle.PicklingError)):
        pickle.dumps(credential)
    assert HIDDEN not in repr(copy.copy(credential))
