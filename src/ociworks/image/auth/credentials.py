"""Credentials, and keychains that find them.

A keychain is asked once per registry and repository, with the registry's exact ``host[:port]``. It answers with a
credential, or None for "go anonymously", or raises: a source that cannot be read is never a reason to go without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen

from ociworks.errors import SpecError
from ociworks.image.auth.secret import Secret
from ociworks.image.reference import Reference

__all__ = ["ANONYMOUS", "Basic", "Credential", "IdentityToken", "Keychain", "StaticKeychain"]


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


Credential = Basic | IdentityToken


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
