"""Credential helpers: the programs ``docker-credential-*``, which keep credentials for Docker and Podman.

::

    docker-credential-NAME get     stdin  registry                     stdout  {"ServerURL", "Username", "Secret"}
                           store   stdin  the same JSON                        nothing
                           erase   stdin  registry                             nothing
                           list    stdin  nothing                      stdout  {registry: username, …}

    status 0: done · 1 with exactly the words for "not found" on stdout: there is none · everything else: a failure

A helper is started without a shell, with an environment of a few named variables, for a limited time and output.
What it prints on stderr is never read. A failure is an error and never a reason to look elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from ociworks import _values
from ociworks.errors import CredentialHelperError, SpecError, quote
from ociworks.image.auth import _process
from ociworks.image.auth.credentials import Basic, Credential, IdentityToken
from ociworks.image.auth.secret import Secret
from ociworks.image.reference import DOCKER_HUB
from ociworks.spec import Model, parse, to_json

__all__ = ["CredentialHelper", "HelperKeychain", "HelperOptions"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NOT_FOUND: Final = b"credentials not found in native keychain"
"""The words that the protocol has for it (docker-credential-helpers, credentials/error.go)."""

_TOKEN_USER: Final = "<token>"  # noqa: S105 - what a helper writes instead of a user name
_HUB_KEYS: Final = ("https://index.docker.io/v1/", DOCKER_HUB)
"""What Docker and Podman call Docker Hub in a helper."""

_PASSED: Final = frozenset(
    "PATH HOME USER LOGNAME LANG LC_ALL LC_CTYPE TZ TMPDIR DISPLAY WAYLAND_DISPLAY DBUS_SESSION_BUS_ADDRESS "
    "XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME GNUPGHOME GPG_TTY PASSWORD_STORE_DIR DOCKER_CONFIG "
    "HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy".split()
)
_PASSED_PREFIXES: Final = ("AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_", "ECR_", "GCR_")


@frozen(kw_only=True)
class HelperOptions:
    """The bounds of one run of a helper, and its environment."""

    timeout: float = 60.0
    """Seconds; a helper may have to ask its user."""
    max_output: int = 256 * 1024
    """Bytes on stdout."""
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    """None: what helpers are known to need of this process's environment."""


@_values.frozen(kw_only=True, eq=False, repr=False)
class _Entry(
    Model, names={"server_url": "ServerURL", "username": "Username", "secret": "Secret"}, nulls=True
):
    server_url: str = ""
    username: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return "_Entry(…)"


class CredentialHelper:
    """One helper by the end of its name: ``CredentialHelper("secretservice")``.

    Every method raises :class:`~ociworks.errors.CredentialHelperError`.
    """

    def __init__(self, name: str, options: HelperOptions | None = None) -> None:
        if _NAME.fullmatch(name) is None:
            raise CredentialHelperError(
                f"credential helper {quote(name)}: expected a name of letters, digits, dots and dashes"
            )
        self.name = name
        self._options = options or HelperOptions()

    def get(self, server: str) -> Credential | None:
        """The credential that the helper has for a registry, None when it says that it has none."""
        status, output = self._run("get", server.encode())
        if status == 1 and output.strip() == _NOT_FOUND:
            return None
        if status != 0:
            raise self._failed("get", f"status {status}")
        try:
            entry = parse(_Entry, output)
            secret = Secret(entry.secret)
            if entry.username == _TOKEN_USER and entry.secret:
                return IdentityToken(secret)
            if not entry.username:
                raise self._failed("get", "expected a Username in its answer")
            return Basic(entry.username, secret)
        except SpecError:
            raise self._failed("get", "expected JSON with Username and Secret") from None

    def find(self, registry: str) -> Credential | None:
        """The same for a registry as in ``Reference.registry``: Docker Hub goes by two names."""
        for server in _HUB_KEYS if registry == DOCKER_HUB else (registry,):
            if (found := self.get(server)) is not None:
                return found
        return None

    def store(self, server: str, credential: Credential) -> None:
        """Keep a credential, instead of the one that is there."""
        if isinstance(credential, Basic):
            username, secret = credential.username, credential.password
        else:
            username, secret = _TOKEN_USER, credential.token
        raw = to_json(_Entry(server_url=server, username=username, secret=secret.reveal()))
        self._do("store", raw)

    def erase(self, server: str) -> bool:
        """Forget the credential for a registry; False when the helper says that it has none."""
        status, output = self._run("erase", server.encode())
        if status == 1 and output.strip() == _NOT_FOUND:
            return False
        if status != 0:
            raise self._failed("erase", f"status {status}")
        return True

    def list(self) -> dict[str, str]:
        """User names by registry."""
        status, output = self._run("list", b"")
        if status != 0:
            raise self._failed("list", f"status {status}")
        try:
            answer = parse(Model, output)
        except SpecError:
            raise self._failed("list", "expected a JSON object") from None
        return {server: name for server, name in answer.extra.items() if isinstance(name, str)}

    def _do(self, verb: str, given: bytes) -> None:
        status, _ = self._run(verb, given)
        if status != 0:
            raise self._failed(verb, f"status {status}")

    def _run(self, verb: str, given: bytes) -> tuple[int, bytes]:
        environ = _environment() if self._options.environ is None else dict(self._options.environ)
        program = shutil.which(f"docker-credential-{self.name}", path=environ.get("PATH", os.defpath))
        if program is None or not os.path.isabs(program):
            raise self._failed(
                verb, "not found in PATH; install it, or take it out of the configuration file"
            )
        bounds = _process.Bounds(self._options.timeout, self._options.max_output)
        try:
            return _process.run([program, verb], given, environ, bounds)
        except _process.OutOfBoundsError as error:
            raise self._failed(verb, str(error)) from None
        except OSError as error:
            raise self._failed(verb, error.strerror or "cannot be started") from None

    def _failed(self, verb: str, why: str) -> CredentialHelperError:
        return CredentialHelperError(f"credential helper docker-credential-{self.name} {verb}: {why}")


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }


class HelperKeychain:
    """A keychain that is one helper."""

    def __init__(self, helper: CredentialHelper) -> None:
        self._helper = helper

    def find(self, registry: str, repository: str, /) -> Credential | None:  # noqa: ARG002  # helpers know registries
        """The credential that the helper has for the registry."""
        return self._helper.find(registry)
