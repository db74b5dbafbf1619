"""With which login an image is pulled: the request's for the registry that it is meant for, and for no other place."""

from __future__ import annotations

import base64
import binascii

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, SpecError
from ociworks.image.auth import (
    ANONYMOUS,
    Basic,
    Credential,
    DockerConfig,
    IdentityToken,
    Keychain,
    RegistryToken,
    StaticKeychain,
)
from ociworks.image.auth.dockerconfig import place_of
from ociworks.image.reference import Reference

__all__ = ["keychain_of"]


def keychain_of(auth: api.AuthConfig, reference: Reference, file: str) -> Keychain:
    """The request's credential for ``server_address``, or without one for the image's own registry: a mirror gets none.

    Where the request has no credential, those of ``file`` count, if it is not empty. Raises
    :class:`~ociworks.errors.InvalidRequest`, which never shows what it is about, and
    :class:`~ociworks.errors.AuthFileError`.
    """
    credential = _credential(auth)
    if credential is None:
        return DockerConfig.load(file) if file else ANONYMOUS
    return StaticKeychain({_registry(auth.server_address) or reference.registry: credential})


def _credential(auth: api.AuthConfig) -> Credential | None:
    try:
        if auth.username:
            return Basic(auth.username, auth.password)
        if auth.identity_token:
            return IdentityToken(auth.identity_token)
        if auth.auth:
            return Basic(*_decoded(auth.auth))
        return RegistryToken(auth.registry_token) if auth.registry_token else None
    except SpecError as error:
        raise InvalidRequest(f"auth: {error}") from None


def _decoded(text: str) -> tuple[str, str]:
    try:
        username, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon, username, password = "", "", ""
    if not colon or not username:
        raise SpecError("auth: expected base64 of user:password")
    return username, password.rstrip("\0")


def _registry(address: str) -> str:
    """``https://registry.example/v1/`` as ``registry.example``; empty for none."""
    if not address:
        return ""
    place = place_of(address)
    if place is None:
        raise InvalidRequest("auth.server_address: expected a registry")
    return place.partition("/")[0]
