"""Credentials for registries: found by keychains, bound to an origin, never shown.

- ``secret``: a string that does not show itself.
- ``credentials``: what a credential is, and keychains that find them.
- ``dockerconfig``: the ``auths`` of Docker's and Podman's configuration files.
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
    StaticKeychain,
)
from ociworks.image.auth.dockerconfig import DockerConfig
from ociworks.image.auth.secret import Secret

__all__ = [
    "ANONYMOUS",
    "Basic",
    "Credential",
    "DockerConfig",
    "IdentityToken",
    "Keychain",
    "Secret",
    "StaticKeychain",
]
