"""Text that carries bytes, and JSON that arrives: read strictly, and refused as malformed evidence otherwise."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TypeVar

from ociworks.errors import InvalidSignature, SpecError, quote
from ociworks.image.sign.reason import Reason
from ociworks.spec import _json
from ociworks.spec.numbers import parse_uint

__all__ = [
    "base64",
    "base64url",
    "items",
    "malformed",
    "member",
    "members",
    "number",
    "read_object",
    "to_base64",
    "to_base64url",
]

T = TypeVar("T", str, int, bool, dict[str, object], list[object])

_MAX_NUMBER = 2**63 - 1


def malformed(message: str) -> InvalidSignature:
    """The error for evidence that cannot be read."""
    return InvalidSignature(Reason.MALFORMED, message)


def base64(text: str, what: str) -> bytes:
    """Canonical base 64 (RFC 4648, section 4): padded, without line ends, unused bits zero."""
    try:
        found = b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise malformed(f"{what}: expected base 64") from None
    if b64encode(found).decode("ascii") != text:
        raise malformed(f"{what}: expected canonical base 64")
    return found


def base64url(text: str, what: str) -> bytes:
    """Canonical base 64 for URLs, without padding (RFC 7515, section 2)."""
    if set(text) & set("+/="):
        raise malformed(f"{what}: expected base64url without padding")
    return base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), what)


def to_base64(content: bytes) -> str:
    """RFC 4648, section 4."""
    return b64encode(content).decode("ascii")


def to_base64url(content: bytes) -> str:
    """RFC 7515, section 2."""
    return to_base64(content).rstrip("=").replace("+", "-").replace("/", "_")


def read_object(raw: bytes, what: str, max_size: int) -> dict[str, object]:
    """One strict JSON object."""
    try:
        value = _json.loads(raw, max_size=max_size)
    except SpecError as error:
        raise malformed(f"{what}: {error}") from None
    if not isinstance(value, dict):
        raise malformed(f"{what}: expected a JSON object")
    return value


def member(holder: Mapping[str, object], name: str, kind: type[T]) -> T:
    """A member that must be there, of this type."""
    value = holder.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise malformed(f"{quote(name)}: expected {_NAMES[kind]}")
    return value


def members(holder: Mapping[str, object], name: str) -> dict[str, object]:
    """A member that is an object; empty when it is missing."""
    return member(holder, name, dict) if holder.get(name) is not None else {}


def items(holder: Mapping[str, object], name: str, maximum: int) -> list[dict[str, object]]:
    """A member that is a list of objects, ``maximum`` at most; empty when it is missing."""
    found = member(holder, name, list) if holder.get(name) is not None else []
    if len(found) > maximum:
        raise malformed(f"{quote(name)}: expected at most {maximum} items, got {len(found)}")
    return [_object(item, name) for item in found]


def number(holder: Mapping[str, object], name: str) -> int:
    """An integer, which some JSON writers put into a string."""
    value = holder.get(name)
    if isinstance(value, str):
        try:
            return parse_uint(value, _MAX_NUMBER, name)
        except SpecError as error:
            raise malformed(str(error)) from None
    return member(holder, name, int)


def _object(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise malformed(f"{quote(name)}: expected JSON objects")
    return value


_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    bool: "a boolean",
    dict: "an object",
    list: "a list",
}
