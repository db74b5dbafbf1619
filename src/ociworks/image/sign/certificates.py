"""Certificates: who may vouch for a key, for what, and when.

A chain is what its holder claims: the signer's certificate first, each issued by the next. It holds when

- it ends at an *anchor*, a certificate that the caller trusts, compared byte for byte;
- each certificate is signed by the next, with SHA-2, and valid at the time in question;
- every issuer is an authority (basic constraints, critical; path length; key usage ``keyCertSign``);
- the first is none, may make signatures (key usage, critical) and only for code (extended key usage);
- no certificate has a critical extension that is not understood here.

Revocation is not checked: nothing here asks the network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Self, TypeVar

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature as BackendInvalid
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from ociworks.errors import InvalidKey, InvalidSignature, SignatureError, quote
from ociworks.image.sign import _pem
from ociworks.image.sign.keys import PublicKey
from ociworks.image.sign.reason import Reason

__all__ = ["Certificates", "Purpose", "check_chain", "path_to"]

K = TypeVar("K", bound=x509.ExtensionType)

_KNOWN: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_FOREIGN_USES: Final = frozenset(
    {
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        ExtendedKeyUsageOID.TIME_STAMPING,
    }
)
_MAX_CHAIN: Final = 10


@frozen(kw_only=True)
class Purpose:
    """What the first certificate of a chain must be for."""

    code_signing_required: bool
    """Whether extended key usage must be there and say code signing; otherwise it may be missing."""


@frozen
class Certificates:
    """Certificates in order: anchors that are trusted, or the chain of a signer."""

    items: tuple[Certificate, ...] = field(repr=lambda items: f"<{len(items)}>")

    @classmethod
    def from_pem(cls, source: str | os.PathLike[str] | bytes) -> Self:
        """From the path of a PEM file, or its content as bytes: one or more blocks ``CERTIFICATE`` and no other.

        Raises :class:`~ociworks.errors.InvalidKey` and ``OSError``.
        """
        found = _pem.blocks(_pem.read_source(source, "certificate"))
        if not found or any(label != "CERTIFICATE" for label, _ in found):
            raise InvalidKey("expected PEM with certificates and nothing else")
        return cls.from_der(*(der for _, der in found))

    @classmethod
    def from_der(cls, *ders: bytes) -> Self:
        """From DER; raises :class:`~ociworks.errors.InvalidKey`."""
        return cls(tuple(_load(der) for der in ders))

    def to_der(self) -> tuple[bytes, ...]:
        """Each in DER."""
        return tuple(each.public_bytes(Encoding.DER) for each in self.items)

    def to_pem(self) -> bytes:
        """All of them, in order."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.items)

    def public_key(self) -> PublicKey:
        """The key of the first, with the algorithm that its kind has by default."""
        return PublicKey(self.items[0].public_key())


def _load(der: bytes) -> Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidKey("expected an X.509 certificate") from None


def path_to(
    anchors: Sequence[Certificate], chain: Sequence[Certificate], others: Sequence[Certificate] = ()
) -> tuple[Certificate, ...]:
    """A path from the first of ``chain`` to an anchor, through ``others`` or the rest of the chain.

    Raises ``InvalidSignature`` when there is none; whether the path *holds* is for :func:`check_chain` to say.
    """
    path = [chain[0]]
    waiting = [*chain[1:], *others]
    while path[-1] not in anchors:
        candidates = [each for each in [*anchors, *waiting] if each not in path]
        issuer = next((each for each in candidates if _issued(path[-1], each)), None)
        if issuer is None or len(path) == _MAX_CHAIN:
            raise _refused("the certificate does not lead to a trusted authority")
        path.append(issuer)
    return tuple(path)


def check_chain(
    chain: Sequence[Certificate], anchors: Sequence[Certificate], at: datetime, purpose: Purpose
) -> None:
    """Raise ``InvalidSignature`` unless the chain holds, as the module says, at the time ``at``."""
    if not 0 < len(chain) <= _MAX_CHAIN:
        raise _refused(f"expected a chain of at most {_MAX_CHAIN} certificates, got {len(chain)}")
    if len({each.public_bytes(Encoding.DER) for each in chain}) != len(chain):
        raise _refused("the chain has a certificate twice")
    if chain[-1] not in anchors:
        raise _refused("the chain of certificates does not end at a trusted authority")
    try:
        for each in chain:
            _check_one(each, at)
        _check_leaf(chain[0], purpose)
        for below, issuer in enumerate(chain[1:]):
            _check_authority(issuer, below)
            if not _issued(chain[below], issuer):
                raise _refused(f"{_name(chain[below])} was not issued by {_name(issuer)}")
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension):
        raise _refused("a certificate has extensions that cannot be read") from None


def _check_one(certificate: Certificate, at: datetime) -> None:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise _refused(
            f"{_name(certificate)} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to"
            f" {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}, and the time to judge is {at:%Y-%m-%d %H:%M}"
        )
    if not isinstance(certificate.signature_hash_algorithm, SHA256 | SHA384 | SHA512 | None):
        raise _refused(f"{_name(certificate)} is signed with an outdated hash")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN:
            raise _refused(
                f"{_name(certificate)} has a critical extension that is not understood: {extension.oid.dotted_string}"
            )
    try:
        PublicKey(certificate.public_key())
    except SignatureError as error:
        raise _refused(f"{_name(certificate)}: {error}") from None


def _check_leaf(leaf: Certificate, purpose: Purpose) -> None:
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        raise _refused(f"{_name(leaf)} is an authority, not a signer")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.critical or not usage.value.digital_signature:
        raise _refused(f"{_name(leaf)} is not for signatures (key usage)")
    if usage.value.key_cert_sign or usage.value.crl_sign or usage.value.key_encipherment:
        raise _refused(f"{_name(leaf)} is for more than signatures (key usage)")
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    if extended is None:
        if purpose.code_signing_required:
            raise _refused(f"{_name(leaf)} is not for signing code (extended key usage)")
        return
    uses = set(extended.value)
    if ExtendedKeyUsageOID.CODE_SIGNING not in uses or uses & _FOREIGN_USES:
        raise _refused(f"{_name(leaf)} is not for signing code, or not for that alone (extended key usage)")


def _check_authority(issuer: Certificate, below: int) -> None:
    """``below``: the number of authorities between this one and the signer."""
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.critical or not constraints.value.ca:
        raise _refused(f"{_name(issuer)} is no authority (basic constraints)")
    if constraints.value.path_length is not None and constraints.value.path_length < below:
        raise _refused(f"{_name(issuer)} may not be followed by {below} authorities (path length)")
    usage = _extension(issuer, x509.KeyUsage)
    if usage is None or not usage.critical or not usage.value.key_cert_sign:
        raise _refused(f"{_name(issuer)} may not sign certificates (key usage)")


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, BackendInvalid, UnsupportedAlgorithm):
        return False
    return True


def _extension(certificate: Certificate, kind: type[K]) -> x509.Extension[K] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _name(certificate: Certificate) -> str:
    return f"certificate {quote(certificate.subject.rfc4514_string())}"


def _refused(message: str) -> InvalidSignature:
    return InvalidSignature(Reason.CERTIFICATE, message)
