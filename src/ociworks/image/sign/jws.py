"""Notation's envelope: a JSON web signature with a certificate chain (Notary Project, signature-envelope-jws.md).

::

    {"payload": base64url, "protected": base64url, "signature": base64url,
     "header": {"x5c": [base64 of DER, the signer's first, the root last], …}}

Signed are ``protected`` and ``payload`` as they stand. The algorithm is that of the certified key, of which there is
one for each kind and size; what ``alg`` says must agree. A protected header that is not understood is refused, critical
or not.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ociworks.errors import InvalidKey, InvalidSignature, quote
from ociworks.image.sign._encoding import (
    base64,
    base64url,
    malformed,
    member,
    read_object,
    to_base64,
    to_base64url,
)
from ociworks.image.sign.certificates import Certificates
from ociworks.image.sign.keys import HashName, PublicKey, Signer
from ociworks.image.sign.limits import Limits
from ociworks.image.sign.reason import Reason
from ociworks.spec import _json

__all__ = ["PAYLOAD_TYPE", "SCHEME", "Envelope", "Headers", "certified_key", "write"]

PAYLOAD_TYPE: Final = "application/vnd.cncf.notary.payload.v1+json"
SCHEME: Final = "notary.x509"
_PREFIX: Final = "io.cncf.notary."
_SCHEME_KEY: Final = f"{_PREFIX}signingScheme"
_TIME_KEY: Final = f"{_PREFIX}signingTime"
_EXPIRY_KEY: Final = f"{_PREFIX}expiry"
_HEADERS: Final = frozenset({"alg", "cty", "crit", _SCHEME_KEY, _TIME_KEY, _EXPIRY_KEY})
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_CURVES: Final = {"secp256r1": ("ES256", 32), "secp384r1": ("ES384", 48), "secp521r1": ("ES512", 66)}
_MODULI: Final[dict[int, tuple[str, HashName]]] = {
    2048: ("PS256", "sha256"),
    3072: ("PS384", "sha384"),
    4096: ("PS512", "sha512"),
}


@frozen(kw_only=True)
class Headers:
    """The protected headers."""

    algorithm: str
    signed: datetime
    """When the signer says that it was signed; nobody confirms it."""
    expiry: datetime | None


@frozen(kw_only=True)
class Envelope:
    """An envelope that was read, not yet verified."""

    payload: bytes
    message: bytes
    """What the signature is over."""
    signature: bytes
    headers: Headers
    chain: Certificates

    @classmethod
    def read(cls, raw: bytes, limits: Limits) -> Envelope:
        """From bytes; raises ``InvalidSignature``."""
        value = read_object(raw, "envelope", limits.max_evidence)
        if value.keys() != {"payload", "protected", "header", "signature"}:
            raise malformed("envelope: expected the members header, payload, protected and signature")
        payload, protected = member(value, "payload", str), member(value, "protected", str)
        return cls(
            payload=base64url(payload, "payload"),
            message=f"{protected}.{payload}".encode("ascii"),
            signature=base64url(member(value, "signature", str), "signature"),
            headers=_headers(base64url(protected, "protected")),
            chain=_chain(member(member(value, "header", dict), "x5c", list), limits.max_certificates),
        )

    def verify(self) -> PublicKey:
        """The certified key, if it signed this; raises ``InvalidSignature``. The certificate is judged elsewhere."""
        key, name = certified_key(self.chain)
        if self.headers.algorithm != name:
            raise InvalidSignature(
                Reason.UNSUPPORTED, f"alg: expected {name} for this key, got {quote(self.headers.algorithm)}"
            )
        key.verify(_to_der(self.signature, name), self.message)
        return key


def certified_key(chain: Certificates) -> tuple[PublicKey, str]:
    """The key of the first certificate with its one algorithm, and the JWS name of that."""
    try:
        found = chain.items[0].public_key()
        if isinstance(found, ec.EllipticCurvePublicKey) and found.curve.name in _CURVES:
            return PublicKey(found), _CURVES[found.curve.name][0]
        if isinstance(found, rsa.RSAPublicKey) and found.key_size in _MODULI:
            name, digest = _MODULI[found.key_size]
            return PublicKey(found, hash=digest, padding="pss"), name
    except (InvalidKey, ValueError, UnsupportedAlgorithm) as error:
        raise InvalidSignature(Reason.CERTIFICATE, f"the certified key: {error}") from None
    raise InvalidSignature(
        Reason.UNSUPPORTED,
        "expected a certificate for RSA of 2048, 3072 or 4096 bits, or ECDSA on P-256, P-384 or P-521",
    )


def write(
    payload: bytes, signer: Signer, chain: Certificates, signed: datetime, expiry: datetime | None
) -> bytes:
    """An envelope. The signer's key must be the certified one, with its algorithm."""
    key, name = certified_key(chain)
    if signer.public != key:
        raise InvalidKey(f"expected the key of the first certificate, {key}, got {signer.public}")
    protected = to_base64url(_json.dumps(_protected(name, signed, expiry)))
    body = to_base64url(payload)
    message = f"{protected}.{body}".encode("ascii")
    signature = signer.sign(message)
    key.verify(signature, message)
    return _json.dumps(
        {
            "payload": body,
            "protected": protected,
            "header": {
                "x5c": [to_base64(each) for each in chain.to_der()],
                f"{_PREFIX}signingAgent": "ociworks",
            },
            "signature": to_base64url(_from_der(signature, name)),
        }
    )


