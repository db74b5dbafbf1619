"""Logging in to registries and out of them, so that Docker, Podman and skopeo see the same.

Which file is written, unless ``file`` says: the first of :func:`default_paths` that knows the registry already,
because another entry would be shadowed by it or shadow it; else Docker's ``config.json``, which all of them read. Where
that file names a helper for the registry, the credential goes there, and the file gets the empty entry that Docker
leaves beside.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ociworks.errors import AuthFileError, InvalidReference, NotSupported, quote
from ociworks.image.auth._edit import edit, with_entry
from ociworks.image.auth.credentials import Basic
from ociworks.image.auth.dockerconfig import AuthEntry, AuthFile, default_paths, load_auth_file, place_of
from ociworks.image.auth.helpers import CredentialHelper
from ociworks.image.auth.secret import Secret
from ociworks.image.reference import DOCKER_HUB, Reference

if TYPE_CHECKING:
    from ociworks.image.remote import Client

__all__ = ["login", "logout"]

_HUB_KEY: Final = "https://index.docker.io/v1/"
"""The only name under which Docker finds its own registry."""

_DOCKER: Final = "config.json"
_LEGACY: Final = ".dockercfg"


@frozen
class _Place:
    """A registry, and perhaps a path in it for which alone the credential is."""

    registry: str
    path: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}" if self.path else self.registry

    def key(self, file: str) -> str:
        """What to call it in a file."""
        docker = os.path.basename(file) == _DOCKER
        return _HUB_KEY if docker and str(self) == DOCKER_HUB else str(self)


def login(
    registry: str,
    username: str,
    password: str | Secret,
    *,
    file: str | None = None,
    client: Client | None = None,
) -> str:
    """Have a registry confirm a user name and password, and keep them; says where: a path, or the name of a helper.

    ``registry`` is ``host[:port]``, or that with a path for credentials that are for a part of it. ``client`` brings
    certificates and proxies; by default those that this host has configured. Nothing is kept unless the registry has
    answered with success. Raises :class:`~ociworks.errors.Unauthorized` and other
    :class:`~ociworks.errors.RegistryError`, :class:`~ociworks.errors.AuthFileError`,
    :class:`~ociworks.errors.CredentialHelperError`, :class:`~ociworks.errors.InvalidReference`.
    """
    place = _parse(registry)
    credential = Basic(username, password if isinstance(password, Secret) else Secret(password))
    target = file or _home_of(place)
    helper = _helper(load_auth_file(target), place)
    _verify(place, credential, client)
    if helper is not None:
        helper.store(place.key(_DOCKER), credential)
    entry = AuthEntry() if helper else AuthEntry(auth=_encoded(credential))
    edit(
        target,
        lambda found: with_entry(found, place.key(target), entry, lambda key: place_of(key) == str(place)),
    )
    return target if helper is None else f"docker-credential-{helper.name}"


def logout(registry: str, *, file: str | None = None) -> tuple[str, ...]:
    """Forget the credentials for a registry, in ``file`` or wherever this user has some; says where there were any.

    What is kept for paths in the registry stays, unless ``registry`` names that path. ``.dockercfg`` is never written;
    an entry there is an error. Raises :class:`~ociworks.errors.AuthFileError`,
    :class:`~ociworks.errors.CredentialHelperError`, :class:`~ociworks.errors.InvalidReference`.
    """
    place = _parse(registry)
    found: list[str] = []
    for path in [file] if file else [path for path in default_paths() if os.path.lexists(path)]:
        found += _forget(path, place)
    return tuple(found)


def _forget(path: str, place: _Place) -> list[str]:
    known = load_auth_file(path)
    found: list[str] = []
    helper = None if place.path else _helper(known, place)
    if helper is not None and _erase(helper, place):
        found.append(f"docker-credential-{helper.name}")
    entries = [entry for key, entry in known.auths.items() if place_of(key) == str(place)]
    if not entries:
        return found
    if os.path.basename(path) == _LEGACY:
        raise AuthFileError(
            f"{quote(path)} has an entry for {place}: take it out by hand, this file is not written"
        )
    edit(path, lambda file: with_entry(file, None, None, lambda key: place_of(key) == str(place)))
    return found if all(entry == AuthEntry() for entry in entries) else [*found, path]


def _erase(helper: CredentialHelper, place: _Place) -> bool:
    names = (_HUB_KEY, DOCKER_HUB) if place.registry == DOCKER_HUB else (place.registry,)
    erased = [helper.erase(name) for name in names if helper.get(name) is not None]
    return any(erased)


def _parse(registry: str) -> _Place:
    host, _, path = (place_of(registry) or "").partition("/")
    if not host:
        raise InvalidReference(f"expected a registry such as registry.example:5000, got {quote(registry)}")
    Reference(registry=host, repository=path or "x/x")
    return _Place(host, path)


def _home_of(place: _Place) -> str:
    """The file to write."""
    paths = [path for path in default_paths() if os.path.basename(path) != _LEGACY]
    for path in paths:
        if os.path.lexists(path):
            file = load_auth_file(path)
            known = {place_of(key) for key in (*file.auths, *file.cred_helpers)}
            if str(place) in known:
                return path
    return next((path for path in paths if os.path.basename(path) == _DOCKER), paths[0])


def _helper(file: AuthFile, place: _Place) -> CredentialHelper | None:
    named = [name for key, name in file.cred_helpers.items() if place_of(key) == place.registry]
    name = named[0] if named else file.creds_store
    if not name:
        return None
    if place.path:
        if named:
            raise NotSupported(f"credentials for {place}: a helper keeps them for whole registries only")
        return None
    return CredentialHelper(name)


def _verify(place: _Place, credential: Basic, client: Client | None) -> None:
    if client is not None:
        client.check_login(place.registry, credential)
        return
    from ociworks.image import remote
    from ociworks.image.hosts import HostsConfig

    with remote.Client(hosts=HostsConfig.from_environment()) as own:
        own.check_login(place.registry, credential)


def _encoded(credential: Basic) -> str:
    return base64.b64encode(f"{credential.username}:{credential.password.reveal()}".encode()).decode()
