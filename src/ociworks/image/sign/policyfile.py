"""Reading ``policy.json``: which requirements hold for which images (containers-policy.json(5)).

The file decides what may run, so it is read as strictly as its specification says: an unknown member, a repeated one,
an empty list of requirements or a file that others may write makes all of it useless, and a useless policy accepts
nothing.
"""

from __future__ import annotations

import binascii
import os
import stat
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Final

from ociworks.errors import PolicyError, SpecError, quote
from ociworks.image.sign import _pem, identity, requirements
from ociworks.image.sign.identity import IdentityRule
from ociworks.image.sign.requirements import Material, Requirement
from ociworks.spec import FrozenDict, _json

__all__ = ["MAX_POLICY", "Scopes", "default_path", "parse", "read"]

MAX_POLICY: Final = 1024 * 1024
"""Bytes of a policy file at most."""

Scopes = Mapping[str, tuple[Requirement, ...]]
"""Scope → requirements, of one transport."""

_SYSTEM: Final = "/etc/containers/policy.json"
_KEYS: Final = ("keyPath", "keyPaths", "keyData", "keyDatas")
_LOGS: Final = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")


def default_path() -> str:
    """Where the policy of this user is: in the home directory if it is there, otherwise that of the system."""
    home = os.environ.get("HOME", "")
    own = os.path.join(home, ".config/containers/policy.json")
    return own if os.path.isabs(own) and os.path.lexists(own) else _SYSTEM


def read(path: str | os.PathLike[str]) -> bytes:
    """The content of a policy file that only its owner and root may write; raises ``PolicyError``."""
    shown = quote(os.fspath(path))
    try:
        found = _pem.read_regular(path, MAX_POLICY)
    except OSError as error:
        raise PolicyError(
            f"policy {shown}: cannot be read ({error.strerror}); without a policy nothing is accepted"
        ) from None
    if found is None:
        raise PolicyError(f"policy {shown}: expected a regular file")
    status, raw = found
    if status.st_mode & stat.S_IWOTH or status.st_uid not in {0, os.geteuid()}:
        raise PolicyError(f"policy {shown}: others may write it; chmod o-w, and give it to root or yourself")
    if len(raw) > MAX_POLICY:
        raise PolicyError(f"policy {shown}: expected at most {MAX_POLICY} bytes")
    return raw


def parse(raw: bytes) -> tuple[tuple[Requirement, ...], Mapping[str, Scopes]]:
    """The default requirements, and those of each transport; raises ``PolicyError``."""
    try:
        top = _object(_json.loads(raw, max_size=MAX_POLICY), "$", {"default", "transports"})
    except SpecError as error:
        raise PolicyError(f"policy: {error}") from None
    transports: dict[str, Scopes] = {}
    for name, scopes in _object(top.get("transports", {}), "$.transports", None).items():
        where = f"$.transports.{name}"
        transports[name] = FrozenDict(
            {
                scope: _requirements(found, f"{where}[{quote(scope)}]")
                for scope, found in _object(scopes, where, None).items()
            }
        )
    return _requirements(top.get("default"), "$.default"), FrozenDict(transports)


def _requirements(value: object, where: str) -> tuple[Requirement, ...]:
    if not isinstance(value, list) or not value:
        raise PolicyError(f"policy: {where}: expected a list with at least one requirement")
    return tuple(_requirement(item, f"{where}[{number}]") for number, item in enumerate(value))


def _requirement(value: object, where: str) -> Requirement:
    found = _object(value, where, None)
    kind = _text(found.get("type"), f"{where}.type")
    readers: dict[str, Callable[[Mapping[str, object], str], Requirement]] = {
        "insecureAcceptAnything": _accept,
        "reject": _reject,
        "signedBy": _signed_by,
        "sigstoreSigned": _sigstore,
    }
    if kind not in readers:
        raise PolicyError(f"policy: {where}: expected one of {', '.join(readers)}, got {quote(kind)}")
    return readers[kind](found, where)


def _accept(value: Mapping[str, object], where: str) -> Requirement:
    _object(value, where, {"type"})
    return requirements.AcceptAnything()


def _reject(value: Mapping[str, object], where: str) -> Requirement:
    _object(value, where, {"type"})
    return requirements.Reject()


