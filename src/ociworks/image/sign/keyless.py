"""Trust in people whose keys live for minutes: the "keyless" signatures of sigstore, verified offline.

A certificate authority (Fulcio) certifies a fresh key for somebody whom an identity provider vouched for; a
transparency log notes the signature. So the questions are: does the certificate lead to the trusted authority, was it
valid when the log took the signature in, and is it for *this* person as told by *this* identity provider.

Names are literal; a pattern must match the whole of a name. Not verified: that the certificate itself was published
(signed certificate timestamps), inclusion proofs of the log, and timestamps of authorities (RFC 3161).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ociworks.errors import InvalidKey, InvalidSignature, NotSupported, quote
from ociworks.image.sign import _pem
from ociworks.image.sign._material import Material, conclude, material_of
from ociworks.image.sign.certificates import Certificates, Purpose, check_chain, path_to
from ociworks.image.sign.evidence import Evidence
from ociworks.image.sign.keys import PublicKey
from ociworks.image.sign.reason import Form, Reason
from ociworks.image.sign.results import Signed
from ociworks.image.sign.transparency import Logged, TransparencyLog
from ociworks.image.sign.trust import Expected

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["Keyless", "Pattern"]

_FORMS: Final[frozenset[Form]] = frozenset({"cosign", "bundle"})
_PURPOSE: Final = Purpose(code_signing_required=True)
_UNCHECKED: Final = ("signed certificate timestamp", "revocation")
_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_RAW: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_UTF8: Final = 0x0C


@frozen
class Pattern:
    """A regular expression that must match the whole of a name (``re.fullmatch``, ASCII classes)."""

    text: str

    def __attrs_post_init__(self) -> None:
        try:
            re.compile(self.text, re.ASCII)
        except re.error as error:
            raise NotSupported(f"expected a regular expression, got {quote(self.text)}: {error}") from None

    def accepts(self, name: str) -> bool:
        """Whether all of ``name`` matches."""
        return re.fullmatch(self.text, name, re.ASCII) is not None


@frozen(kw_only=True)
class Keyless:
    """Somebody, by the name that an identity provider gives: both are required."""

    authorities: Certificates
    """The certificates of the authority that are trusted."""
    log: TransparencyLog
    issuer: str | Pattern
    """The identity provider, such as ``https://accounts.example``."""
    subject: str | Pattern
    """The person or workflow: an e-mail address or URI, as the certificate's alternative names have it."""
    intermediates: Certificates = field(factory=lambda: Certificates(()))
    """Certificates that help to find the way to an authority; they are not trusted."""

    @property
    def name(self) -> str:
        """Subject and issuer."""
        return f"{_shown(self.subject)} by {_shown(self.issuer)}"

    @property
    def forms(self) -> frozenset[Form]:
        """The tag of cosign, and bundles."""
        return _FORMS

    def check(self, evidence: Evidence, expected: Expected, /) -> Signed:
        """See :class:`~ociworks.image.sign.trust.Trust`."""
        material = material_of(evidence, expected)
        chain = _chain(material)
        key = _certified(chain[0])
        key.verify(material.signature, material.message)
        self._check_certificate(chain, material)
        subject = self._check_person(chain[0])
        found = conclude(material, evidence, expected)
        return Signed(
            form=evidence.form,
            where=evidence.where,
            signer=subject,
            key=key,
            identity=found.identity,
            annotations=found.annotations,
            statement=found.statement,
            unchecked=_UNCHECKED,
        )

    def _check_certificate(self, chain: tuple[Certificate, ...], material: Material) -> None:
        """Bound to the log first: its time is the one at which the certificate must have been valid."""
        verifier = _pem.armour("CERTIFICATE", material.certificates[0])
        logged = Logged(signature=material.signature, digest=material.logged, verifier=verifier)
        at = self.log.confirm(material.entries, logged)
        path = path_to(self.authorities.items, chain, self.intermediates.items)
        check_chain(path, self.authorities.items, at, _PURPOSE)

    def _check_person(self, leaf: Certificate) -> str:
        issuer = _issuer(leaf)
        if issuer is None or not _accepts(self.issuer, issuer):
            raise InvalidSignature(
                Reason.OTHER_IDENTITY,
                f"expected the identity provider {_shown(self.issuer)}, got {quote(issuer or 'none')}",
            )
        subjects = _subjects(leaf)
        if len(subjects) != 1 or not _accepts(self.subject, subjects[0]):
            raise InvalidSignature(
                Reason.OTHER_IDENTITY,
                f"expected {_shown(self.subject)}, got {quote(', '.join(subjects) or 'nobody')}",
            )
        return f"{subjects[0]} by {issuer}"


def _shown(wanted: str | Pattern) -> str:
    return quote(wanted.text if isinstance(wanted, Pattern) else wanted)


def _accepts(wanted: str | Pattern, name: str) -> bool:
    return wanted.accepts(name) if isinstance(wanted, Pattern) else wanted == name


def _chain(material: Material) -> tuple[Certificate, ...]:
    if not material.certificates:
        raise InvalidSignature(Reason.BAD_SIGNATURE, "made with a key, not with a certificate")
    try:
        return Certificates.from_der(*material.certificates).items
    except InvalidKey as error:
        raise InvalidSignature(Reason.MALFORMED, str(error)) from None


def _certified(leaf: Certificate) -> PublicKey:
    try:
        return PublicKey(leaf.public_key())
    except (InvalidKey, ValueError, UnsupportedAlgorithm) as error:
        raise InvalidSignature(Reason.CERTIFICATE, f"the certified key: {error}") from None


def _subjects(leaf: Certificate) -> list[str]:
    """Addresses and URIs among the alternative names. The common name is nobody's identity."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [
            *names.get_values_for_type(x509.RFC822Name),
            *names.get_values_for_type(x509.UniformResourceIdentifier),
        ]
    except x509.ExtensionNotFound:
        return []
    except (ValueError, TypeError):
        raise InvalidSignature(Reason.CERTIFICATE, "the certificate's names cannot be read") from None


def _issuer(leaf: Certificate) -> str | None:
    """The identity provider, from the extension that is DER, else from its predecessor, which is bare text."""
    found = {}
    for extension in leaf.extensions:
        if extension.oid in {_ISSUER, _ISSUER_RAW} and isinstance(
            extension.value, x509.UnrecognizedExtension
        ):
            found[extension.oid] = extension.value.value
    if _ISSUER in found:
        raw = found[_ISSUER]
        if len(raw) < 2 or raw[0] != _UTF8 or raw[1] != len(raw) - 2:
            return None
        return _text(raw[2:])
    return _text(found[_ISSUER_RAW]) if _ISSUER_RAW in found else None


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
