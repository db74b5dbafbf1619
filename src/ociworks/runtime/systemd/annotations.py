"""Properties of a container's scope from annotations ``org.systemd.property.NAME``, as runc and crun have them.

The values are in GVariant text: ``true``, ``5``, ``uint64 5``, ``'text'``, ``['a', 'b']``. A name that ends in ``Sec``
is a number of seconds, which systemd has as ``USec`` in microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ociworks.errors import InvalidSpec, Problem, quote

if TYPE_CHECKING:
    from ociworks.runtime.systemd.scope import Property

__all__ = ["annotated"]

_PREFIX: Final = "org.systemd.property."
_NAME: Final = re.compile(r"[A-Za-z]{3,}", re.ASCII)
_NUMBER: Final = re.compile(
    r"(?:(byte|int16|uint16|int32|uint32|int64|uint64|double) )?(-?[0-9]+(?:\.[0-9]+)?)", re.ASCII
)
_TEXT: Final = re.compile(r"'([^'\\\0]*)'|\"([^\"\\\0]*)\"")
_KINDS: Final = {
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
}


def annotated(annotations: Mapping[str, str]) -> tuple[Property, ...]:
    """The properties. Raises InvalidSpec for a name or a value that is none."""
    found: list[Property] = []
    for key, text in annotations.items():
        if not key.startswith(_PREFIX):
            continue
        name = key.removeprefix(_PREFIX)
        signature, value = _value(key, text.strip())
        if _NAME.fullmatch(name) is None:
            raise _wrong(key, f"{quote(name)} is no name of a property")
        if re.search(r"[a-z]Sec\Z", name):
            if isinstance(value, (str, bytes, tuple, bool)):
                raise _wrong(key, f"expected a number of seconds, got {quote(text)}")
            name, signature, value = (
                f"{name.removesuffix('Sec')}USec",
                "t",
                int(value * 1_000_000),
            )  # trusted: a number
        found.append((name, signature, value))
    return tuple(found)


def _value(key: str, text: str) -> tuple[str, bool | int | float | str | tuple[str, ...]]:
    if text in ("true", "false"):
        return "b", text == "true"
    if (match := _NUMBER.fullmatch(text)) is not None:
        kind = _KINDS[match[1]] if match[1] else "d" if "." in match[2] else "i"
        return _number(key, kind, match[2])
    if (match := _TEXT.fullmatch(text)) is not None:
        return "s", match[1] if match[1] is not None else match[2]
    if text.startswith("[") and text.endswith("]"):
        inner = text[1:-1].strip()
        items = re.split(r" *, *", inner) if inner else []
        matches = [_TEXT.fullmatch(item) for item in items]
        if all(matches):
            return "as", tuple(m[1] if m[1] is not None else m[2] for m in matches if m is not None)
    raise _wrong(key, f"cannot read {quote(text)}; expected true, 5, uint64 5, 'text' or ['a', 'b']")


def _number(key: str, kind: str, text: str) -> tuple[str, int | float]:
    if kind == "d":
        return kind, float(text)  # trusted: a number by its pattern
    bits = {"y": 8, "n": 16, "q": 16, "i": 32, "u": 32, "x": 64, "t": 64}[kind]
    signed = kind in "nix"
    least, greatest = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if "." in text or len(text) > 20 or not least <= int(text) <= greatest:  # trusted: digits by its pattern
        raise _wrong(key, f"{text} is not in the range of its type")
    return kind, int(text)  # trusted: digits by its pattern


def _wrong(key: str, text: str) -> InvalidSpec:
    return InvalidSpec([Problem(f"$.annotations[{quote(key)}]", text)])
