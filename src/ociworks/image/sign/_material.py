"""Evidence of sigstore's two forms as the same thing: a signature, what it signs, and who may have made it.

Reading the outside (the annotation, the bundle) tells only *what to check*. The inside is parsed by `conclude`, after
the signature over exactly those bytes was verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from ociworks.errors import InvalidSignature, quote
from ociworks.image.sign import _pem, payload
from ociworks.image.sign._encoding import base64, items, malformed, member, members, read_object
from ociworks.image.sign.evidence import Evidence
from ociworks.image.sign.reason import Reason
from ociworks.image.sign.statement import SIGN_PREDICATE, Envelope, Statement, pae
from ociworks.image.sign.transparency import LogEntry
from ociworks.image.sign.trust import Expected, check_annotations, check_identity
from ociworks.spec import FrozenDict, JSONValue

__all__ = ["SIGNATURE", "Conclusion", "Material", "conclude", "material_of"]

SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_CERTIFICATE: Final = "dev.sigstore.cosign/certificate"
_CHAIN: Final = "dev.sigstore.cosign/chain"
_LOG: Final = "dev.sigstore.cosign/bundle"
_BUNDLES: Final = frozenset(
    {"application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.3"}
)
_HASHES: Final = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


@frozen(kw_only=True)
class Material:
    """What is to be checked."""

    signature: bytes
    message: bytes = field(repr=False)
    """What the signature is over."""
    logged: str
    """sha256, in hex, of what the log is told about."""
    certificates: tuple[bytes, ...] = ()
    """In DER, the signer's first; empty for a key."""
    entries: tuple[LogEntry, ...] = ()
    envelope: Envelope | None = None


@frozen(kw_only=True)
class Conclusion:
    """What a signature that holds says."""

    identity: str | None = None
    annotations: Mapping[str, JSONValue] = FrozenDict()
    statement: Statement | None = None


def material_of(evidence: Evidence, expected: Expected) -> Material:
    """Read the outside; raises ``InvalidSignature``."""
    if evidence.form == "cosign":
        return _cosign(evidence, expected)
    return _bundle(evidence, expected)


def conclude(material: Material, evidence: Evidence, expected: Expected) -> Conclusion:
    """Read what was signed, now that the signature over it holds; raises ``InvalidSignature`` if it is not for this."""
    if evidence.form == "cosign":
        return _simple(material.message, expected)
    if material.envelope is not None:
        return _statement(material.envelope, expected)
    _require_plain_signature(expected)
    check_identity(None, expected)
    check_annotations({}, expected)
    return Conclusion()


def _cosign(evidence: Evidence, expected: Expected) -> Material:
    text = evidence.annotations.get(SIGNATURE)
    if text is None:
        raise malformed(f"the layer lacks the annotation {SIGNATURE}")
    log = evidence.annotations.get(_LOG)
    return Material(
        signature=base64(text, SIGNATURE),
        message=evidence.content,
        logged=hashlib.sha256(evidence.content).hexdigest(),
        certificates=_annotated(evidence.annotations, expected.limits.max_certificates),
        entries=() if log is None else (LogEntry.of_annotation(log),),
    )


def _annotated(annotations: Mapping[str, str], maximum: int) -> tuple[bytes, ...]:
    text = annotations.get(_CERTIFICATE)
    if text is None:
        return ()
    return certificate_blocks(f"{text}\n{annotations.get(_CHAIN, '')}".encode(), maximum)


def certificate_blocks(raw: bytes, maximum: int) -> tuple[bytes, ...]:
    """The certificates of a PEM text, in DER."""
    found = _pem.blocks(raw)
    if len(found) > maximum or any(label != "CERTIFICATE" for label, _ in found):
        raise malformed(f"expected at most {maximum} certificates and nothing else")
    return tuple(der for _, der in found)


