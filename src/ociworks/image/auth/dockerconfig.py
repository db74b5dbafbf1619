"""Credentials from ``~/.docker/config.json`` and Podman's ``auth.json``: the entries under ``auths``.

Keys are matched by exact host and port; Podman's path-scoped keys (``registry.example/team``) win over shorter ones,
on slash boundaries. A file that cannot be read as what it should be is an error; so is an entry that delegates to a
credential helper, because going on without it would quietly go anonymous or use another password.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Final, Self, TypeVar

from attrs import frozen

from ociworks.errors import AuthFileError, NotSupported, SpecError, quote
from ociworks.image.auth.credentials import Basic, Credential, IdentityToken
from ociworks.image.auth.secret import Secret
from ociworks.image.origin import split_authority
from ociworks.image.reference import DOCKER_HUB
from ociworks.spec import FrozenDict, Model, parse

__all__ = ["DockerConfig", "default_paths"]

_MAX_FILE: Final = 1024 * 1024
T = TypeVar("T")

_HUB_KEYS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class _Entry(Model, nulls=True):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None

    def __repr__(self) -> str:
        return "_Entry(…)"


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class _File(Model, nulls=True):
    auths: Mapping[str, _Entry] = FrozenDict()
    cred_helpers: Mapping[str, str] = FrozenDict()
    creds_store: str | None = None


class DockerConfig:
    """A keychain of one or more configuration files; the first that knows a registry answers.

    Raises :class:`~ociworks.errors.AuthFileError` for a broken file or entry, and
    :class:`~ociworks.errors.NotSupported` when the answer is in a credential helper.
    """

    def __init__(self, files: Sequence[tuple[str, bytes]]) -> None:
        self._files = tuple(_Parsed(name, raw) for name, raw in files)

    @classmethod
    def load(cls, *paths: str) -> Self:
        """Read these files; each must exist."""
        return cls([(path, _read(path)) for path in paths])

    @classmethod
    def default(cls) -> Self:
        """Read those of :func:`default_paths` that exist."""
        return cls.load(*(path for path in default_paths() if os.path.lexists(path)))

    def find(self, registry: str, repository: str, /) -> Credential | None:
        """The credential for a repository; None when no file has an entry."""
        for file in self._files:
            if (found := file.find(registry, repository)) is not None:
                return found
        return None


def default_paths() -> tuple[str, ...]:
    """Where Podman and Docker keep credentials of this user, in the order in which they are asked."""
    home = os.path.expanduser("~")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    podman = (os.path.join(runtime, "containers/auth.json"),) if runtime else ()
    docker = os.environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
    return (*podman, os.path.join(home, ".config/containers/auth.json"), os.path.join(docker, "config.json"))


def _read(path: str) -> bytes:
    """The whole of a regular file; a pipe would make this wait for ever."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise AuthFileError(f"credentials in {quote(path)} cannot be read: {error.strerror}") from None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise AuthFileError(f"credentials in {quote(path)}: expected a regular file")
        return file.read(_MAX_FILE + 1)


class _Parsed:
    """One file: its entries by registry and path."""

    def __init__(self, name: str, raw: bytes) -> None:
        self._name = name
        try:
            self._file = parse(_File, raw, max_size=_MAX_FILE)
        except SpecError as error:
            raise AuthFileError(f"credentials in {quote(name)} cannot be read: {error}") from None
        self._entries = _by_place(self._file.auths)
        self._helpers = _by_place(self._file.cred_helpers)

    def find(self, registry: str, repository: str) -> Credential | None:
        for place in _places(registry, repository):
            if place in self._helpers:
                raise self._no_helper(place, self._helpers[place])
            if place in self._entries:
                return self._credential(place, self._entries[place])
        return None

    def _credential(self, place: str, entry: _Entry) -> Credential:
        if entry.identitytoken:
            return IdentityToken(Secret(entry.identitytoken))
        if entry.auth:
            return self._decoded(place, entry.auth)
        if entry.username and entry.password is not None:
            return Basic(entry.username, Secret(entry.password))
        if self._file.creds_store:
            raise self._no_helper(place, self._file.creds_store)
        raise self._broken(place)

    def _decoded(self, place: str, auth: str) -> Credential:
        try:
            username, colon, password = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise self._broken(place) from None
        if not colon or not username:
            raise self._broken(place)
        # Docker pads with NUL what other programs wrote for it.
        return Basic(username, Secret(password.rstrip("\0")))

    def _broken(self, place: str) -> AuthFileError:
        return AuthFileError(
            f"credentials in {quote(self._name)} for {quote(place)}: expected auth as base64 of user:password"
        )

    def _no_helper(self, place: str, helper: str) -> NotSupported:
        return NotSupported(
            f"credentials for {quote(place)} are in the helper {quote(helper)} ({quote(self._name)}), "
            "which ociworks cannot ask; pass them as StaticKeychain"
        )


def _by_place(entries: Mapping[str, T]) -> dict[str, T]:
    """Entries by ``host[:port][/path]``; keys that name no registry cannot match one and are passed over."""
    found: dict[str, T] = {}
    for key, value in entries.items():
        place = _place(key)
        if place is not None:
            found.setdefault(place, value)
    return found


def _place(key: str) -> str | None:
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


def _places(registry: str, repository: str) -> list[str]:
    """What may hold the credential, longest first: the repository, its parents, the registry."""
    parts = [registry, *repository.split("/")]
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
