"""What rules of several specifications share: grammars, and small checks that yield problems.

Libraries are loaded where they are used: commands that start a process each load this.
"""

from __future__ import annotations

from ociworks.errors import Problem, SpecError, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

__all__ = [
    "check_env",
    "check_ip",
    "check_ip_prefix",
    "check_media_type",
    "check_time",
    "is_interface_name",
    "is_rfc3339",
]

_TIME = (
    r"(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)
_BITS: Final = {4: 32, 6: 128}
_MAX_INTERFACE_NAME: Final = 15


def is_rfc3339(text: str) -> bool:
    """Whether ``text`` is a date and time of RFC 3339 section 5.6, on a day that exists."""
    import re
    from datetime import date

    match = re.fullmatch(_TIME, text, re.ASCII)
    if match is None:
        return False
    try:
        date(int(match[1]), int(match[2]), int(match[3]))  # trusted: four and two ASCII digits
    except ValueError:
        return False
    return True


def check_time(text: str | None, at: str, section: str) -> Iterator[Problem]:
    """An optional time is one of RFC 3339."""
    if text is not None and not is_rfc3339(text):
        yield Problem(
            at, f"expected a time such as 2006-01-02T15:04:05Z (RFC 3339), got {quote(text)}", section
        )


def check_media_type(text: str | None, at: str, section: str) -> Iterator[Problem]:
    """An optional media type follows RFC 6838."""
    from ociworks.spec.image.mediatypes import is_media_type

    if text is not None and not is_media_type(text):
        yield Problem(at, f"expected a media type (RFC 6838 section 4.2), got {quote(text)}", section)


def check_env(entries: Iterable[str], at: str, section: str) -> Iterator[Problem]:
    """Environment entries are ``NAME=value`` with a name, and can be passed to a program."""
    for index, entry in enumerate(entries):
        if entry.find("=") < 1 or "\0" in entry:
            yield Problem(f"{at}[{index}]", f"expected NAME=value, got {quote(entry)}", section)


def is_interface_name(text: str) -> bool:
    """Whether Linux takes ``text`` as the name of a network interface: 1 to 15 bytes, no slash, colon or space."""
    raw = text.encode("utf-8", "replace")
    bad = text in {".", ".."} or any(char in "/:\0" or char.isspace() for char in text)
    return 0 < len(raw) <= _MAX_INTERFACE_NAME and not bad


def check_ip(text: str | None, at: str, section: str) -> Iterator[Problem]:
    """An optional address is one of IPv4 or IPv6, in full, without prefix or zone."""
    if text is not None and _version(text) is None:
        yield Problem(at, f"expected an IP address, got {quote(text)}", section)


def check_ip_prefix(text: str, at: str, section: str) -> Iterator[Problem]:
    """An address has a prefix length: ``10.1.0.5/16``, never a netmask."""
    from ociworks.spec.numbers import parse_uint

    address, _, length = text.partition("/")
    version = _version(address)
    try:
        if version is not None:
            parse_uint(length, _BITS[version])
            return
    except SpecError:
        pass
    yield Problem(
        at, f"expected an IP address with a prefix length, such as 10.1.0.5/16, got {quote(text)}", section
    )


def _version(text: str) -> int | None:
    from ipaddress import ip_address

    try:
        return None if "%" in text else ip_address(text).version
    except ValueError:
        return None
