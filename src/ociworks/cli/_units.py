"""Numbers as people write them on a command line: ``64m``, ``1.5``, ``KEY=value``. Strict: one meaning or refused."""

from __future__ import annotations

import re

from ociworks.errors import SpecError, quote
from ociworks.spec.numbers import parse_uint

__all__ = ["address", "cpus", "environment", "seconds", "size", "whole_number"]

_SHIFTS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_MAX_BYTES = 2**63 - 1
_MAX_COUNT = 2**31 - 1


def size(text: str) -> int:
    """Bytes: digits and at most one of ``b k m g t`` (powers of 1024), in either case; more than 0."""
    match = re.fullmatch(r"([0-9]{1,19})([bkmgtBKMGT]?)", text)
    if match is None:
        raise SpecError(f"expected a size such as 64m, got {quote(text)}")
    return _positive(parse_uint(match[1], _MAX_BYTES, "size") << _SHIFTS[match[2].lower()], _MAX_BYTES, text)


def whole_number(text: str) -> int:
    """A number from 1 to 2³¹−1."""
    return _positive(parse_uint(text, _MAX_COUNT), _MAX_COUNT, text)


def cpus(text: str) -> float:
    """Processors, up to three decimals: ``0.5`` is half of one; more than 0."""
    return _decimal(text, "a number of processors such as 1.5")


def seconds(text: str) -> float:
    """A duration in seconds, up to three decimals; more than 0."""
    return _decimal(text, "a number of seconds such as 2.5")


def environment(text: str) -> tuple[str, str]:
    """``KEY=value``: the value may hold anything but NUL; the key is neither empty nor holds ``=``."""
    key, equals, value = text.partition("=")
    if not key or not equals or "\0" in text:
        raise SpecError(f"expected KEY=value, got {quote(text)}")
    return key, value


def address(text: str) -> tuple[str, int]:
    """``HOST:PORT``; an IPv6 address is in brackets."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", text, re.ASCII)
    if match is None:
        raise SpecError(f"expected HOST:PORT, got {quote(text)}")
    return match[1].strip("[]"), parse_uint(match[2], 65535, "port")


def _decimal(text: str, expected: str) -> float:
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", text, re.ASCII) or not float(text):
        raise SpecError(f"expected {expected}, got {quote(text)}")
    return float(text)


def _positive(number: int, maximum: int, text: str) -> int:
    if not 0 < number <= maximum:
        raise SpecError(f"expected a number from 1 to {maximum}, got {quote(text)}")
    return number
