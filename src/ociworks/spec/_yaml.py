"""YAML that says what JSON could: bytes in, plain Python out, or `InvalidSpec`'s parent `SpecError`.

The bounds and rules are those of JSON (``_json``). Refused is what makes YAML dangerous, or its readers disagree:

- anchors and aliases (a short text may stand for gigabytes), tags, merge keys, more than one document
- keys that are not text, a key twice
- unquoted words that are truth values to some readers: ``yes``, ``no``, ``on``, ``off``, ``y``, ``n``

Unquoted numbers are decimal, hexadecimal (``0x1f``) or octal (``0o644``, ``0644``), as Go's programs read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ociworks.errors import MissingDependency, SpecError, quote
from ociworks.spec import _json

if TYPE_CHECKING:
    from types import ModuleType

    from yaml import Event, ScalarEvent

__all__ = ["loads"]

_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_OCTAL: Final = re.compile(r"0o?([0-7]+)", re.ASCII)
_HEXADECIMAL: Final = re.compile(r"0x([0-9a-fA-F]+)", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|nan)", re.ASCII | re.IGNORECASE)
_MOST_DIGITS: Final = 22
"""Of 64 bits, in octal."""
_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}
_DISPUTED: Final = frozenset(("yes", "no", "on", "off", "y", "n", "=", "<<"))


def loads(raw: bytes, *, max_size: int = _json.MAX_SIZE) -> object:
    """Decode one document of at most ``max_size`` bytes. Raises SpecError; MissingDependency without PyYAML."""
    yaml = _library()
    text = _json.decode(raw, max_size)
    try:
        value = _Reader(yaml).document(yaml.parse(text, Loader=_loader(yaml)))
    except yaml.YAMLError as error:
        raise SpecError(f"not YAML: {quote(' '.join(str(error).split()), 200)}") from None
    _json.check_strings(value)
    return value


def _library() -> ModuleType:
    try:
        import yaml
    except ImportError:
        raise MissingDependency("YAML needs PyYAML: pip install 'ociworks[cri]'") from None
    return yaml


def _loader(yaml: ModuleType) -> object:
    """That of libyaml, where PyYAML has it: many times as fast."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader:
    """Makes values of a parser's events, and stops at the first that goes too far."""

    def __init__(self, yaml: ModuleType) -> None:
        self._yaml = yaml
        self._members = 0

    def document(self, events: Iterator[Event]) -> object:
        yaml = self._yaml
        value: object = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise SpecError(f"{_at(event)}: expected one document, got another")
                value = self._value(next(events), events, 0)
        return value

    def _value(self, event: Event, events: Iterator[Event], depth: int) -> object:
        yaml = self._yaml
        self._check(event, depth)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return list(self._items(events, depth))
        pairs = [(key, self._value(next(events), events, depth + 1)) for key in self._keys(events)]
        return _json.unique(pairs)

    def _items(self, events: Iterator[Event], depth: int) -> Iterator[object]:
        for event in events:
            if isinstance(event, self._yaml.SequenceEndEvent):
                return
            yield self._value(event, events, depth + 1)

    def _keys(self, events: Iterator[Event]) -> Iterator[str]:
        yaml = self._yaml
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            self._check(event, 0)
            key = _scalar(event) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise SpecError(f"{_at(event)}: expected text as the key of a member")
            yield key

    def _check(self, event: Event, depth: int) -> None:
        self._members += 1
        if self._members > _json.MAX_MEMBERS:
            raise SpecError(f"more than {_json.MAX_MEMBERS} members and items")
        if depth > _json.MAX_DEPTH:
            raise SpecError(f"nested deeper than {_json.MAX_DEPTH} levels")
        if isinstance(event, self._yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise SpecError(f"{_at(event)}: expected no anchors and aliases")
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            raise SpecError(f"{_at(event)}: expected no tags, got {quote(tag, 40)}")


def _scalar(event: ScalarEvent) -> object:
    text: str = event.value
    if not event.implicit[0]:  # quoted, or a block
        return text
    word = text.lower()
    if word in _DISPUTED:
        raise SpecError(f"{_at(event)}: expected {quote(text)} in quotes, or true or false")
    if word in _WORDS:
        return _WORDS[word]
    return _number(text)


def _number(text: str) -> object:
    """The number that an unquoted word is; the word itself when it is none."""
    if _INTEGER.fullmatch(text):
        return _json.integer(text.removeprefix("+"))
    for pattern, base in ((_OCTAL, 8), (_HEXADECIMAL, 16)):
        if match := pattern.fullmatch(text):
            return _based(match[1], base)
    if _FLOAT.fullmatch(text):
        return _json.finite(text)
    if _NOT_FINITE.fullmatch(text):
        raise SpecError(f"number {quote(text)} is not finite")
    return text


def _based(digits: str, base: int) -> int:
    digits = digits.lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS:
        raise SpecError(f"number of {len(digits)} digits does not fit 64 bits")
    return _json.integer(str(int(digits, base)))  # trusted: the grammar above


def _at(event: Event) -> str:
    mark = event.start_mark
    return f"line {mark.line + 1} column {mark.column + 1}" if mark is not None else "somewhere"