def _bundle(evidence: Evidence, expected: Expected) -> Material:
    limits = expected.limits
    value = read_object(evidence.content, "bundle", limits.max_evidence)
    if (kind := member(value, "mediaType", str)) not in _BUNDLES:
        raise InvalidSignature(
            Reason.UNSUPPORTED, f"expected a sigstore bundle of version 0.3, got {quote(kind)}"
        )
    holder = member(value, "verificationMaterial", dict)
    certificates = _certificates(holder)
    entries = tuple(map(LogEntry.of_bundle, items(holder, "tlogEntries", limits.max_log_entries)))
    if ("dsseEnvelope" in value) == ("messageSignature" in value):
        raise malformed("bundle: expected either dsseEnvelope or messageSignature")
    if "dsseEnvelope" in value:
        envelope = Envelope.read(member(value, "dsseEnvelope", dict))
        return Material(
            signature=envelope.signature,
            message=pae(envelope.payload_type, envelope.payload),
            logged=hashlib.sha256(envelope.payload).hexdigest(),
            certificates=certificates,
            entries=entries,
            envelope=envelope,
        )
    return Material(
        signature=_message_signature(member(value, "messageSignature", dict), expected.raw),
        message=expected.raw,
        logged=hashlib.sha256(expected.raw).hexdigest(),
        certificates=certificates,
        entries=entries,
    )


def _certificates(holder: Mapping[str, object]) -> tuple[bytes, ...]:
    kinds = [name for name in ("publicKey", "certificate", "x509CertificateChain") if name in holder]
    if len(kinds) != 1:
        raise malformed("bundle: expected one of publicKey and certificate")
    if kinds == ["x509CertificateChain"]:
        raise InvalidSignature(
            Reason.UNSUPPORTED, "certificate chains are not part of bundles of version 0.3"
        )
    if kinds == ["publicKey"]:
        return ()  # the hint may say anything: the keys are those that are trusted
    return (base64(member(member(holder, "certificate", dict), "rawBytes", str), "rawBytes"),)


def _message_signature(value: Mapping[str, object], raw: bytes) -> bytes:
    """The signature; a digest that is given beside it must be the image's."""
    digest = members(value, "messageDigest")
    if digest:
        algorithm = _HASHES.get(member(digest, "algorithm", str))
        if algorithm is None:
            raise InvalidSignature(Reason.UNSUPPORTED, "messageDigest: expected a SHA-2 hash")
        if hashlib.new(algorithm, raw).digest() != base64(member(digest, "digest", str), "digest"):
            raise InvalidSignature(Reason.OTHER_IMAGE, "the bundle is for another image")
    return base64(member(value, "signature", str), "signature")


def _simple(message: bytes, expected: Expected) -> Conclusion:
    _require_plain_signature(expected)
    found = payload.parse(message)
    if found.digest != expected.descriptor.digest:
        raise InvalidSignature(Reason.OTHER_IMAGE, f"a genuine signature, for the image {found.digest}")
    check_identity(found.identity, expected)
    check_annotations(found.optional, expected)
    return Conclusion(identity=found.identity, annotations=found.optional)


def _require_plain_signature(expected: Expected) -> None:
    if expected.predicate_type != SIGN_PREDICATE:
        raise InvalidSignature(
            Reason.WRONG_TYPE, f"a signature, not a statement of type {quote(expected.predicate_type)}"
        )


def _statement(envelope: Envelope, expected: Expected) -> Conclusion:
    """Type, subject and predicate of one and the same statement."""
    found = Statement.read(envelope, expected.limits.max_subjects)
    if found.predicate_type != expected.predicate_type:
        raise InvalidSignature(
            Reason.WRONG_TYPE,
            f"expected a statement of type {quote(expected.predicate_type)}, got {quote(found.predicate_type)}",
        )
    if expected.descriptor.digest not in found.subjects:
        raise InvalidSignature(Reason.OTHER_IMAGE, "a genuine statement, about other subjects")
    check_identity(None, expected)
    annotations = _annotations(found)
    check_annotations(annotations, expected)
    return Conclusion(annotations=annotations, statement=found)


def _annotations(found: Statement) -> Mapping[str, JSONValue]:
    """Of a plain signature: the members of its predicate."""
    return found.predicate if found.predicate_type == SIGN_PREDICATE else FrozenDict()
