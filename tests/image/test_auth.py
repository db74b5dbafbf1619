"""Credentials: exact places, typed errors, nothing shown."""

from __future__ import annotations

import base64
import copy
import json
import logging
import os
import pickle
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import AuthFileError, CredentialHelperError, RegistryProtocolError, SpecError
from ociworks.image.auth import Basic, DockerConfig, IdentityToken, RegistryToken, Secret, StaticKeychain
from ociworks.image.auth.bearer import basic_header, read_token, realm_of, token_call
from ociworks.image.auth.cache import TokenCache, TokenKey
from ociworks.image.auth.challenge import Challenge, parse_challenges
from ociworks.image.origin import Origin, Url

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = "hunter2-sentinel"


# Secrets


def test_rg_20_a_secret_never_shows_itself(caplog: pytest.LogCaptureFixture) -> None:
    credential = Basic("me", Secret(HIDDEN))
    logging.getLogger("test").warning("%s %r %s", credential, Secret(HIDDEN), attrs.asdict(credential))
    shown = [repr(credential), str(Secret(HIDDEN)), f"{Secret(HIDDEN)}", f"{credential!r:>80}", caplog.text]
    shown += [
        repr(basic_header(credential)),
        repr({"a": Secret(HIDDEN)}),
        repr(IdentityToken(Secret(HIDDEN))),
    ]
    assert HIDDEN not in "".join(shown)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(credential)
    assert copy.deepcopy(credential) == credential
    assert Secret("a") != Secret("b")
    assert Secret(HIDDEN).reveal() == HIDDEN


# Challenges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
         [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})]),
        ("Basic realm=x", [("basic", {"realm": "x"})]),
        ('Basic realm="a \\"b\\" c" , Bearer realm = "y"',
         [("basic", {"realm": 'a "b" c'}), ("bearer", {"realm": "y"})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate YWJj==, BEARER Realm=x", [("negotiate", {}), ("bearer", {"realm": "x"})]),
        (", , Basic realm=x,,", [("basic", {"realm": "x"})]),
        ("", []),
    ],
)  # fmt: skip
def test_challenges_are_read(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    found = parse_challenges([header])
    assert [(challenge.scheme, dict(challenge.parameters)) for challenge in found] == expected


@pytest.mark.parametrize(
    "header",
    ['Bearer realm="x', 'Bearer realm="x" y', "Bearer realm=a, realm=b", "Bearer realm=a, Realm=b", '"x"', "=", "a=b",
     'Bearer realm="a\x00b"', 'Bearer realm="a\nb"', "Bearer réalm=x", 'Bearer realm="x"service="y"', "a" * 9000,
     ", ".join(f"S{number} a=b" for number in range(9))],
)  # fmt: skip
def test_rg_03_malformed_challenges_are_errors(header: str) -> None:
    with pytest.raises(RegistryProtocolError, match="WWW-Authenticate"):
        parse_challenges([header])


@given(st.text(alphabet='aB=",\\ \t;/é\x00', max_size=200) | st.text(max_size=100))
def test_rg_03_any_header_is_read_or_refused(header: str) -> None:
    try:
        found = parse_challenges([header])
    except RegistryProtocolError:
        return
    for challenge in found:
        assert challenge.scheme == challenge.scheme.lower()
        assert len(dict(challenge.parameters)) == len(challenge.parameters)


@pytest.mark.parametrize("piece", ['a="', "a ", '"\\', "a" * 50 + "=", 'a="' + "\\a" * 40])
def test_rg_03_hostile_headers_end_at_once(piece: str) -> None:
    """As long as a header may be, again and again: backtracking would run into the suite's time limit."""
    header = (piece * 8192)[:8192]
    for _ in range(50):
        with pytest.raises(RegistryProtocolError):
            parse_challenges([header])


# Tokens


@pytest.mark.parametrize(
    "realm",
    ["", "auth.example/token", "//auth.example/token", "ftp://auth.example/", "https://user:pw@auth.example/",
     "https://127.1/token", "https://2130706433/", "https://0x7f.1/", "https://localhost./", "https://a/t?scope=push",
     "https://a/t?service=x&x=1", "https://a/../t", "https://a/%2e%2e/t", "https://a/ b", "https://[::1%25lo]/"],
)  # fmt: skip
def test_rg_03_realms_must_be_plain_urls(realm: str) -> None:
    with pytest.raises(RegistryProtocolError):
        realm_of(Challenge("bearer", (("realm", realm),)))


def test_rg_04_the_scope_is_ours() -> None:
    challenge = Challenge(
        "bearer",
        (("realm", "https://a/t"), ("service", "s"), ("scope", "registry:catalog:* repository:other:push")),
    )
    call = token_call(realm_of(challenge), challenge, "repository:mine:pull", None)
    assert call.url.query == "service=s&scope=repository%3Amine%3Apull"
    assert call.authorization is None
    assert call.form is None


def test_an_identity_token_goes_into_the_form_not_the_url() -> None:
    challenge = Challenge("bearer", (("realm", "https://a/t"),))
    call = token_call(realm_of(challenge), challenge, "repository:mine:pull", IdentityToken(Secret(HIDDEN)))
    assert HIDDEN not in str(call.url)
    assert HIDDEN not in repr(call)
    assert call.form is not None
    assert f"refresh_token={HIDDEN}" in call.form.reveal()


@pytest.mark.parametrize(
    ("stated", "lifetime"),
    [("60", 60), ("300", 300), ("-1", 60), ("0", 60), ("1000000000000", 3600), ('"x"', 60), ("true", 60), ("1", 30),
     ("null", 60)],
)  # fmt: skip
def test_rg_04_lifetimes_are_clamped(stated: str, lifetime: int) -> None:
    assert read_token(b'{"token":"abc","expires_in":%s}' % stated.encode()).lifetime == lifetime


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"token":""}', b'{"token":"a b"}', b'{"token":"a\\r\\nX: y"}', b'{"token":1}',
     b'{"token":"a","token":"b"}', b'{"token":"' + b"a" * 70_000 + b'"}', b"<html>" + HIDDEN.encode()],
)  # fmt: skip
def test_rg_04_tokens_have_a_grammar(body: bytes) -> None:
    with pytest.raises(RegistryProtocolError) as caught:
        read_token(body)
    assert HIDDEN not in str(caught.value)


