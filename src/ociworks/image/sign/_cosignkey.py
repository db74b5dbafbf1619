"""cosign's encrypted private keys: PKCS #8 in a NaCl secret box, whose key scrypt makes from the password.

The cipher (XSalsa20-Poly1305) is not in the library cryptography, so PyNaCl is needed: the extra ``cosign``.
The work that scrypt does is bounded here; the file would otherwise choose it.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ociworks.errors import InvalidKey, MissingDependency, SpecError
from ociworks.spec import _json

if TYPE_CHECKING:
    from nacl.secret import SecretBox

__all__ = ["decrypt", "encrypt"]

_COST: Final = 65536
_COSTS: Final = frozenset({2**15, 2**16, 2**17})
_NONCE: Final = 24
_SALT: Final = 32


def encrypt(plain: bytes, password: bytes) -> bytes:
    """The JSON document that is armoured."""
    box, salt = _box(), os.urandom(_SALT)
    sealed = box(_derive(password, salt, _COST)).encrypt(plain)
    return _json.dumps(
        {
            "kdf": {"name": "scrypt", "params": {"N": _COST, "r": 8, "p": 1}, "salt": _text(salt)},
            "cipher": {"name": "nacl/secretbox", "nonce": _text(sealed[:_NONCE])},
            "ciphertext": _text(sealed[_NONCE:]),
        }
    )


def decrypt(document: bytes, password: bytes) -> bytes:
    """The PKCS #8 key; raises ``InvalidKey`` and ``MissingDependency``."""
    box = _box()
    try:
        salt, cost, nonce, sealed = _members(document)
    except (SpecError, KeyError, TypeError, binascii.Error):
        raise InvalidKey("expected a private key as cosign encrypts it (scrypt and nacl/secretbox)") from None
    from nacl.exceptions import CryptoError

    try:
        return box(_derive(password, salt, cost)).decrypt(sealed, nonce)
    except (CryptoError, ValueError):
        raise InvalidKey("the private key cannot be opened: wrong password, or it is damaged") from None


def _members(document: bytes) -> tuple[bytes, int, bytes, bytes]:
    value = _json.loads(document, max_size=64 * 1024)
    kdf, cipher = _object(_object(value)["kdf"]), _object(_object(value)["cipher"])
    costs = _object(kdf["params"])
    cost = costs["N"]
    if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox"):
        raise TypeError
    if not isinstance(cost, int) or cost not in _COSTS or (costs["r"], costs["p"]) != (8, 1):
        raise TypeError
    return _bytes(kdf["salt"]), cost, _bytes(cipher["nonce"]), _bytes(_object(value)["ciphertext"])


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    return b64decode(value, validate=True)


def _text(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _derive(password: bytes, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(password)


def _box() -> Callable[[bytes], SecretBox]:
    try:
        from nacl.secret import SecretBox
    except ImportError:
        raise MissingDependency(
            "a private key in cosign's encrypted format needs PyNaCl: pip install 'ociworks[cosign]'"
            " (a key in PKCS #8, as openssl writes it, needs nothing)"
        ) from None
    return SecretBox