def _protected(name: str, signed: datetime, expiry: datetime | None) -> dict[str, object]:
    critical = [_SCHEME_KEY] if expiry is None else [_SCHEME_KEY, _EXPIRY_KEY]
    headers: dict[str, object] = {
        "alg": name,
        "cty": PAYLOAD_TYPE,
        "crit": critical,
        _SCHEME_KEY: SCHEME,
        _TIME_KEY: _stamp(signed),
    }
    return headers if expiry is None else {**headers, _EXPIRY_KEY: _stamp(expiry)}


def _headers(raw: bytes) -> Headers:
    value = read_object(raw, "protected", len(raw))
    if unknown := sorted(value.keys() - _HEADERS):
        raise InvalidSignature(Reason.UNSUPPORTED, f"protected header {quote(unknown[0])} is not understood")
    if (scheme := member(value, _SCHEME_KEY, str)) != SCHEME:
        raise InvalidSignature(Reason.UNSUPPORTED, f"signing scheme: expected {SCHEME}, got {quote(scheme)}")
    if (kind := member(value, "cty", str)) != PAYLOAD_TYPE:
        raise InvalidSignature(Reason.WRONG_TYPE, f"cty: expected {PAYLOAD_TYPE}, got {quote(kind)}")
    expected = {_SCHEME_KEY} | ({_EXPIRY_KEY} if _EXPIRY_KEY in value else set())
    critical = member(value, "crit", list)
    if len(critical) != len(expected) or {str(name) for name in critical} != expected:
        raise InvalidSignature(
            Reason.UNSUPPORTED, f"crit: expected {', '.join(sorted(expected))} and no others"
        )
    return Headers(
        algorithm=member(value, "alg", str),
        signed=_time(member(value, _TIME_KEY, str), "signingTime"),
        expiry=_time(member(value, _EXPIRY_KEY, str), "expiry") if _EXPIRY_KEY in value else None,
    )


def _chain(items: list[object], maximum: int) -> Certificates:
    if not 0 < len(items) <= maximum:
        raise malformed(f"x5c: expected 1 to {maximum} certificates, got {len(items)}")
    try:
        return Certificates.from_der(*(base64(_text(item), "x5c") for item in items))
    except InvalidKey as error:
        raise malformed(f"x5c: {error}") from None


def _text(item: object) -> str:
    if not isinstance(item, str):
        raise malformed("x5c: expected strings")
    return item


def _to_der(signature: bytes, name: str) -> bytes:
    """JWS has the two numbers of ECDSA side by side, each in full length (RFC 7518, section 3.4)."""
    size = next((size for curve, size in _CURVES.values() if curve == name), 0)
    if not size:
        return signature
    if len(signature) != 2 * size:
        raise InvalidSignature(Reason.BAD_SIGNATURE, f"expected a signature of {2 * size} bytes for {name}")
    return encode_dss_signature(
        int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    )


def _from_der(signature: bytes, name: str) -> bytes:
    size = next((size for curve, size in _CURVES.values() if curve == name), 0)
    if not size:
        return signature
    return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(signature))


def _time(text: str, what: str) -> datetime:
    """A time of RFC 3339."""
    match = _TIME.fullmatch(text)
    try:
        if match is not None:
            zone = "+00:00" if match[3] in "Zz" else match[3]
            return datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise malformed(f"{what}: expected a time such as 2030-01-31T12:00:00Z, got {quote(text)}")


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
