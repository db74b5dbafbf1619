"""Keys: what a signature is checked with, and what makes one.

::

    key = PublicKey.from_pem("cosign.pub")
    key.fingerprint                      # Digest("sha256:…") of the SubjectPublicKeyInfo: the name of a key
    signer = PrivateKey.from_pem("cosign.key", password="…")
    signer.public == key

What signs need not be in this process: whatever has a ``public`` key and a ``sign`` method is a :class:`Signer`.
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Final, Literal, NoReturn, Protocol, Self, final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from ociworks.errors import InvalidKey, quote
from ociworks.image.auth.secret import Secret
from ociworks.image.sign import _algorithms, _pem
from ociworks.image.sign._algorithms import Algorithm, HashName, PaddingName
from ociworks.spec import Digest

__all__ = ["Algorithm", "HashName", "KeyKind", "PaddingName", "PrivateKey", "PublicKey", "Signer"]

KeyKind = Literal["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]
"""What can be generated."""

_COSIGN: Final = frozenset({"ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"})
_PRIVATE: Final = frozenset({"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"})


class Signer(Protocol):
    """What can sign: a :class:`PrivateKey`, or a key in a module or service that never leaves it."""

    @property
    def public(self) -> PublicKey:
        """The public key; its algorithm is the one that :meth:`sign` uses."""

    def sign(self, message: bytes, /) -> bytes:
        """The signature of ``message``, as the table of algorithms says; hashing is part of it."""


@final
class PublicKey:
    """A trusted public key and the one algorithm that its signatures must use. Immutable, hashable.

    Make one with :meth:`from_pem` or :meth:`from_der`. ``hash`` and ``padding`` say how its owner signs where that is
    not the default (the first hash of the table in ``_algorithms``; PKCS #1 1.5 for RSA).
    """

    __slots__ = ("_algorithm", "_der", "_key")

    def __init__(
        self, key: object, *, hash: HashName | None = None, padding: PaddingName | None = None
    ) -> None:
        """From a key of the library cryptography; raises :class:`~ociworks.errors.InvalidKey`."""
        self._key = _algorithms.accepted_public(key)
        self._algorithm = _algorithms.choose(self._key, hash, padding)
        self._der = self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(
        cls,
        source: str | os.PathLike[str] | bytes,
        *,
        hash: HashName | None = None,
        padding: PaddingName | None = None,
    ) -> Self:
        """From the path of a PEM file, or its content as bytes: one block ``PUBLIC KEY`` and nothing else.

        Raises :class:`~ociworks.errors.InvalidKey` and ``OSError``.
        """
        label, der = _pem.single(_pem.read_source(source, "public key"), "public key")
        if label != "PUBLIC KEY":
            hint = {
                "CERTIFICATE": ": use Certificates, or the public key of it",
                "RSA PUBLIC KEY": ": convert it with openssl rsa -RSAPublicKey_in -pubout",
            }.get(label, "")
            raise InvalidKey(f"expected a block PUBLIC KEY, got {quote(label)}{hint}")
        return cls.from_der(der, hash=hash, padding=padding)

    @classmethod
    def from_der(
        cls, der: bytes, *, hash: HashName | None = None, padding: PaddingName | None = None
    ) -> Self:
        """From a DER SubjectPublicKeyInfo; raises :class:`~ociworks.errors.InvalidKey`."""
        try:
            key = load_der_public_key(der)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InvalidKey("expected a public key (SubjectPublicKeyInfo) of a known kind") from None
        found = cls(key, hash=hash, padding=padding)
        if found.to_der() != der:
            raise InvalidKey("the public key is not encoded canonically, or something follows it")
        return found

    @property
    def algorithm(self) -> Algorithm:
        """How this key signs."""
        return self._algorithm

    @property
    def fingerprint(self) -> Digest:
        """The sha256 digest of the SubjectPublicKeyInfo in DER."""
        return Digest.of(self._der)

    @property
    def hint(self) -> str:
        """The fingerprint in base 64, as sigstore bundles name keys. A hint is never a reason to trust."""
        return b64encode(bytes.fromhex(self.fingerprint.encoded)).decode("ascii")

    def to_der(self) -> bytes:
        """The SubjectPublicKeyInfo."""
        return self._der

    def to_pem(self) -> bytes:
        """The SubjectPublicKeyInfo in PEM."""
        return _pem.armour("PUBLIC KEY", self._der)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise :class:`~ociworks.errors.InvalidSignature` unless this is the key's signature of the message."""
        _algorithms.verify(self._key, self._algorithm, signature, message)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PublicKey):
            return NotImplemented
        return (self._der, self._algorithm) == (other._der, other._algorithm)

    def __hash__(self) -> int:
        return hash((self._der, self._algorithm))

    def __repr__(self) -> str:
        return f"PublicKey({self})"

    def __str__(self) -> str:
        return f"{self._algorithm} {self.fingerprint}"


