"""Which proxy is asked for which origin, by the usual environment variables or by the program.

::

    https://…   CONNECT host:port through ``https``        http://…   absolute-form requests through ``http``
    loopback    never through a proxy

    no_proxy    *                    nothing through a proxy
                example.com          it and every name below it
                .example.com         every name below it      (also *.example.com)
                10.1.2.3, 10.0.0.0/8, [fd00::1]
                …:8080               only for that port
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Mapping
from typing import Final, Self
from urllib.parse import unquote

from attrs import field, frozen

from ociworks.errors import HostsConfigError, NotSupported, SpecError, quote
from ociworks.image.auth.credentials import Basic
from ociworks.image.auth.secret import Secret
from ociworks.image.origin import Origin, Url, canonical_host, is_loopback
from ociworks.spec.numbers import parse_uint

__all__ = ["NO_PROXIES", "Bypass", "Proxies", "Proxy", "UnusableProxy"]

_logger = logging.getLogger(__name__)

_MAX_ENTRIES: Final = 1024


@frozen
class Proxy:
    """A proxy that is spoken to in plain http, and what it wants to see."""

    origin: Origin
    credential: Basic | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``[http://][user[:password]@]host[:port]``; raises ``SpecError`` and ``NotSupported``."""
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "http", text
        if scheme.lower() != "http":
            raise NotSupported(f"proxies are spoken to in http, not in {quote(scheme, 20)}")
        user, at, place = rest.rpartition("@")
        url = Url.parse(f"http://{place}")
        if url.target != "/":
            raise SpecError("expected a proxy without path and query")
        return cls(url.origin, _credential(user) if at else None)


def _credential(user: str) -> Basic:
    name, _, password = user.partition(":")
    return Basic(unquote(name), Secret(unquote(password)))


@frozen
class UnusableProxy:
    """A variable that is set, to something that cannot be used: going without a proxy would not be what it says."""

    variable: str
    problem: str


@frozen
class Bypass:
    """One entry of ``no_proxy``: what is reached without a proxy."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    domain: str = ""
    """A host; with a leading dot, only the names below it. Empty beside a network of None: everything."""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an entry; raises :class:`~ociworks.errors.SpecError`."""
        if text == "*":
            return cls()
        if "/" in text:
            return cls(network=_network(text))
        host, port = _split_port(text)
        try:
            return cls(network=_network(host.strip("[]")), port=port)
        except SpecError:
            domain = host.removeprefix("*")
            dot = "." if domain.startswith(".") else ""
            return cls(domain=dot + canonical_host(domain.lstrip(".")), port=port)

    def covers(self, origin: Origin) -> bool:
        """Whether the origin is reached without a proxy."""
        if self.port not in {None, origin.port}:
            return False
        if self.network is not None:
            try:
                return ipaddress.ip_address(origin.host.strip("[]")) in self.network
            except ValueError:
                return False
        if self.domain.startswith("."):
            return origin.host.endswith(self.domain)
        return not self.domain or origin.host == self.domain or origin.host.endswith(f".{self.domain}")


def _split_port(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]") or (":" in host.strip("[]") and not host.endswith("]")):
        return text, None
    return host, parse_uint(port, 65535, "port")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise SpecError(f"expected an address or a network, got {quote(text)}") from None


@frozen(kw_only=True)
class Proxies:
    """The proxies of a client; none by default."""

    http: Proxy | UnusableProxy | None = None
    https: Proxy | UnusableProxy | None = None
    bypasses: tuple[Bypass, ...] = field(default=())

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, or the same in lower case.

        ``HTTP_PROXY`` says nothing in a CGI program, where a request could have set it. Entries of ``NO_PROXY`` that
        make no sense are passed over, as every other program does. A proxy that cannot be used is an error where it
        would be needed, and nowhere else.
        """
        http = None if "REQUEST_METHOD" in environ else _variable(environ, "HTTP_PROXY")
        entries = (environ.get("NO_PROXY") or environ.get("no_proxy") or "").replace(" ", ",").split(",")
        return cls(
            http=http,
            https=_variable(environ, "HTTPS_PROXY"),
            bypasses=_bypasses(entries[:_MAX_ENTRIES]),
        )

    def of(self, origin: Origin) -> Proxy | None:
        """The proxy to ask for an origin; raises :class:`~ociworks.errors.HostsConfigError`, never with a password."""
        chosen = self.http if origin.scheme == "http" else self.https
        if chosen is None or is_loopback(origin.host) or any(each.covers(origin) for each in self.bypasses):
            return None
        if isinstance(chosen, UnusableProxy):
            raise HostsConfigError(chosen.variable, "", chosen.problem)
        return chosen


NO_PROXIES: Final = Proxies()
"""Always directly."""


def _variable(environ: Mapping[str, str], name: str) -> Proxy | UnusableProxy | None:
    text = environ.get(name) or environ.get(name.lower())
    try:
        return Proxy.parse(text) if text else None
    except (SpecError, NotSupported) as error:
        message = (
            str(error) if isinstance(error, NotSupported) else "expected [http://][user:password@]host[:port]"
        )
        return UnusableProxy(f"${name}", message)


def _bypasses(entries: Iterable[str]) -> tuple[Bypass, ...]:
    found = []
    for entry in filter(None, (entry.strip() for entry in entries)):
        try:
            found.append(Bypass.parse(entry))
        except SpecError as error:
            _logger.warning("NO_PROXY: %s is passed over: %s", quote(entry), error)
    return tuple(found)
