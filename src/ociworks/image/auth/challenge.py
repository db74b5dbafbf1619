"""``WWW-Authenticate``: what a registry says it wants to see (RFC 9110 section 11).

::

    challenges = challenge *( "," challenge )
    challenge  = scheme [ 1*SP ( token68 / parameter *( "," parameter ) ) ]
    parameter  = token "=" ( token / quoted-string )

The reader is strict and walks the text once: an unbalanced quote, a parameter that comes twice or a character
outside the grammar is an error, because two readers of such a header would see two different challenges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from ociworks.errors import RegistryProtocolError, quote

__all__ = ["Challenge", "parse_challenges"]

_MAX_HEADER: Final = 8 * 1024
_MAX_CHALLENGES: Final = 8

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(_WORD, re.ASCII)
_PARAMETER = re.compile(
    rf'({_WORD})[ \t]*=[ \t]*(?:({_WORD})|"((?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*)")', re.ASCII
)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|\Z))", re.ASCII)
_SPACE = re.compile(r"[ \t]*", re.ASCII)
_COMMAS = re.compile(r"[ \t,]*", re.ASCII)
_ESCAPE = re.compile(r"\\(.)", re.ASCII)


@frozen
class Challenge:
    """One challenge: the scheme in lower case, its parameters with names in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """The value of a parameter, by its lower-case name."""
        return dict(self.parameters).get(name)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read every ``WWW-Authenticate`` header of a response, in order; raises ``RegistryProtocolError``."""
    found: list[Challenge] = []
    for header in headers:
        if len(header) > _MAX_HEADER:
            raise RegistryProtocolError(f"WWW-Authenticate: expected at most {_MAX_HEADER} characters")
        found.extend(_Scanner(header).challenges())
        if len(found) > _MAX_CHALLENGES:
            raise RegistryProtocolError(f"WWW-Authenticate: expected at most {_MAX_CHALLENGES} challenges")
    return tuple(found)


class _Scanner:
    """A position in the header that only moves forward."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def challenges(self) -> Iterable[Challenge]:
        self._skip(_COMMAS)
        while self._at < len(self._text):
            scheme = self._take(_SCHEME, "a scheme")[0].lower()
            separated = self._skip(_SPACE)
            yield Challenge(scheme, self._parameters() if separated else ())
            self._end_of_item()

    def _parameters(self) -> tuple[tuple[str, str], ...]:
        if not _PARAMETER.match(self._text, self._at):
            if match := _TOKEN68.match(self._text, self._at):
                self._at = match.end()
            return ()
        found: dict[str, str] = {}
        while match := _PARAMETER.match(self._text, self._at):
            name = match[1].lower()
            if name in found:
                raise self._error(f"parameter {quote(name, 40)} once")
            found[name] = match[2] if match[3] is None else _ESCAPE.sub(r"\1", match[3])
            self._at = match.end()
            if not self._comma_before_parameter():
                break
        return tuple(found.items())

    def _comma_before_parameter(self) -> bool:
        """Step over a comma when another parameter of this challenge follows it."""
        start = self._at
        self._skip(_COMMAS)
        if "," in self._text[start : self._at] and _PARAMETER.match(self._text, self._at):
            return True
        self._at = start
        return False

    def _end_of_item(self) -> None:
        start = self._at
        self._skip(_COMMAS)
        if self._at < len(self._text) and "," not in self._text[start : self._at]:
            raise self._error("a comma or the end")

    def _take(self, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise self._error(expected)
        self._at = match.end()
        return match

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        start = self._at
        match = pattern.match(self._text, start)
        self._at = match.end() if match else start
        return self._at > start

    def _error(self, expected: str) -> RegistryProtocolError:
        """The text is not shown: challenges of broken servers have held secrets."""
        return RegistryProtocolError(f"WWW-Authenticate: expected {expected} at character {self._at}")