def test_rg_04_tokens_belong_to_origin_scope_and_credential() -> None:
    now = [100.0]
    cache = TokenCache(clock=lambda: now[0])
    origin = Origin("https", "a.example", 443)
    key = TokenKey(origin, "s", "repository:x:pull", Basic("me", Secret("1")))
    cache.put(key, read_token(b'{"token":"abc","expires_in":100}'), cache.now())
    assert cache.get(key) == Secret("abc")
    for other in [
        TokenKey(Origin("https", "a.example", 444), "s", key.scope, key.credential),
        TokenKey(Origin("http", "a.example", 443), "s", key.scope, key.credential),
        TokenKey(origin, "t", key.scope, key.credential),
        TokenKey(origin, "s", "repository:x:pull,push", key.credential),
        TokenKey(origin, "s", key.scope, Basic("me", Secret("2"))),
        TokenKey(origin, "s", key.scope, None),
    ]:
        assert cache.get(other) is None
    cache.drop(key, Secret("an older one"))
    assert cache.get(key) is not None
    now[0] = 196.0
    assert cache.get(key) is None


# Keychains


def encoded(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def config(tmp_path: Path, content: object) -> DockerConfig:
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return DockerConfig.load(str(path))


def test_rg_19_entries_match_exactly(tmp_path: Path) -> None:
    keychain = config(
        tmp_path,
        {
            "auths": {
                "https://index.docker.io/v1/": {"auth": encoded("hub:1")},
                "reg.example": {"auth": encoded("plain:2")},
                "reg.example:443": {"auth": encoded("port:3")},
                "reg.example/team": {"username": "team", "password": "4"},
                "https://other.example/v2/": {"auth": encoded("other:a:b")},
                "token.example": {"identitytoken": "5"},
                "bearer.example": {"registrytoken": "abc.6"},
                "broken.example": {"registrytoken": "a b"},
            },
            "HttpHeaders": {"X": "y"},
        },
    )
    assert keychain.find("docker.io", "library/alpine") == Basic("hub", Secret("1"))
    assert keychain.find("reg.example", "app") == Basic("plain", Secret("2"))
    assert keychain.find("reg.example:443", "app") == Basic("port", Secret("3"))
    assert keychain.find("reg.example", "team/app") == Basic("team", Secret("4"))
    assert keychain.find("reg.example", "teams/app") == Basic("plain", Secret("2"))
    assert keychain.find("other.example", "app") == Basic("other", Secret("a:b"))
    assert keychain.find("token.example", "app") == IdentityToken(Secret("5"))
    assert keychain.find("bearer.example", "app") == RegistryToken(Secret("abc.6"))
    with pytest.raises(AuthFileError, match=r"broken\.example"):
        keychain.find("broken.example", "app")
    for stranger in ["reg.example.evil", "evil.reg.example", "reg.example:5000", "reg.exampl", "localhost"]:
        assert keychain.find(stranger, "app") is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"auths":[]}', '{"auths":{"r.example":[]}}', '{"auths":{"r.example":{"auth":1}}}',
     '{"auths":{},"auths":{}}', "x" * (1024 * 1024 + 1)],
)  # fmt: skip
def test_rg_19_a_broken_file_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(AuthFileError, match=r"config\.json"):
        config(tmp_path, content)


