"""Notation's own configuration: ``trustpolicy.json`` and a trust store (Notary Project, trust-store-trust-policy.md).

::

    policy = TrustPolicy.load("~/.config/notation/trustpolicy.json", store="~/.config/notation/trust-store")
    verify(registry, ref, policy.trust_for(ref))

A statement applies to the repositories that it names in full, or to all (``*``). Names of stores and of files in them
become paths only below the store's directory, one component at a time, and links are not followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Final, Literal, Self, cast

from attrs import field, frozen

from ociworks.errors import InvalidKey, InvalidReference, NotSupported, PolicyError, SpecError, quote
from ociworks.image.reference import Reference
from ociworks.image.sign import _pem
from ociworks.image.sign.certificates import Certificates
from ociworks.image.sign.notation import Level, NotationTrust
from ociworks.image.sign.policyfile import read
from ociworks.spec import _json

__all__ = ["TrustPolicy", "TrustStatement"]

_MAX_POLICY: Final = 1024 * 1024
_MAX_FILES: Final = 256
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_STATEMENT: Final = {"name", "registryScopes", "signatureVerification", "trustStores", "trustedIdentities"}
_LEVELS: Final = ("strict", "permissive", "audit", "skip")
_SUFFIXES: Final = (".pem", ".crt", ".cer")


@frozen(kw_only=True)
class TrustStatement:
    """What is asked of the signatures of some repositories."""

    name: str
    scopes: tuple[str, ...]
    """Repositories in full, or only ``*``."""
    level: Level | Literal["skip"]
    stores: tuple[str, ...] = ()
    """Names of stores of authorities (``ca``)."""
    identities: tuple[str, ...] = ()
    """Subjects, as :class:`~ociworks.image.sign.NotationTrust` takes them; empty: anybody whom the stores certify."""


def _directory(path: str | os.PathLike[str]) -> str:
    return os.fspath(path)


@frozen
class TrustPolicy:
    """The statements of a trust policy, and the directory of its trust store."""

    statements: tuple[TrustStatement, ...]
    store: str = field(converter=_directory)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, store: str | os.PathLike[str]) -> Self:
        """From a file that only its owner and root may write; raises :class:`~ociworks.errors.PolicyError`."""
        return cls.parse(read(os.path.expanduser(path)), store=os.path.expanduser(store))

    @classmethod
    def parse(cls, raw: bytes, *, store: str | os.PathLike[str]) -> Self:
        """From the content of a file; raises :class:`~ociworks.errors.PolicyError`."""
        try:
            top = _object(_json.loads(raw, max_size=_MAX_POLICY), "$", {"version", "trustPolicies"})
        except SpecError as error:
            raise PolicyError(f"trust policy: {error}") from None
        if top.get("version") != "1.0":
            raise PolicyError("trust policy: expected version 1.0")
        found = top.get("trustPolicies")
        if not isinstance(found, list) or not found:
            raise PolicyError("trust policy: expected at least one statement")
        statements = tuple(_statement(item) for item in found)
        scopes = [scope for each in statements for scope in each.scopes]
        names = [each.name for each in statements]
        if len(set(scopes)) != len(scopes) or len(set(names)) != len(names):
            raise PolicyError("trust policy: a scope or a name is in more than one statement")
        return cls(statements, store)

    def applies(self, ref: Reference | str) -> TrustStatement:
        """The statement for a repository: the one that names it, else the one for all.

        Raises :class:`~ociworks.errors.PolicyError` when there is none: then nothing from there is trusted.
        """
        name = (Reference.parse(ref) if isinstance(ref, str) else ref).name
        for wanted in (name, "*"):
            for each in self.statements:
                if wanted in each.scopes:
                    return each
        raise PolicyError(f"trust policy: no statement applies to {name}")

    def trust_for(self, ref: Reference | str) -> NotationTrust:
        """Who is trusted to sign in a repository, with the certificates that are in the store now.

        Raises :class:`~ociworks.errors.PolicyError`, and :class:`~ociworks.errors.NotSupported` where the policy says
        that signatures are not verified (``skip``).
        """
        statement = self.applies(ref)
        if statement.level == "skip":
            raise NotSupported(
                f"the statement {quote(statement.name)} says that signatures are not verified (skip)"
            )
        found = [each for name in statement.stores for each in self._certificates(name).items]
        return NotationTrust(
            Certificates(tuple(found)), identities=statement.identities, level=statement.level
        )

    def _certificates(self, name: str) -> Certificates:
        where = f"trust store {quote(name)}"
        try:
            found = [each for raw in _files(self.store, name) for each in _certificates_of(raw).items]
        except OSError as error:
            raise PolicyError(f"{where}: cannot be read: {error.strerror}") from None
        except InvalidKey as error:
            raise PolicyError(f"{where}: {error}") from None
        if not found:
            raise PolicyError(f"{where}: expected at least one certificate")
        return Certificates(tuple(found))


def _statement(value: object) -> TrustStatement:
    found = _object(value, "statement", _STATEMENT)
    name = _text(found.get("name"), "name")
    level = _level(found.get("signatureVerification"), name)
    scopes = _texts(found.get("registryScopes"), f"{name}: registryScopes")
    if not scopes or ("*" in scopes and (len(scopes) > 1 or level == "skip")):
        raise PolicyError(
            f"trust policy: {quote(name)}: expected repositories, or only '*' (and then not skip)"
        )
    scopes = tuple(_scope(scope) for scope in scopes)
    if level == "skip":
        return TrustStatement(name=name, scopes=scopes, level=level)
    identities = _texts(found.get("trustedIdentities"), f"{name}: trustedIdentities")
    stores = _texts(found.get("trustStores"), f"{name}: trustStores")
    if not identities or not stores:
        raise PolicyError(f"trust policy: {quote(name)}: expected trustStores and trustedIdentities")
    return TrustStatement(
        name=name,
        scopes=scopes,
        level=level,
        stores=tuple(_store(text) for text in stores),
        identities=() if identities == ("*",) else tuple(_identity(text) for text in identities),
    )


def _level(value: object, name: str) -> Level | Literal["skip"]:
    found = _object(value, f"{name}: signatureVerification", {"level", "override", "verifyTimestamp"})
    level = _text(found.get("level"), f"{name}: level")
    if level not in _LEVELS:
        raise PolicyError(
            f"trust policy: {quote(name)}: expected one of {', '.join(_LEVELS)}, got {quote(level)}"
        )
    if "override" in found:
        raise PolicyError(f"trust policy: {quote(name)}: custom levels (override) are not supported")
    return cast("Level", level)


def _scope(text: str) -> str:
    """A repository in full: what is short for another name would match something else elsewhere."""
    try:
        full = text == "*" or str(Reference.parse(text)) == text
    except InvalidReference:
        full = False
    if not full or ":" in text.rpartition("/")[2] or "@" in text:
        raise PolicyError(f"trust policy: expected a repository in full, got {quote(text)}")
    return text


def _store(text: str) -> str:
    kind, _, name = text.partition(":")
    if kind != "ca" or _NAME.fullmatch(name) is None:
        raise PolicyError(
            f"trust policy: expected a store 'ca:NAME' (no other kind is supported), got {quote(text)}"
        )
    return name


def _identity(text: str) -> str:
    prefix, colon, subject = text.partition(":")
    if prefix != "x509.subject" or not colon or "*" in text:
        raise PolicyError(f"trust policy: expected an identity 'x509.subject: C=…', got {quote(text)}")
    return subject.strip()


def _files(store: str, name: str) -> Iterator[bytes]:
    """The certificate files of a named store; a link or anything else that is no file is an error."""
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_DIRECTORY", 0)
    here = os.open(store, flags & ~getattr(os, "O_NOFOLLOW", 0))
    try:
        for part in ("x509", "ca", name):
            below = os.open(part, flags, dir_fd=here)
            os.close(here)
            here = below
        entries = sorted(entry for entry in os.listdir(here) if entry.endswith(_SUFFIXES))
        if len(entries) > _MAX_FILES:
            raise InvalidKey(f"expected at most {_MAX_FILES} files")
        for entry in entries:
            yield _file(here, entry)
    finally:
        os.close(here)


def _file(directory: int, name: str) -> bytes:
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    fd = os.open(name, flags, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidKey(f"{quote(name)} is no regular file")
        with open(fd, "rb", closefd=False) as file:
            return file.read(_pem.MAX_FILE + 1)
    finally:
        os.close(fd)


def _certificates_of(raw: bytes) -> Certificates:
    return Certificates.from_pem(raw) if b"-----BEGIN" in raw else Certificates.from_der(raw)


def _object(value: object, where: str, allowed: set[str]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise PolicyError(f"trust policy: {where}: expected an object")
    if unknown := sorted(value.keys() - allowed):
        raise PolicyError(f"trust policy: {where}: {quote(unknown[0])} is not known here")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise PolicyError(f"trust policy: {where}: expected a list")
    return tuple(_text(item, where) for item in value)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise PolicyError(f"trust policy: {where}: expected a string")
    return value
