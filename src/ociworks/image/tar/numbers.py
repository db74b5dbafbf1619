"""The number fields of tar headers: octal text, base-256, and the decimals of PAX records.

``int()`` would take signs, underscores and padding, tarfile reads what it cannot parse as 0; here everything that is
not exactly a number of the format is a :class:`ociworks.errors.TarError`.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from ociworks.errors import SpecError, TarError, quote
from ociworks.spec.numbers import parse_uint

__all__ = ["MAX_ID", "MAX_TIME_NS", "header_number", "header_time", "pax_number", "pax_time"]

MAX_ID: Final = 2**32 - 2
"""The largest uid or gid: 2³²−1 means "leave unchanged" to the kernel."""
MAX_TIME_NS: Final = 2**63 - 1

_OCTAL: Final = re.compile(rb" *([0-7]+)[ \0]*", re.ASCII)
_TIME: Final = re.compile(rb"(-?)([0-9]{1,40})(?:\.([0-9]{0,40}))?", re.ASCII)
_NANO: Final = 1_000_000_000


def header_number(field: bytes, maximum: int, what: str) -> int:
    """The value of a header field, 0 … ``maximum``."""
    value = _value(field, what)
    if 0 <= value <= maximum:
        return value
    raise TarError(f"{what}: expected a number from 0 to {maximum}, found {quote(field)}")


def header_time(field: bytes) -> int:
    """The value of the mtime field in nanoseconds; in base-256 it may be before 1970. Clamped."""
    return _clamp(_value(field, "mtime") * _NANO)


def pax_number(value: bytes, maximum: int, what: str) -> int:
    """The value of a decimal PAX record, 0 … ``maximum``."""
    try:
        return parse_uint(value, maximum, f"PAX {what}")
    except SpecError as error:
        raise TarError(str(error)) from error


def pax_time(value: bytes) -> int:
    """The value of a PAX time in nanoseconds (a decimal fraction, maybe negative), rounded down and clamped."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise TarError(f"PAX mtime: expected a decimal number of seconds, found {quote(value)}")
    sign, whole, fraction = match[1], match[2], match[3] or b""
    seconds, parts = int(whole), int(fraction[:9].ljust(9, b"0"))  # trusted: digits, by the grammar
    nanoseconds = seconds * _NANO + parts
    if sign:
        nanoseconds = -nanoseconds - (1 if fraction[9:].strip(b"0") else 0)
    return _clamp(nanoseconds)


def _clamp(nanoseconds: int) -> int:
    return max(-MAX_TIME_NS, min(MAX_TIME_NS, nanoseconds))


@functools.lru_cache(maxsize=2048)
def _value(field: bytes, what: str) -> int:
    """Octal text, or base-256 (GNU) when the first bit is set. Kept: modes, owners and times repeat in an archive."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise TarError(f"{what}: expected an octal number, found {quote(field)}")
    return int(match[1], 8)  # trusted: octal digits, by the grammar
