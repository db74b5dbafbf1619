"""The keychain of a user: files and helpers, as this host has them configured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ociworks.image.auth.credentials import Credential, Keychain
from ociworks.image.auth.dockerconfig import DockerConfig
from ociworks.image.auth.helpers import CredentialHelper, HelperKeychain

__all__ = ["KeychainSequence", "default_keychain"]

_FILES: Final = "containers-auth.json"
"""What ``credential-helpers`` in ``registries.conf`` calls the files."""


class KeychainSequence:
    """Several keychains: the first that has a credential answers. One that fails is an error, not passed over."""

    def __init__(self, keychains: Sequence[Keychain]) -> None:
        self._keychains = tuple(keychains)

    def find(self, registry: str, repository: str, /) -> Credential | None:
        """The first credential found."""
        for keychain in self._keychains:
            if (found := keychain.find(registry, repository)) is not None:
                return found
        return None


def default_keychain(helpers: Sequence[str] | None = None) -> Keychain:
    """The user's files, or what ``credential-helpers`` of ``registries.conf`` names instead, in its order.

    Raises :class:`~ociworks.errors.AuthFileError` and :class:`~ociworks.errors.CredentialHelperError`.
    """
    if not helpers:
        return DockerConfig.default()
    return KeychainSequence(
        [
            DockerConfig.default() if name == _FILES else HelperKeychain(CredentialHelper(name))
            for name in helpers
        ]
    )
