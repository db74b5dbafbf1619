"""Credentials, and keychains that find them.

A keychain is asked once per registry and repository, with the registry's exact ``host[:port]``. It answers with a
credential, or None for "go anonymously", or raises: a source that cannot be read is never a reason to go without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen

from ociworks.errors import SpecError
from ociworks.image.auth.secret import Secret
from ociworks.image.reference import Reference

__all__ = [
    "ANONYMOUS",
    "Basic",
    "Credential",
    "IdentityToken",
    "Keychain",
    "RegistryToken",
    "StaticKeychain",
    "is_token",
]

_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


def is_token(text: str) -> bool:
    """Whether the text may be a bearer token (RFC 6750, b64token)."""
    return _TOKEN68.fullmatch(text) is not None


def _secret(given: Secret | str) -> Secret:
    return given if isinstance(given, Secret) else Secret(given)


@frozen
class Basic:
    """A user name and a password (RFC 7617), given as text or as a secret."""

    username: str
    password: Secret = field(converter=_secret)

    def __attrs_post_init__(self) -> None:
        if ":" in self.username or not self.username.isprintable():
            raise SpecError("expected a user name without colons and control characters")


@frozen
class IdentityToken:
    """A refresh token, given as text or as a secret, to be exchanged at the token endpoint."""

    token: Secret = field(converter=_secret)


@frozen
class RegistryToken:
    """A token for the registry itself, given as text or as a secret: sent as it is where tokens are asked for."""

    token: Secret = field(converter=_secret)

    def __attrs_post_init__(self) -> None:
        if not is_token(self.token.reveal()):
            raise SpecError("expected a token of visible ASCII without spaces")


Credential = Basic | IdentityToken | RegistryToken


class Keychain(Protocol):
    """Finds the credential for a registry; safe to call from several threads."""

    def find(self, registry: str, repository: str, /) -> Credential | None:
        """The credential for a repository of ``registry`` (as in ``Reference.registry``), None for anonymous."""


class StaticKeychain:
    """Credentials given by the program: ``StaticKeychain({"registry.example:5000": Basic("me", "…")})``."""

    def __init__(self, credentials: Mapping[str, Credential]) -> None:
        # A Reference knows the canonical spelling of a registry, and refuses what is not one.
        self._credentials = {
            Reference(registry=registry, repository="x/x").registry: credential
            for registry, credential in credentials.items()
        }

    def find(self, registry: str, repository: str, /) -> Credential | None:  # noqa: ARG002  # the protocol's
        """The credential given for exactly this registry."""
        return self._credentials.get(registry)


ANONYMOUS: Keychain = StaticKeychain({})
"""Never any credential."""
