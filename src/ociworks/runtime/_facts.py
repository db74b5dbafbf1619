"""Small JSON documents of our own, read strictly and written, without the packages that make a process slow to start.

``json`` loads the module ``re``; its accelerator alone is enough for a state file (which is untrusted: bounded, no
duplicate members, no NaN) and for what a command prints.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final, TypeAlias

    Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"

__all__ = ["dumps", "loads"]

_SPACE: Final = " \t\r\n"


def loads(raw: bytes) -> object:
    """The value of one JSON document; ValueError for anything else, including duplicate members."""
    text = raw.decode("utf-8").strip(_SPACE)
    try:
        value, end = make_scanner(_Strict)(text, 0)  # type: ignore[arg-type] # it reads attributes
    except (
        StopIteration,
        RecursionError,
        SystemError,
    ):  # Python 3.11 raises no error when json is not loaded
        raise ValueError("not a JSON document") from None
    if end != len(text):
        raise ValueError("more than one JSON document")
    found: object = value
    return found


def dumps(value: Value, indent: int | None = None) -> str:
    """``value`` as JSON text in ASCII; ``indent`` spaces a level, or one line without spaces."""
    return _dump(value, indent, "\n")


def _dump(value: Value, indent: int | None, line: str) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return str(encode_basestring_ascii(value))
    inner = line + " " * (indent or 0)
    if hasattr(value, "items"):
        colon = ":" if indent is None else ": "
        parts = [f"{encode_basestring_ascii(k)}{colon}{_dump(v, indent, inner)}" for k, v in value.items()]
        brackets = "{}"
    else:
        parts = [_dump(item, indent, inner) for item in value]
        brackets = "[]"
    if indent is None or not parts:
        return brackets[0] + ",".join(parts) + brackets[1]
    return f"{brackets[0]}{inner}{f',{inner}'.join(parts)}{line}{brackets[1]}"


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member appears twice")
    return found


def _refuse(text: str) -> object:
    raise ValueError(f"unexpected number {text[:40]!a}")


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number is too long")
    return int(text)  # trusted: the scanner saw digits only


class _Strict:
    """What the scanner asks for."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_unique)
    parse_float = staticmethod(_refuse)
    parse_constant = staticmethod(_refuse)
    parse_int = staticmethod(_integer)
    memo: Final[dict[str, str]] = {}
