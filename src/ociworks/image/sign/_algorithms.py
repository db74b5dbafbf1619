"""Signature algorithms: chosen by the trusted key and its owner, never by what arrives.

==============  ==========================================  =====================
key             hash (the first unless configured)          as bytes
==============  ==========================================  =====================
ECDSA P-256     sha256                                      DER, canonical
ECDSA P-384     sha384, sha256                              DER, canonical
ECDSA P-521     sha512, sha256                              DER, canonical
RSA ≥ 2048      sha256, sha384, sha512; PKCS #1 1.5 or PSS  as long as the modulus
Ed25519         its own (not the pre-hashed variant)        64 bytes
==============  ==========================================  =====================

The salt of PSS is as long as the hash. SHA-1, other curves, DSA and short RSA keys are refused when a key is read.
This is the one place that calls the library, and none of its exceptions gets out.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import frozen
from cryptography import exceptions
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ociworks.errors import InvalidKey, InvalidSignature, quote
from ociworks.image.sign.reason import Reason

__all__ = [
    "Algorithm",
    "AnyPrivateKey",
    "AnyPublicKey",
    "HashName",
    "PaddingName",
    "accepted_private",
    "accepted_public",
    "choose",
    "sign",
    "verify",
]

AnyPublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
AnyPrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

HashName = Literal["sha256", "sha384", "sha512"]
"""A hash for signatures."""
PaddingName = Literal["pkcs1v15", "pss"]
"""How an RSA signature is padded."""

_HASHES: Final[dict[HashName, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_CURVES: Final[dict[str, tuple[str, tuple[HashName, ...]]]] = {
    "secp256r1": ("ecdsa-p256", ("sha256",)),
    "secp384r1": ("ecdsa-p384", ("sha384", "sha256")),
    "secp521r1": ("ecdsa-p521", ("sha512", "sha256")),
}
_RSA_BITS: Final = range(2048, 16384 + 1)
_RSA_HASHES: Final[tuple[HashName, ...]] = ("sha256", "sha384", "sha512")


@frozen
class Algorithm:
    """How a key signs: ``ecdsa-p256``, ``-p384``, ``-p521``, ``rsa`` or ``ed25519``, with hash and padding."""

    family: str
    hash: HashName | None
    """None for Ed25519, which has its own."""
    padding: PaddingName | None = None

    def __str__(self) -> str:
        return "-".join(part for part in (self.family, self.padding, self.hash) if part)


def accepted_public(key: object) -> AnyPublicKey:
    """The key, if its kind and size are accepted; raises ``InvalidKey``."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise InvalidKey(f"expected a key on P-256, P-384 or P-521, got curve {quote(key.curve.name)}")
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS or key.public_numbers().e < 65537:
            raise InvalidKey(
                f"expected an RSA key of {_RSA_BITS[0]} to {_RSA_BITS[-1]} bits and a public exponent of 65537 or"
                f" more, got {key.key_size} bits"
            )
        return key
    raise InvalidKey(f"expected an ECDSA, RSA or Ed25519 key, got {type(key).__name__}")


def accepted_private(key: object) -> AnyPrivateKey:
    """The key, if its kind and size are accepted; raises ``InvalidKey``."""
    if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        accepted_public(key.public_key())
        return key
    raise InvalidKey(f"expected an ECDSA, RSA or Ed25519 key, got {type(key).__name__}")


def choose(key: AnyPublicKey, hash: HashName | None, padding: PaddingName | None) -> Algorithm:
    """The algorithm of a key, as configured; raises ``InvalidKey`` for what does not go together."""
    if isinstance(key, rsa.RSAPublicKey):
        if padding not in {None, "pkcs1v15", "pss"}:
            raise InvalidKey(f"padding: expected pkcs1v15 or pss, got {quote(str(padding))}")
        return Algorithm("rsa", _one_of(_RSA_HASHES, hash, "rsa"), padding or "pkcs1v15")
    if padding is not None:
        raise InvalidKey(f"only RSA signatures are padded; leave padding={padding!r} out")
    if isinstance(key, ec.EllipticCurvePublicKey):
        family, allowed = _CURVES[key.curve.name]
        return Algorithm(family, _one_of(allowed, hash, family))
    if hash is not None:
        raise InvalidKey(f"Ed25519 has its own hash; leave hash={hash!r} out")
    return Algorithm("ed25519", None)


def _one_of(allowed: tuple[HashName, ...], hash: HashName | None, family: str) -> HashName:
    if hash is not None and hash not in allowed:
        raise InvalidKey(f"{family}: expected a hash among {', '.join(allowed)}, got {quote(hash)}")
    return hash or allowed[0]


def verify(key: AnyPublicKey, algorithm: Algorithm, signature: bytes, message: bytes) -> None:
    """Raise ``InvalidSignature`` unless this is the key's signature of the message."""
    try:
        _verify(key, algorithm, signature, message)
    except (
        exceptions.InvalidSignature,
        exceptions.UnsupportedAlgorithm,
        ValueError,
        TypeError,
        OverflowError,
    ):
        raise InvalidSignature(
            Reason.BAD_SIGNATURE, f"the signature is not one by this key with {algorithm}"
        ) from None


def _verify(key: AnyPublicKey, algorithm: Algorithm, signature: bytes, message: bytes) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
        return
    digest = _hash(algorithm)
    if isinstance(key, ec.EllipticCurvePublicKey):
        r, s = decode_dss_signature(signature)
        if r <= 0 or s <= 0 or encode_dss_signature(r, s) != signature:
            raise exceptions.InvalidSignature
        key.verify(signature, message, ec.ECDSA(digest))
        return
    if len(signature) != (key.key_size + 7) // 8:
        raise exceptions.InvalidSignature
    key.verify(signature, message, _padding(algorithm), digest)


def sign(key: AnyPrivateKey, algorithm: Algorithm, message: bytes) -> bytes:
    """The key's signature of the message."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(_hash(algorithm)))
    return key.sign(message, _padding(algorithm), _hash(algorithm))


def _hash(algorithm: Algorithm) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    return _HASHES[algorithm.hash or "sha256"]()


def _padding(algorithm: Algorithm) -> padding.PKCS1v15 | padding.PSS:
    if algorithm.padding == "pss":
        return padding.PSS(padding.MGF1(_hash(algorithm)), padding.PSS.DIGEST_LENGTH)
    return padding.PKCS1v15()
