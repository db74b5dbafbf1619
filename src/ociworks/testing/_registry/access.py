"""Who may do what: nobody is asked, basic credentials, or bearer tokens for one repository each.

Tokens are given at ``/token`` for the scope asked for, and live in memory only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from attrs import field, frozen

__all__ = ["Access", "AccessOptions", "Users"]

_MAX_TOKENS: Final = 10_000
_MAX_PROVED: Final = 1_000
_MAX_SCOPES: Final = 20

Users = Callable[[str, str], bool]
"""Whether this is a user with this password."""


@frozen(kw_only=True)
class AccessOptions:
    """How clients prove who they are."""

    auth: Literal["none", "basic", "bearer"] = "none"
    users: Users = field(repr=False)
    anonymous_pull: bool = False
    realm: str | None = None
    service: str = "testing"
    refresh: str | None = field(default=None, repr=False)
    """The identity token that is exchanged for bearer tokens."""


class _Token(NamedTuple):
    repositories: Mapping[str, bool]
    """Whether each may be written to."""
    until: float


class Access:
    """Decides; ``url`` is where this registry is, for challenges."""

    lifetime: Final = 300

    def __init__(self, options: AccessOptions, url: Callable[[], str]) -> None:
        self._options = options
        self._url = url
        self._tokens: OrderedDict[str, _Token] = OrderedDict()
        self._proved: OrderedDict[bytes, None] = OrderedDict()
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()

    def allows(self, authorization: str | None, name: str | None, *, write: bool) -> bool:
        """Whether these credentials may do this with a repository (None: with the registry, "": with any)."""
        if self._options.auth == "none":
            return True
        if self._options.auth == "basic":
            free = self._options.anonymous_pull and not write and name is not None
            return (authorization is None and free) or self._is_user(authorization)
        kind, _, text = (authorization or "").partition(" ")
        with self._lock:
            token = self._tokens.get(text) if kind.lower() == "bearer" else None
        if token is None or token.until < time.monotonic():
            return False
        return name is None or (name in token.repositories and (token.repositories[name] or not write))

    def challenge(self, name: str | None, *, write: bool) -> str:
        """The ``WWW-Authenticate`` header for a refused request. The name may be anything: it is not echoed as such."""
        if self._options.auth == "basic":
            return f'Basic realm="{self._options.service}"'
        realm = self._options.realm or f"{self._url()}/token"
        text = f'Bearer realm="{realm}",service="{self._options.service}"'
        if name is None or not name.isascii() or not name.isprintable() or set(name) & set('"\\ '):
            return text
        return f'{text},scope="repository:{name}:{"pull,push" if write else "pull"}"'

    def issue(self, authorization: str | None, scopes: Sequence[str], form: Mapping[str, str]) -> str | None:
        """A token for the requested scopes; None when the credentials do not allow them."""
        rights: dict[str, bool] = {}
        for scope in scopes[:_MAX_SCOPES]:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind == "repository":
                write = bool({"push", "delete", "*"} & set(actions.split(",")))
                rights[name] = rights.get(name, False) or write
        free = authorization is None and self._options.anonymous_pull and not any(rights.values())
        if not (free or self._is_user(authorization) or self._is_known(form)):
            return None
        return self._new_token(_Token(rights, time.monotonic() + self.lifetime))

    def _new_token(self, token: _Token) -> str:
        text = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[text] = token
            if len(self._tokens) > _MAX_TOKENS:
                self._tokens.popitem(last=False)
        return text

    def _is_known(self, form: Mapping[str, str]) -> bool:
        refresh = form.get("refresh_token")
        if refresh is not None and self._options.refresh is not None:
            return hmac.compare_digest(refresh.encode(), self._options.refresh.encode())
        return "password" in form and self._proves(form.get("username", ""), form["password"])

    def _is_user(self, authorization: str | None) -> bool:
        kind, _, text = (authorization or "").partition(" ")
        if kind.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return bool(colon) and self._proves(user, password)

    def _proves(self, user: str, password: str) -> bool:
        """Slow hashes are computed once for each right password, not for each request."""
        proof = hmac.digest(self._key, f"{user}\0{password}".encode(), hashlib.sha256)
        with self._lock:
            if proof in self._proved:
                return True
        if not self._options.users(user, password):
            return False
        with self._lock:
            self._proved[proof] = None
            if len(self._proved) > _MAX_PROVED:
                self._proved.popitem(last=False)
        return True
