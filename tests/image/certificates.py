"""Certificate authorities for tests: right by default, wrong where asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ociworks.image import sign

__all__ = ["NOW", "SIGNING", "Holder", "Wishes", "authority", "issue", "usage"]

NOW = datetime.now(UTC).replace(microsecond=0)
SIGNING = (ExtendedKeyUsageOID.CODE_SIGNING,)
Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@frozen
class Holder:
    """A key, its certificate, and the certificates above it."""

    key: Key
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> sign.Certificates:
        return sign.Certificates((self.certificate, *self.above))


def usage(**names: bool) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign"
        " encipher_only decipher_only"
    ).split()
    return x509.KeyUsage(**{name: names.get(name, False) for name in every})


@frozen(kw_only=True)
class Wishes:
    """How a certificate is to be."""

    subject: str = "C=US,O=acme,CN=builder"
    name: x509.Name | None = None
    """Instead of ``subject``, for what cannot be written there."""
    ca: bool = False
    path_length: int | None = None
    before: timedelta = timedelta(days=1)
    after: timedelta = timedelta(days=30)
    uses: Sequence[x509.ObjectIdentifier] = SIGNING
    usage: x509.KeyUsage | None = None
    extra: Sequence[tuple[x509.ExtensionType, bool]] = ()
    constraints: bool = True
    key: Key | None = field(default=None)
    hash: hashes.HashAlgorithm = field(factory=hashes.SHA256)


def issue(wishes: Wishes, issuer: Holder | None = None) -> Holder:
    """A certificate by ``issuer``, or by itself."""
    key = wishes.key or ec.generate_private_key(ec.SECP256R1())
    subject = wishes.name or x509.Name.from_rfc4514_string(wishes.subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - wishes.before)
        .not_valid_after(NOW + wishes.after)
    )
    if wishes.constraints:
        builder = builder.add_extension(x509.BasicConstraints(wishes.ca, wishes.path_length), critical=True)
    own = usage(key_cert_sign=True, crl_sign=True) if wishes.ca else usage(digital_signature=True)
    builder = builder.add_extension(wishes.usage or own, critical=True)
    if wishes.uses and not wishes.ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wishes.uses), critical=False)
    for extension, critical in wishes.extra:
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(issuer.key if issuer else key, wishes.hash)  # type: ignore[arg-type]
    return Holder(key, certificate, (issuer.certificate, *issuer.above) if issuer else ())


def authority(issuer: Holder | None = None, **wishes: object) -> Holder:
    """A certificate authority."""
    chosen = {
        "subject": "C=US,O=acme,CN=root" if issuer is None else "C=US,O=acme,CN=middle",
        "ca": True,
        **wishes,
    }
    return issue(Wishes(**chosen), issuer)  # type: ignore[arg-type]
