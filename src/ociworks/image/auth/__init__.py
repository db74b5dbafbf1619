"""Credentials for registries: found by keychains, bound to an origin, never shown.

- ``secret``: a string that does not show itself.
- ``credentials``: what a credential is, and keychains that find them.
- ``dockerconfig``: the files of Docker and Podman; ``_edit`` changes one, whole or not at all.
- ``helpers``: the programs ``docker-credential-*``, run by ``_process``.
- ``keychains``: what this user has, files and helpers together.
- ``logins``: logging in and out.
- ``challenge``: reading ``WWW-Authenticate``.
- ``bearer``: the token protocol without I/O: which endpoint may be asked, for which scope, what its answer means.
- ``cache``: tokens, by origin, service, scope and credential.
"""

from __future__ import annotations

from ociworks.image.auth.credentials import (
    ANONYMOUS,
    Basic,
    Credential,
    IdentityToken,
    Keychain,
    RegistryToken,
    StaticKeychain,
)
from ociworks.image.auth.dockerconfig import DockerConfig
from ociworks.image.auth.helpers import CredentialHelper, HelperKeychain, HelperOptions
from ociworks.image.auth.keychains import KeychainSequence, default_keychain
from ociworks.image.auth.logins import login, logout
from ociworks.image.auth.secret import Secret

__all__ = [
    "ANONYMOUS",
    "Basic",
    "Credential",
    "CredentialHelper",
    "DockerConfig",
    "HelperKeychain",
    "HelperOptions",
    "IdentityToken",
    "Keychain",
    "KeychainSequence",
    "RegistryToken",
    "Secret",
    "StaticKeychain",
    "default_keychain",
    "login",
    "logout",
]
