"""In-toto statements in DSSE envelopes: what an attestation, or a signature in a bundle, says.

A DSSE signature is over the pre-authentication encoding of payload type and payload (`pae`), so neither can be taken
for the other. The payload is an in-toto statement: these subjects, this type of predicate, this predicate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from ociworks.errors import InvalidSignature, SpecError, quote
from ociworks.image.sign._encoding import base64, items, malformed, member, members, read_object
from ociworks.image.sign.payload import frozen_object
from ociworks.image.sign.reason import Reason
from ociworks.spec import Digest, JSONValue, _json
from ociworks.spec.frozen import thaw

__all__ = ["PAYLOAD_TYPE", "SIGN_PREDICATE", "Envelope", "Statement", "pae"]

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
SIGN_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type of a statement that is a signature and nothing more."""
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_STATEMENTS: Final = frozenset({_STATEMENT, "https://in-toto.io/Statement/v0.1"})


def pae(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE signature is over (DSSE 1.0, signature definition)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@frozen(kw_only=True)
class Envelope:
    """A DSSE envelope with its one signature."""

    payload: bytes
    payload_type: str
    signature: bytes

    @classmethod
    def read(cls, value: Mapping[str, object]) -> Envelope:
        """From parsed JSON; exactly one signature is expected, so that nobody asks which of them counted."""
        signatures = items(value, "signatures", 1)
        if not signatures:
            raise malformed("dsse envelope: expected a signature, found none")
        return cls(
            payload=base64(member(value, "payload", str), "payload"),
            payload_type=member(value, "payloadType", str),
            signature=base64(member(signatures[0], "sig", str), "sig"),
        )


@frozen(kw_only=True)
class Statement:
    """An in-toto statement (version 0.1 or 1): a predicate about subjects."""

    subjects: tuple[Digest, ...]
    predicate_type: str
    predicate: Mapping[str, JSONValue]

    @classmethod
    def read(cls, envelope: Envelope, maximum: int) -> Statement:
        """From an envelope whose signature was verified; at most ``maximum`` subjects."""
        if envelope.payload_type != PAYLOAD_TYPE:
            raise InvalidSignature(
                Reason.WRONG_TYPE,
                f"expected a payload of type {PAYLOAD_TYPE}, got {quote(envelope.payload_type)}",
            )
        value = read_object(envelope.payload, "statement", len(envelope.payload))
        kind = member(value, "_type", str)
        if kind not in _STATEMENTS:
            raise InvalidSignature(Reason.WRONG_TYPE, f"expected an in-toto statement, got {quote(kind)}")
        return cls(
            subjects=tuple(
                digest for subject in items(value, "subject", maximum) for digest in _digests(subject)
            ),
            predicate_type=member(value, "predicateType", str),
            predicate=frozen_object(members(value, "predicate")),
        )

    def write(self) -> bytes:
        """The payload."""
        return _json.dumps(
            {
                "_type": _STATEMENT,
                "subject": [{"name": "", "digest": {each.algorithm: each.encoded}} for each in self.subjects],
                "predicateType": self.predicate_type,
                "predicate": thaw(self.predicate),
            }
        )


def _digests(subject: Mapping[str, object]) -> list[Digest]:
    """The digests of one subject that can be compared; other kinds of identity name no image."""
    found = []
    for algorithm, value in members(subject, "digest").items():
        if algorithm in {"sha256", "sha384", "sha512"}:
            try:
                found.append(Digest.parse(f"{algorithm}:{value}"))
            except SpecError as error:
                raise malformed(f"subject: {error}") from None
    return found
