"""Who the users are: one pair, or a file of htpasswd with bcrypt hashes (``htpasswd -B``)."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable, Mapping
from typing import Final

from ociworks.errors import AuthFileError, MissingDependency, quote

__all__ = ["from_htpasswd", "one_user"]

_MAX_FILE: Final = 1024 * 1024
_MAX_SECRET: Final = 72
_ROUNDS: Final = 10
_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")


def one_user(name: str, secret: str) -> Callable[[str, str], bool]:
    """A check for one user."""

    def check(user: str, password: str) -> bool:
        right = hmac.compare_digest(password.encode(), secret.encode())
        return hmac.compare_digest(user.encode(), name.encode()) and right

    return check


def from_htpasswd(path: str | os.PathLike[str]) -> Callable[[str, str], bool]:
    """A check by a file of ``user:hash`` lines, read once.

    Raises :class:`~ociworks.errors.AuthFileError` for a line that is not one with a bcrypt hash, ``OSError``, and
    :class:`~ociworks.errors.MissingDependency` without the library bcrypt (the extra ``registry``).
    """
    hashes = _read(path)
    try:
        import bcrypt
    except ImportError:
        raise MissingDependency(
            "reading htpasswd files needs bcrypt: pip install ociworks[registry]"
        ) from None

    nobody = bcrypt.hashpw(b"", bcrypt.gensalt(_ROUNDS))

    def check(user: str, password: str) -> bool:
        found = hashes.get(user)
        # An unknown user takes as long as a known one. What bcrypt would not look at is refused.
        secret = password.encode()
        right = bcrypt.checkpw(secret if len(secret) <= _MAX_SECRET else b"", found or nobody)
        return right and found is not None and len(secret) <= _MAX_SECRET

    return check


def _read(path: str | os.PathLike[str]) -> Mapping[str, bytes]:
    with open(path, "rb") as file:
        content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise AuthFileError(f"{quote(os.fspath(path))}: expected at most {_MAX_FILE} bytes")
    hashes: dict[str, bytes] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, text = line.strip().partition(":")
        if not colon or not user or _BCRYPT.fullmatch(text) is None:
            raise AuthFileError(
                f"{quote(os.fspath(path))}: line {number}: expected user:hash with a bcrypt hash (htpasswd -B)"
            )
        hashes[user] = text.encode()
    return hashes
