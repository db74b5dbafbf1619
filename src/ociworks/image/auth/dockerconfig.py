"""Credentials from the files of Docker and Podman: ``config.json``, ``auth.json``, ``.dockercfg``.

Where a file has several answers for ``registry.example/team/app``, the first that has one counts:

=====================================  ==========================================================================
``credHelpers``                        the helper for exactly this registry; when it has none, the next file is asked
``auths`` with a path                  the longest key on ``/`` boundaries (containers-auth.json(5))
``credsStore``                         the helper for all registries
``auths``                              the entry of the registry, by exact host and port
=====================================  ==========================================================================

A file that cannot be read as what it should be is an error; so is a helper that fails, because going on without it
would quietly go anonymous or use another password.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self, TypeVar

from ociworks._values import frozen
from ociworks.errors import AuthFileError, SpecError, quote
from ociworks.image.auth.credentials import Basic, Credential, IdentityToken, RegistryToken
from ociworks.image.auth.helpers import CredentialHelper
from ociworks.image.auth.secret import Secret
from ociworks.image.origin import split_authority
from ociworks.image.reference import DOCKER_HUB
from ociworks.spec import FrozenDict, Model, parse, to_json

__all__ = [
    "MAX_FILE",
    "AuthEntry",
    "AuthFile",
    "DockerConfig",
    "default_paths",
    "load_auth_file",
    "place_of",
    "read_auth_file",
]

_logger = logging.getLogger(__name__)

MAX_FILE: Final = 1024 * 1024
"""Bytes of one file of credentials at most."""

_LEGACY: Final = ".dockercfg"
_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
T = TypeVar("T")

_HUB_KEYS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class AuthEntry(Model, nulls=True):
    """One entry of ``auths``."""

    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None

    def __repr__(self) -> str:
        return "AuthEntry(…)"


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class AuthFile(Model, nulls=True):
    """A file as it is."""

    auths: Mapping[str, AuthEntry] = FrozenDict()
    cred_helpers: Mapping[str, str] = FrozenDict()
    creds_store: str | None = None


class DockerConfig:
    """A keychain of one or more configuration files; the first that knows a registry answers.

    ``helper`` makes the credential helpers that they name. Raises :class:`~ociworks.errors.AuthFileError` for a broken
    file or entry, and :class:`~ociworks.errors.CredentialHelperError` for a helper that fails.
    """

    def __init__(
        self,
        files: Sequence[tuple[str, bytes]],
        helper: Callable[[str], CredentialHelper] = CredentialHelper,
    ) -> None:
        self._files = tuple(_Parsed(name, raw, helper) for name, raw in files)

    @classmethod
    def load(cls, *paths: str) -> Self:
        """Read these files; each must exist. One named ``.dockercfg`` is read in its own form."""
        return cls([(path, read_auth_file(path)) for path in paths])

    @classmethod
    def default(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read those of :func:`default_paths` that exist."""
        return cls.load(*(path for path in default_paths(environ) if os.path.lexists(path)))

    def find(self, registry: str, repository: str, /) -> Credential | None:
        """The credential for a repository; None when no file has an entry."""
        for file in self._files:
            if (found := file.find(registry, repository)) is not None:
                return found
        return None


