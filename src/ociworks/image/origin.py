"""Where bytes come from: hosts, origins and URLs, each in one canonical spelling.

Only plain ``http`` and ``https`` URLs of visible ASCII are read; user information, other spellings of an address
(``127.1``), dot segments and control characters are refused. Credentials belong to an :class:`Origin`; whatever
leaves it goes without them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Literal, Self

from attrs import evolve, frozen

from ociworks.errors import SpecError, quote
from ociworks.spec.numbers import parse_uint

__all__ = ["Origin", "Scheme", "Url", "canonical_host", "is_loopback", "is_public", "split_authority"]

Scheme = Literal["http", "https"]

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*", re.ASCII)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]*", re.ASCII)
_DOT_SEGMENT = re.compile(r"(?:\.|%2[eE]){1,2}", re.ASCII)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_PORTS: Final = {"http": 80, "https": 443}
_MAX_URL: Final = 16 * 1024


def canonical_host(text: str) -> str:
    """The one spelling of a host: a lower-case name, an IPv4 address, or an IPv6 address in brackets.

    Raises :class:`~ociworks.errors.SpecError`.
    """
    if text.startswith("["):
        return f"[{_ipv6(text)}]"
    if len(text) > 253 or _HOST.fullmatch(text) is None:
        raise SpecError(f"expected a host of letters, digits, dashes and dots, got {quote(text)}")
    if _NUMERIC_LABEL.fullmatch(text.rpartition(".")[2]):
        # Other spellings of an address would reach a host that no policy has looked at.
        return str(_address(text, ipaddress.IPv4Address, "an IPv4 address as four decimal numbers"))
    return text.lower()


def _ipv6(text: str) -> str:
    address = _address(text[1:-1], ipaddress.IPv6Address, "an IPv6 address in brackets")
    if not text.endswith("]") or "%" in text:
        raise SpecError(f"expected an IPv6 address in brackets without a zone, got {quote(text)}")
    return str(address)


def _address(
    text: str, kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], expected: str
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return kind(text)
    except ValueError:
        raise SpecError(f"expected {expected}, got {quote(text)}") from None


def split_authority(text: str) -> tuple[str, int | None]:
    """Read ``host[:port]``: the canonical host and the port if one is given; raises ``SpecError``."""
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        return canonical_host(text), None
    number = parse_uint(port, 65535, "port")
    if number == 0:
        raise SpecError("expected a port from 1 to 65535, got 0")
    return canonical_host(host), number


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return (_embedded(address) or address) if isinstance(address, ipaddress.IPv6Address) else address


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for: mapped, 6to4, NAT64."""
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[12:])
    return address.ipv4_mapped or address.sixtofour


def is_loopback(host: str) -> bool:
    """Whether a canonical host is this machine itself: ``localhost`` or a loopback address."""
    address = _literal(host)
    return host == "localhost" if address is None else address.is_loopback


def is_public(host: str) -> bool:
    """Whether a canonical host may be named by strangers: any name but localhost, or a global address."""
    address = _literal(host)
    if address is None:
        return host != "localhost" and not host.endswith(".localhost")
    return address.is_global and not address.is_multicast


@frozen
class Origin:
    """Scheme, host and port: what credentials are bound to."""

    scheme: Scheme
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host:port``, without the port where it is the scheme's own."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@frozen(repr=False, str=False)
class Url:
    """An absolute URL. ``repr`` and :attr:`redacted` leave the query out: it may hold a signature."""

    origin: Origin
    path: str
    query: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute ``http`` or ``https`` URL; raises :class:`~ociworks.errors.SpecError`."""
        if len(text) > _MAX_URL or _VISIBLE.fullmatch(text) is None:
            raise SpecError(f"expected a URL of at most {_MAX_URL} visible ASCII characters")
        match = _URL.fullmatch(text)
        if match is None:
            raise SpecError("expected an absolute URL such as https://registry.example/v2/")
        scheme, authority, path, query = match.groups()
        if "@" in authority:
            raise SpecError("expected a URL without user information before the host")
        return cls(_origin(scheme.lower(), authority), _path(path), query)

    def join(self, location: str) -> Url:
        """Resolve a ``Location`` header against this URL; raises :class:`~ociworks.errors.SpecError`."""
        if "://" in location.partition("?")[0]:
            return Url.parse(location)
        if location.startswith("//"):
            return Url.parse(f"{self.origin.scheme}:{location}")
        if location.startswith("?"):
            return Url.parse(f"{self.origin}{self.path}{location}")
        base = "" if location.startswith("/") else self.path.rpartition("/")[0] + "/"
        return Url.parse(f"{self.origin}{base}{location}")

    def with_query(self, query: str) -> Url:
        """The same URL with ``query`` added to its query."""
        return evolve(self, query=f"{self.query}&{query}" if self.query else query)

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def redacted(self) -> str:
        """For people and logs: without the query."""
        return f"{self.origin}{self.path}" + ("" if self.query is None else "?…")

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    def __repr__(self) -> str:
        return f"Url({self.redacted!r})"


def _origin(scheme: str, authority: str) -> Origin:
    if scheme not in _PORTS:
        raise SpecError(f"expected http or https, got {quote(scheme)}")
    host, port = split_authority(authority)
    return Origin("https" if scheme == "https" else "http", host, port or _PORTS[scheme])


def _path(path: str) -> str:
    if any(_DOT_SEGMENT.fullmatch(part) for part in path.split("/")):
        raise SpecError("expected a path without dot segments")
    return path or "/"
