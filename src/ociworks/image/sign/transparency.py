"""The transparency log: an entry as proof that a signature was published, checked without asking the log.

Rekor signs, when it accepts an entry, what the entry is and when that was (the *signed entry timestamp*). With the
log's public key at hand this can be verified offline. That it *is* the entry of this very signature must be compared:
hash of what was signed, signature and key; a genuine entry for something else proves nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import field, frozen

from ociworks.errors import InvalidSignature, SignatureError, quote
from ociworks.image.sign import _pem
from ociworks.image.sign._encoding import base64, items, member, members, number, read_object, to_base64
from ociworks.image.sign.keys import PublicKey
from ociworks.image.sign.reason import Reason
from ociworks.spec import _json

__all__ = ["LogEntry", "Logged", "TransparencyLog"]

_MAX_BODY: Final = 1024 * 1024


@frozen(kw_only=True)
class Logged:
    """What an entry must be about."""

    signature: bytes
    digest: str
    """sha256, in hex, of what was signed; of the payload where it is in an envelope."""
    verifier: bytes
    """The public key or certificate, in PEM."""


@frozen(kw_only=True)
class LogEntry:
    """An entry and the log's promise, as they arrived."""

    body: bytes
    integrated: int
    """Seconds since 1970."""
    log_id: str
    """sha256 of the log's public key, in hex."""
    index: int
    promise: bytes

    @classmethod
    def of_annotation(cls, text: str) -> LogEntry:
        """From cosign's annotation ``dev.sigstore.cosign/bundle``."""
        value = read_object(text.encode("utf-8"), "log bundle", _MAX_BODY)
        payload = member(value, "Payload", dict)
        return cls(
            body=base64(member(payload, "body", str), "body"),
            integrated=number(payload, "integratedTime"),
            log_id=member(payload, "logID", str),
            index=number(payload, "logIndex"),
            promise=base64(member(value, "SignedEntryTimestamp", str), "SignedEntryTimestamp"),
        )

    @classmethod
    def of_bundle(cls, value: Mapping[str, object]) -> LogEntry:
        """From an item of ``tlogEntries`` in a sigstore bundle."""
        promise = members(value, "inclusionPromise")
        if not promise:
            raise InvalidSignature(
                Reason.NOT_LOGGED,
                "the log entry has no signed entry timestamp; inclusion proofs alone are not verified here",
            )
        return cls(
            body=base64(member(value, "canonicalizedBody", str), "canonicalizedBody"),
            integrated=number(value, "integratedTime"),
            log_id=base64(member(member(value, "logId", dict), "keyId", str), "keyId").hex(),
            index=number(value, "logIndex"),
            promise=base64(member(promise, "signedEntryTimestamp", str), "signedEntryTimestamp"),
        )

    @property
    def time(self) -> datetime:
        """When the log says that it took the entry in."""
        try:
            return datetime.fromtimestamp(self.integrated, UTC)
        except (OverflowError, OSError, ValueError):
            raise InvalidSignature(Reason.NOT_LOGGED, "the log entry has no possible time") from None

    def signed(self) -> bytes:
        """What the promise signs: the canonical JSON of the entry."""
        return _json.dumps(
            {
                "body": to_base64(self.body),
                "integratedTime": self.integrated,
                "logID": self.log_id,
                "logIndex": self.index,
            }
        )


def _keys(given: PublicKey | Iterable[PublicKey]) -> tuple[PublicKey, ...]:
    return (given,) if isinstance(given, PublicKey) else tuple(given)


@frozen
class TransparencyLog:
    """A log that is trusted to say what it took in and when: its public key, or keys where it changed them."""

    keys: tuple[PublicKey, ...] = field(converter=_keys)

    def confirm(self, entries: tuple[LogEntry, ...], logged: Logged) -> datetime:
        """The time of the earliest entry; raises ``InvalidSignature`` unless *every* entry is this log's, for this."""
        if not entries:
            raise InvalidSignature(
                Reason.NOT_LOGGED, "there is no entry of the transparency log, and one is required"
            )
        for entry in entries:
            self._confirm(entry, logged)
        return min(entry.time for entry in entries)

    def _confirm(self, entry: LogEntry, logged: Logged) -> None:
        key = next((key for key in self.keys if key.fingerprint.encoded == entry.log_id), None)
        if key is None:
            raise InvalidSignature(Reason.NOT_LOGGED, "the log entry is not one of the trusted log")
        try:
            key.verify(entry.promise, entry.signed())
        except InvalidSignature:
            raise InvalidSignature(Reason.NOT_LOGGED, "the log did not sign this entry") from None
        _compare(read_object(entry.body, "log entry", _MAX_BODY), logged)


def _compare(body: Mapping[str, object], logged: Logged) -> None:
    kind, version = member(body, "kind", str), member(body, "apiVersion", str)
    spec = member(body, "spec", dict)
    if (kind, version) == ("hashedrekord", "0.0.1"):
        digest, signature, verifier = _hashed(spec)
    elif (kind, version) == ("dsse", "0.0.1"):
        digest, signature, verifier = _dsse(spec)
    else:
        raise InvalidSignature(
            Reason.UNSUPPORTED, f"log entries of kind {quote(kind)} {quote(version)} are not verified here"
        )
    if digest != logged.digest:
        raise InvalidSignature(Reason.NOT_LOGGED, "the log entry is about something else that was signed")
    if signature != logged.signature:
        raise InvalidSignature(Reason.NOT_LOGGED, "the log entry is about another signature")
    if _identity(verifier) != _identity(logged.verifier):
        raise InvalidSignature(Reason.NOT_LOGGED, "the log entry is about another key or certificate")


def _hashed(spec: Mapping[str, object]) -> tuple[str, bytes, bytes]:
    digest = member(member(spec, "data", dict), "hash", dict)
    signature = member(spec, "signature", dict)
    verifier = member(member(signature, "publicKey", dict), "content", str)
    return (
        _sha256(digest),
        base64(member(signature, "content", str), "content"),
        base64(verifier, "publicKey"),
    )


def _dsse(spec: Mapping[str, object]) -> tuple[str, bytes, bytes]:
    signatures = items(spec, "signatures", 1)
    if not signatures:
        raise InvalidSignature(Reason.NOT_LOGGED, "the log entry has no signature")
    return (
        _sha256(member(spec, "payloadHash", dict)),
        base64(member(signatures[0], "signature", str), "signature"),
        base64(member(signatures[0], "verifier", str), "verifier"),
    )


def _sha256(value: Mapping[str, object]) -> str:
    if member(value, "algorithm", str) != "sha256":
        raise InvalidSignature(Reason.UNSUPPORTED, "the log entry uses another hash than sha256")
    return member(value, "value", str)


def _identity(pem: bytes) -> tuple[str, bytes]:
    """Label and digest of the content, so that line lengths and final newlines do not matter."""
    try:
        label, der = _pem.single(pem, "key or certificate")
    except SignatureError:
        raise InvalidSignature(Reason.NOT_LOGGED, "the log entry names no key or certificate") from None
    return label, hashlib.sha256(der).digest()