def default_paths(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Where Podman and Docker keep credentials of this user, in the order in which they are asked.

    ``$REGISTRY_AUTH_FILE`` alone if it is set; else ``${XDG_RUNTIME_DIR}/containers/auth.json``,
    ``${XDG_CONFIG_HOME:-~/.config}/containers/auth.json``, ``${DOCKER_CONFIG:-~/.docker}/config.json`` and
    ``~/.dockercfg``.
    """
    chosen = os.environ if environ is None else environ
    if alone := chosen.get("REGISTRY_AUTH_FILE"):
        return (alone,)
    home = chosen.get("HOME") or os.path.expanduser("~")
    uid = getattr(os, "getuid", lambda: 0)()
    runtime = chosen.get("XDG_RUNTIME_DIR")
    return (
        os.path.join(runtime, "containers/auth.json") if runtime else f"/run/containers/{uid}/auth.json",
        os.path.join(chosen.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers/auth.json"),
        os.path.join(chosen.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json"),
        os.path.join(home, _LEGACY),
    )


def read_auth_file(path: str) -> bytes:
    """The whole of a regular file; a pipe would make this wait for ever. Raises ``AuthFileError``."""
    try:
        fd = os.open(path, _READ)
    except OSError as error:
        raise AuthFileError(f"credentials in {quote(path)} cannot be read: {error.strerror}") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise AuthFileError(f"credentials in {quote(path)}: expected a regular file")
    if stat.S_IMODE(found.st_mode) & 0o077:
        _logger.warning("credentials in %s may be read by others: chmod 600", quote(path))
    with open(fd, "rb") as file:
        return file.read(MAX_FILE + 1)


class _Parsed:
    """One file: its entries by registry and path."""

    def __init__(self, name: str, raw: bytes, helper: Callable[[str], CredentialHelper]) -> None:
        self._name = name
        self._helper = helper
        file = _parsed(name, raw)
        self._store = file.creds_store
        self._entries = _by_place(file.auths)
        self._helpers = _by_place(file.cred_helpers)

    def find(self, registry: str, repository: str) -> Credential | None:
        if registry in self._helpers:
            return self._helper(self._helpers[registry]).find(registry)
        for place in _paths(registry, repository):
            if place in self._entries:
                return self._credential(place, self._entries[place])
        if self._store and (found := self._helper(self._store).find(registry)) is not None:
            return found
        return self._credential(registry, self._entries[registry]) if registry in self._entries else None

    def _credential(self, place: str, entry: AuthEntry) -> Credential | None:
        if entry.identitytoken:
            return IdentityToken(Secret(entry.identitytoken))
        if entry.registrytoken:
            return self._token(place, entry.registrytoken)
        if entry.auth:
            return self._decoded(place, entry.auth)
        if entry.username and entry.password is not None:
            return Basic(entry.username, Secret(entry.password))
        if self._store and not entry.auth:
            return (
                None  # the mark that Docker leaves beside a helper, which has just said that it has nothing
            )
        raise self._broken(place)

    def _token(self, place: str, text: str) -> Credential:
        try:
            return RegistryToken(Secret(text))
        except SpecError:
            raise self._broken(place) from None

    def _decoded(self, place: str, auth: str) -> Credential:
        try:
            username, colon, password = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise self._broken(place) from None
        if not colon or not username:
            raise self._broken(place)
        try:
            # Docker pads with NUL what other programs wrote for it.
            return Basic(username, Secret(password.rstrip("\0")))
        except SpecError:
            raise self._broken(place) from None

    def _broken(self, place: str) -> AuthFileError:
        return AuthFileError(
            f"credentials in {quote(self._name)} for {quote(place)}: expected auth as base64 of user:password"
        )


def load_auth_file(path: str) -> AuthFile:
    """What a file says, nothing when it is missing; raises ``AuthFileError``."""
    return _parsed(path, read_auth_file(path)) if os.path.lexists(path) else AuthFile()


def _parsed(name: str, raw: bytes) -> AuthFile:
    """One file; the old one is its entries alone, without a name for them."""
    try:
        if os.path.basename(name) == _LEGACY:
            entries = to_json(parse(Model, raw, max_size=MAX_FILE))
            return parse(AuthFile, b'{"auths":' + entries + b"}", max_size=2 * MAX_FILE)
        return parse(AuthFile, raw, max_size=MAX_FILE)
    except SpecError as error:
        raise AuthFileError(f"credentials in {quote(name)} cannot be read: {error}") from None


def _by_place(entries: Mapping[str, T]) -> dict[str, T]:
    """Entries by ``host[:port][/path]``; keys that name no registry cannot match one and are passed over."""
    found: dict[str, T] = {}
    for key, value in entries.items():
        place = place_of(key)
        if place is not None:
            found.setdefault(place, value)
    return found


def place_of(key: str) -> str | None:
    """The canonical form of a key: Docker writes whole URLs for its own registry, with an API version as path."""
    text = key.removeprefix("https://").removeprefix("http://")
    authority, _, path = text.partition("/")
    if path.rstrip("/") in {"v1", "v2"}:
        path = ""
    try:
        host, port = split_authority(authority)
    except SpecError:
        return None
    shown = host if port is None else f"{host}:{port}"
    return "/".join([DOCKER_HUB if shown in _HUB_KEYS else shown, *filter(None, [path.rstrip("/")])])


def _paths(registry: str, repository: str) -> list[str]:
    """What may hold the credential before the registry itself, longest first: the repository and its parents."""
    parts = [registry, *repository.split("/")]
    return ["/".join(parts[:end]) for end in range(len(parts), 1, -1)]
