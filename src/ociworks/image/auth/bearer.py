"""The token protocol, without I/O: which endpoint may be asked, for what, and what its answer means.

::

    registry      401, WWW-Authenticate: Bearer realm="https://auth.example/token",service="registry.example"
    realm         checked by a TargetPolicy: it was chosen by the registry and may name anything
    token_call    GET realm?service=…&scope=repository:acme/app:pull     Basic credentials, or none
                  POST realm  grant_type=refresh_token&…                 an identity token
    read_token    {"token": …, "expires_in": …} → Token

The scope is what *our* operation needs; what the challenge asks for is never read.
"""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import parse_qsl, urlencode

from ociworks._values import frozen
from ociworks.errors import RegistryProtocolError, SpecError
from ociworks.image.auth.challenge import Challenge
from ociworks.image.auth.credentials import Basic, Credential, RegistryToken, is_token
from ociworks.image.auth.secret import Secret
from ociworks.image.origin import Url
from ociworks.spec import Model, parse

__all__ = ["MAX_TOKEN_BODY", "Token", "TokenCall", "basic_header", "read_token", "realm_of", "token_call"]

MAX_TOKEN_BODY: Final = 64 * 1024
"""Bytes of a token endpoint's answer at most."""

_MAX_SERVICE: Final = 256
_RESERVED: Final = frozenset({"scope", "service", "account", "client_id", "grant_type", "refresh_token"})
_SHORTEST, _USUAL, _LONGEST = 30, 60, 3600


@frozen
class TokenCall:
    """A request for a token: GET without, POST with a form. Both the headers and the form are secret."""

    url: Url
    authorization: Secret | None = None
    form: Secret | None = None


@frozen
class Token:
    """A bearer token, and for how many seconds from its request it may be used."""

    value: Secret
    lifetime: int


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class _Answer(Model, names={"access_token": "access_token"}, nulls=True):
    token: str | None = None
    access_token: str | None = None


def realm_of(challenge: Challenge) -> Url:
    """The token endpoint that a challenge names; raises :class:`~ociworks.errors.RegistryProtocolError`."""
    realm = challenge.get("realm")
    try:
        url = Url.parse(realm or "")
    except SpecError as error:
        raise RegistryProtocolError(f"Bearer challenge, realm: {error}") from None
    if _RESERVED & {name for name, _ in parse_qsl(url.query or "", keep_blank_values=True)}:
        raise RegistryProtocolError("Bearer challenge: expected a realm without a scope of its own")
    return url


def token_call(realm: Url, challenge: Challenge, scope: str, credential: Credential | None) -> TokenCall:
    """The request that gets a token for ``scope``: ``repository:acme/app:pull``, or several with spaces between.

    An empty scope asks for a token that allows nothing: who gets one has shown good credentials.
    """
    service = challenge.get("service") or ""
    if len(service) > _MAX_SERVICE:
        raise RegistryProtocolError(
            f"Bearer challenge: expected a service of at most {_MAX_SERVICE} characters"
        )
    named = [("service", service)] if service else []
    asked = [("scope", scope)] if scope else []
    query = urlencode([*named, *(("scope", each) for each in scope.split())])
    if credential is None:
        return TokenCall(realm.with_query(query))
    if isinstance(credential, Basic):
        return TokenCall(realm.with_query(query), authorization=basic_header(credential))
    if isinstance(credential, RegistryToken):
        raise RegistryProtocolError(
            "expected a credential for the token endpoint, got a token of the registry"
        )
    form = {
        "grant_type": "refresh_token",
        "client_id": "ociworks",
        "refresh_token": credential.token.reveal(),
    }
    return TokenCall(realm, form=Secret(urlencode([*form.items(), *named, *asked])))


def basic_header(credential: Basic) -> Secret:
    """The value of an ``Authorization`` header (RFC 7617)."""
    pair = f"{credential.username}:{credential.password.reveal()}"
    return Secret("Basic " + base64.b64encode(pair.encode()).decode())


def read_token(raw: bytes) -> Token:
    """Read a token endpoint's answer; raises :class:`~ociworks.errors.RegistryProtocolError`.

    Lifetimes are clamped to between 30 seconds and an hour; what is no positive number counts as 60 seconds.
    """
    try:
        answer = parse(_Answer, raw, max_size=MAX_TOKEN_BODY)
    except SpecError:
        raise RegistryProtocolError("token endpoint: expected a JSON object with a token") from None
    text = answer.token or answer.access_token or ""
    if not is_token(text):
        raise RegistryProtocolError("token endpoint: expected a token of visible ASCII without spaces")
    return Token(Secret(text), _lifetime(answer.extra.get("expires_in")))


def _lifetime(stated: object) -> int:
    if type(stated) is not int or stated <= 0:
        return _USUAL
    return max(_SHORTEST, min(stated, _LONGEST))