def _signed_by(value: Mapping[str, object], where: str) -> Requirement:
    _object(value, where, {"type", "keyType", "signedIdentity", "keyPath", "keyPaths", "keyData"})
    if value.get("keyType") != "GPGKeys":
        raise PolicyError(f"policy: {where}.keyType: expected GPGKeys")
    if not _material(value, where, ("keyPath", "keyPaths", "keyData")):
        raise PolicyError(f"policy: {where}: expected one of keyPath, keyPaths and keyData")
    _identity(value.get("signedIdentity"), f"{where}.signedIdentity")
    return requirements.SignedBy()


def _sigstore(value: Mapping[str, object], where: str) -> Requirement:
    _object(value, where, {"type", "signedIdentity", "fulcio", "pki", *_KEYS, *_LOGS})
    keys, logs = _material(value, where, _KEYS), _material(value, where, _LOGS)
    fulcio = None if "fulcio" not in value else _fulcio(value["fulcio"], f"{where}.fulcio")
    if "pki" in value:
        raise PolicyError(f"policy: {where}.pki: not supported; use keys or fulcio")
    if bool(keys) == (fulcio is not None):
        raise PolicyError(f"policy: {where}: expected either keys or fulcio")
    if fulcio is not None and not logs:
        raise PolicyError(f"policy: {where}: fulcio needs the public key of the log (rekorPublicKey…)")
    return requirements.SigstoreSigned(
        keys=keys,
        logs=logs,
        fulcio=fulcio,
        identity=_identity(value.get("signedIdentity"), f"{where}.signedIdentity"),
    )


def _fulcio(value: object, where: str) -> requirements.Fulcio:
    found = _object(value, where, {"caPath", "caData", "oidcIssuer", "subjectEmail"})
    authorities = _material(found, where, ("caPath", "caData"))
    if not authorities:
        raise PolicyError(f"policy: {where}: expected one of caPath and caData")
    return requirements.Fulcio(
        authorities=authorities[0],
        issuer=_text(found.get("oidcIssuer"), f"{where}.oidcIssuer"),
        subject=_text(found.get("subjectEmail"), f"{where}.subjectEmail"),
    )


def _material(value: Mapping[str, object], where: str, names: tuple[str, ...]) -> tuple[Material, ...]:
    """Paths or contents, from at most one of the members; read when they are needed."""
    given = [name for name in names if name in value]
    if len(given) > 1:
        raise PolicyError(f"policy: {where}: expected only one of {' and '.join(given)}")
    if not given:
        return ()
    (name,) = given
    found = value[name] if name.endswith("s") else [value[name]]
    if not isinstance(found, list) or not found:
        raise PolicyError(f"policy: {where}.{name}: expected a list with at least one item")
    texts = [_text(item, f"{where}.{name}") for item in found]
    if "Path" in name:
        return tuple(_path(text, f"{where}.{name}") for text in texts)
    return tuple(_data(text, f"{where}.{name}") for text in texts)


def _path(text: str, where: str) -> str:
    if not os.path.isabs(text):
        raise PolicyError(f"policy: {where}: expected an absolute path, got {quote(text)}")
    return text


def _data(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PolicyError(f"policy: {where}: expected base 64") from None


def _identity(value: object, where: str) -> IdentityRule:
    if value is None:
        return identity.MatchRepoDigestOrExact()
    found = _object(value, where, None)
    kind = _text(found.get("type"), f"{where}.type")
    plain: dict[str, IdentityRule] = {
        "matchExact": identity.MatchExact(),
        "matchRepoDigestOrExact": identity.MatchRepoDigestOrExact(),
        "matchRepository": identity.MatchRepository(),
    }
    if kind in plain:
        _object(found, where, {"type"})
        return plain[kind]
    if kind == "exactReference":
        _object(found, where, {"type", "dockerReference"})
        return identity.ExactReference(_text(found.get("dockerReference"), f"{where}.dockerReference"))
    if kind == "exactRepository":
        _object(found, where, {"type", "dockerRepository"})
        return identity.ExactRepository(_text(found.get("dockerRepository"), f"{where}.dockerRepository"))
    if kind == "remapIdentity":
        _object(found, where, {"type", "prefix", "signedPrefix"})
        return identity.RemapIdentity(
            _text(found.get("prefix"), f"{where}.prefix"),
            _text(found.get("signedPrefix"), f"{where}.signedPrefix"),
        )
    raise PolicyError(f"policy: {where}: identity {quote(kind)} is not known")


def _object(value: object, where: str, allowed: set[str] | None) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise PolicyError(f"policy: {where}: expected an object")
    if allowed is not None and (unknown := sorted(value.keys() - allowed)):
        raise PolicyError(f"policy: {where}: {quote(unknown[0])} is not known here")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise PolicyError(f"policy: {where}: expected a string")
    return value