@pytest.mark.parametrize("auth", ["", "!!", encoded(HIDDEN), encoded(f":{HIDDEN}"), HIDDEN + "="])
def test_rg_19_a_broken_entry_is_an_error_for_its_registry_alone(tmp_path: Path, auth: str) -> None:
    keychain = config(
        tmp_path, {"auths": {"r.example": {"auth": auth}, "s.example": {"auth": encoded("a:b")}}}
    )
    assert keychain.find("s.example", "x") == Basic("a", Secret("b"))
    with pytest.raises(AuthFileError, match=r"r\.example") as caught:
        keychain.find("r.example", "x")
    assert HIDDEN not in str(caught.value)


def test_rg_19_helpers_are_never_passed_over(tmp_path: Path) -> None:
    keychain = config(
        tmp_path,
        {"auths": {"a.example": {"auth": encoded("u:p")}, "b.example": {}},
         "credHelpers": {"a.example": "../../bin/sh"}, "credsStore": "desktop"},
    )  # fmt: skip
    with pytest.raises(CredentialHelperError, match=r"\.\./\.\./bin/sh"):
        keychain.find("a.example", "x")
    for registry in ("b.example", "c.example"):
        with pytest.raises(CredentialHelperError, match="desktop.*not found in PATH"):
            keychain.find(registry, "x")


def test_rg_19_a_pipe_is_no_credential_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AuthFileError, match="regular file"):
        DockerConfig.load(str(tmp_path / "pipe"))
    with pytest.raises(AuthFileError, match="cannot be read"):
        DockerConfig.load(str(tmp_path / "missing"))


def test_static_credentials_name_registries() -> None:
    keychain = StaticKeychain({"r.example:5000": Basic("me", Secret("x"))})
    assert keychain.find("r.example:5000", "a") == Basic("me", Secret("x"))
    assert keychain.find("r.example", "a") is None
    with pytest.raises(SpecError):
        StaticKeychain({"https://r.example": Basic("me", Secret("x"))})
    with pytest.raises(SpecError):
        Basic("a:b", Secret("x"))
    with pytest.raises(SpecError):
        Basic("a\r\nb", Secret("x"))


# URLs


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/x", "https://a.example/x"),
        ("x", "https://a.example/v2/b/x"),
        ("https://c.example:444/x?y=1", "https://c.example:444/x?y=1"),
        ("//c.example/x", "https://c.example/x"),
        ("https://C.example:443/x#frag", "https://c.example/x"),
        ("/x?u=https://evil/", "https://a.example/x?u=https://evil/"),
    ],
)
def test_locations_are_resolved(location: str, expected: str) -> None:
    assert str(Url.parse("https://a.example/v2/b/c?d=e").join(location)) == expected


def test_rg_20_urls_hide_their_query() -> None:
    url = Url.parse(f"https://a.example/blob?X-Signature={HIDDEN}")
    assert HIDDEN not in repr(url)
    assert HIDDEN not in url.redacted
    assert HIDDEN in str(url)
    with pytest.raises(SpecError) as caught:
        Url.parse(f"https://user:{HIDDEN}@a.example/")
    assert HIDDEN not in str(caught.value)


def test_text_becomes_a_secret() -> None:
    """What is given as text does not show itself either."""
    for credential in (Basic("me", "very secret"), IdentityToken("very secret")):
        assert "very secret" not in repr(credential)
    assert Basic("me", "very secret") == Basic("me", Secret("very secret"))
