"""Strict JSON: bytes in, plain Python out, or `InvalidJSON`.

What is refused, and in which order (nothing is decoded before its bound was checked):

1. more bytes than ``max_size``
2. anything but strict UTF-8: other encodings, a byte order mark, encoded surrogates
3. more than `MAX_MEMBERS` members and items, nesting deeper than `MAX_DEPTH` (counted in the text)
4. whatever the JSON grammar refuses, a second document, NaN and infinities (``1e400`` too),
   integers outside 64 bits, a member name twice in one object (after unescaping)
5. NUL and lone surrogates in any string: no kernel interface and no UTF-8 file can carry them
"""

from __future__ import annotations

from _json import make_scanner
from itertools import accumulate

from ociworks.errors import InvalidJSON, quote
from ociworks.spec._where import member

TYPE_CHECKING = (
    False  # not from typing, and json only where it is needed: commands that start a process each load this
)
if TYPE_CHECKING:
    import json
    from typing import Final

__all__ = [
    "MAX_DEPTH",
    "MAX_MEMBERS",
    "MAX_SIZE",
    "check_strings",
    "decode",
    "dumps",
    "finite",
    "integer",
    "loads",
    "unique",
]

MAX_SIZE = 16 * 1024 * 1024
"""Bytes of a config.json or state file unless the caller says otherwise."""
MAX_DEPTH = 64
MAX_MEMBERS = 200_000

_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_MARKS = bytes(code for code in range(256) if code not in b'[]{},:"')
_SUSPICIOUS = r"\\u(?:0000|[dD][89a-fA-F])"
_SPACE = " \t\n\r"


def loads(raw: bytes, *, max_size: int = MAX_SIZE) -> object:
    """Decode one JSON document of at most ``max_size`` bytes; raises `InvalidJSON`."""
    text = decode(raw, max_size)
    _check_bounds(raw)
    value = _scan(text)
    if b"\\u" in raw and _is_suspicious(text):
        check_strings(value)
    return value


def _scan(text: str) -> object:
    """What ``json`` does without its package; for whatever is wrong, that says what and where."""
    body = text.strip(_SPACE)
    try:
        value, end = _scanner(body, 0)
    except InvalidJSON:
        raise
    except (
        StopIteration,
        ValueError,
        SystemError,
    ):  # Python 3.11 raises nothing at all when json is not loaded
        return _explain(text)
    found: object = value if end == len(body) else _explain(text)
    return found


def _explain(text: str) -> object:
    import json

    decoder = json.JSONDecoder(
        object_pairs_hook=unique, parse_int=integer, parse_float=finite, parse_constant=_constant
    )
    try:
        value: object = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidJSON(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    return value


def _is_suspicious(text: str) -> bool:
    import re

    return re.search(_SUSPICIOUS, text) is not None


def dumps(value: object, *, indent: int | None = None) -> bytes:
    """Encode plain Python as compact UTF-8 JSON in the members' own order."""
    encoder = _encoders.get(indent)
    if encoder is None:
        encoder = _encoders[indent] = _encoder(indent)
    return encoder.encode(value).encode("utf-8")


def decode(raw: bytes, max_size: int) -> str:
    """Strict UTF-8 of at most ``max_size`` bytes, without a byte order mark."""
    if len(raw) > max_size:
        raise InvalidJSON(f"document of {len(raw)} bytes, more than the {max_size} allowed")
    try:
        text = raw.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise InvalidJSON(f"not UTF-8: {error.reason} at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise InvalidJSON("starts with a byte order mark; JSON documents have none")
    return text


def _check_bounds(raw: bytes) -> None:
    """Count in the bytes; cheap upper bounds spare nearly every document the exact count."""
    many = len(raw) > MAX_MEMBERS and raw.count(b",") + raw.count(b":") > MAX_MEMBERS
    deep = raw.count(b"[") + raw.count(b"{") > MAX_DEPTH
    if not (many or deep):
        return
    structure = _without_strings(raw)
    if structure.count(b",") + structure.count(b":") > MAX_MEMBERS:
        raise InvalidJSON(f"more than {MAX_MEMBERS} members and items")
    brackets = structure.translate(None, b",:")
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise InvalidJSON(f"nested deeper than {MAX_DEPTH} levels")


def _without_strings(raw: bytes) -> bytes:
    """Only the brackets, commas and colons that are not in strings.

    Right for every prefix that the decoder would accept, which is all that matters: it stops at the rest.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = raw.translate(None, _NOT_MARKS).replace(b'""', b"")
    return b"".join(marks.split(b'"')[::2]) if b'"' in marks else marks


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of these members, none of which occurs twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidJSON(f"member {quote(twice)} occurs more than once in one object")
    return members


def integer(text: str) -> int:
    """The integer that the grammar has found; of 64 bits."""
    number = int(text) if len(text) <= 20 else _MAX_INT + 1  # trusted: the decoder's grammar of integers
    if not _MIN_INT <= number <= _MAX_INT:
        raise InvalidJSON(f"integer {quote(text, 40)} does not fit 64 bits")
    return number


def finite(text: str) -> float:
    """The number that the grammar has found; no infinity."""
    number = float(text)
    if number - number != 0:  # an infinity; the grammar has no NaN
        raise InvalidJSON(f"number {quote(text, 40)} is too large")
    return number


def _constant(text: str) -> object:
    raise InvalidJSON(f"{text} is not JSON")


def check_strings(value: object, path: str = "$") -> None:
    """Refuse NUL and lone surrogates in any string of a value."""
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidJSON(f"{path}: NUL in a string")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise InvalidJSON(f"{path}: lone surrogate in a string")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_strings(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            check_strings(name, path + member(name))
            check_strings(item, path + member(name))


def _encoder(indent: int | None) -> json.JSONEncoder:
    import json

    separators = (",", ":") if indent is None else (",", ": ")
    return json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, check_circular=False, indent=indent, separators=separators
    )


class _Grammar:
    """What the scanner asks for."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(unique)
    parse_int = staticmethod(integer)
    parse_float = staticmethod(finite)
    parse_constant = staticmethod(_constant)
    memo: Final[dict[str, str]] = {}


_scanner = make_scanner(_Grammar)  # type: ignore[arg-type]  # it reads attributes
_encoders: dict[int | None, json.JSONEncoder] = {}