@final
class PrivateKey:
    """A key that signs, in this process. It shows only its public half, and is not pickled."""

    __slots__ = ("_key", "public")

    def __init__(
        self, key: object, *, hash: HashName | None = None, padding: PaddingName | None = None
    ) -> None:
        """From a key of the library cryptography; raises :class:`~ociworks.errors.InvalidKey`."""
        self._key = _algorithms.accepted_private(key)
        self.public = PublicKey(self._key.public_key(), hash=hash, padding=padding)

    @classmethod
    def generate(cls, kind: KeyKind = "ecdsa-p256") -> Self:
        """A new key from the system's source of randomness."""
        curves: dict[str, type[ec.EllipticCurve]] = {
            "ecdsa-p256": ec.SECP256R1,
            "ecdsa-p384": ec.SECP384R1,
            "ecdsa-p521": ec.SECP521R1,
        }
        sizes = {"rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}
        if kind in curves:
            return cls(ec.generate_private_key(curves[kind]()))
        if kind in sizes:
            return cls(rsa.generate_private_key(65537, sizes[kind]))
        if kind == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        raise InvalidKey(f"expected one of {', '.join([*curves, *sizes, 'ed25519'])}, got {quote(kind)}")

    @classmethod
    def from_pem(
        cls,
        source: str | os.PathLike[str] | bytes,
        *,
        password: Secret | str | bytes | None = None,
        hash: HashName | None = None,
        padding: PaddingName | None = None,
    ) -> Self:
        """From the path of a PEM file, or its content as bytes: PKCS #8, SEC 1, PKCS #1, or cosign's.

        cosign's own encrypted format needs the extra ``cosign``; :class:`~ociworks.errors.MissingDependency` says so.
        Raises :class:`~ociworks.errors.InvalidKey` (also for a wrong password) and ``OSError``.
        """
        label, content = _pem.single(_pem.read_source(source, "private key"), "private key")
        secret = _password(password)
        if label in _COSIGN:
            from ociworks.image.sign._cosignkey import decrypt

            content, secret = decrypt(content, secret or b""), None
        elif label not in _PRIVATE:
            raise InvalidKey(f"expected a private key, got a block {quote(label)}")
        return cls(_load_private(content, secret), hash=hash, padding=padding)

    @classmethod
    def from_der(
        cls,
        der: bytes,
        *,
        password: Secret | str | bytes | None = None,
        hash: HashName | None = None,
        padding: PaddingName | None = None,
    ) -> Self:
        """From DER: PKCS #8, SEC 1 or PKCS #1; raises :class:`~ociworks.errors.InvalidKey`."""
        return cls(_load_private(der, _password(password)), hash=hash, padding=padding)

    def sign(self, message: bytes, /) -> bytes:
        """The signature of ``message``."""
        return _algorithms.sign(self._key, self.public.algorithm, message)

    def to_pem(self, password: Secret | str | bytes | None = None) -> bytes:
        """PKCS #8 in PEM, encrypted when a password is given. Without one, whoever reads it can sign."""
        secret = _password(password)
        encryption = BestAvailableEncryption(secret) if secret else NoEncryption()
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def to_cosign_pem(self, password: Secret | str | bytes) -> bytes:
        """Cosign's own encrypted format, which cosign, skopeo and podman read. Needs the extra ``cosign``."""
        from ociworks.image.sign._cosignkey import encrypt

        der = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return _pem.armour("ENCRYPTED SIGSTORE PRIVATE KEY", encrypt(der, _password(password) or b""))

    def __repr__(self) -> str:
        return f"PrivateKey(…, public={self.public!r})"

    def __copy__(self) -> PrivateKey:
        return self

    def __deepcopy__(self, memo: object) -> PrivateKey:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PrivateKey is not pickled; pass it on by other means")


def _password(given: Secret | str | bytes | None) -> bytes | None:
    if isinstance(given, Secret):
        given = given.reveal()
    return given.encode() if isinstance(given, str) else given


def _load_private(der: bytes, password: bytes | None) -> object:
    """The library says nothing about why that may be repeated: its messages can hold parts of the input."""
    try:
        return load_der_private_key(der, password)
    except TypeError:
        hint = "give its password" if password is None else "it is not encrypted: leave the password out"
        raise InvalidKey(f"the private key cannot be opened: {hint}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey(
            "the private key cannot be opened: wrong password, or no key of a known kind"
        ) from None
