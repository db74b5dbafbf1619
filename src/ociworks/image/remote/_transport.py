"""Connections to origins: opened with our own TLS settings, kept for reuse, through a proxy only when asked to.

No environment variable has a say: neither in which certificates are trusted, nor in where session keys are logged,
nor in which proxy is asked. A private authority is added by ``ca_file``, or by the host's configuration for one
registry; nothing but the latter takes verification away, and only for the registry that it names.

::

    request ──> road: whom to connect to, with which certificates, through which proxy
    road    ──> connection: an idle one of the same road, else a new one

What is configured for the registry itself (``Request.site``) holds on its own origin. Where it sends us to, its
authorities are trusted as well, and the certificates configured for that place are shown.
"""

from __future__ import annotations

import errno
import functools
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Final, final

from attrs import evolve, field, frozen

from ociworks.errors import RegistryError, RegistryUnreachable
from ociworks.image.auth.secret import Secret
from ociworks.image.hosts import NO_HOSTS, HostsConfig, Proxy, Tls
from ociworks.image.hosts.endpoint import PLAIN_TLS
from ociworks.image.origin import Origin
from ociworks.image.remote import _proxy, _tls
from ociworks.image.remote._wire import Connection, NoAnswer, WireResponse

if TYPE_CHECKING:
    import ssl

    from ociworks.image.remote._messages import Request
    from ociworks.image.remote.limits import Limits

__all__ = ["SocketTransport"]

_IDLE: Final = 8
"""Connections kept for reuse, for each road."""
_PROBE: Final = 5.0
"""Seconds for a server to show that it speaks TLS: one that does not may just wait for more."""
_AGENT: Final = "ociworks/0.1"


@frozen(kw_only=True)
class _Road:
    """How one request travels: connections of equal roads may stand in for each other."""

    origin: Origin
    tls: Tls = PLAIN_TLS
    proxy: Proxy | None = None
    timeout: float
    headers: tuple[tuple[str, Secret], ...] = field(default=(), eq=False)

    @property
    def absolute(self) -> bool:
        """Whether a proxy reads the requests, which then name the whole URL."""
        return self.proxy is not None and self.origin.scheme == "http"


@final
class SocketTransport:
    """A :class:`~ociworks.image.remote._messages.Transport` over sockets; safe for several threads."""

    def __init__(self, limits: Limits, ca_file: str | None = None, hosts: HostsConfig = NO_HOSTS) -> None:
        self._limits = limits
        self._ca_file = ca_file
        self._hosts = hosts
        self._idle: dict[_Road, list[Connection]] = {}
        self._used: weakref.WeakSet[Connection] = weakref.WeakSet()
        """All that are there: a connection in use belongs to whoever reads from it."""
        self._lock = threading.Lock()
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self._closed = False

    def send(self, request: Request, /) -> WireResponse:
        """Send to the request's own URL; see the protocol."""
        road = self._road(request)
        headers = _headers(request, road)
        done = functools.partial(self._give, road)
        reused = self._take(road)
        if reused is not None:
            try:
                return reused.exchange(request, headers, done)
            except NoAnswer:
                # The server closed it while it was idle; what changes something is not repeated on a guess.
                if request.method not in {"GET", "HEAD"}:
                    raise
        return self._connect(road, request.url.redacted).exchange(request, headers, done)

    def speaks_tls(self, origin: Origin, timeout: float | None) -> bool:
        """Whether TLS is spoken at an origin, with whatever certificate; raises ``RegistryUnreachable``."""
        import ssl

        road = _Road(
            origin=origin,
            tls=Tls(verify=False),
            proxy=self._hosts.proxies.of(origin),
            timeout=min(_PROBE, timeout or self._limits.connect_timeout),
        )
        try:
            sock = self._dial(road)
        except OSError as error:
            raise _unreachable(error, road, str(origin)) from None
        try:
            self._secured(sock, road).close()
        except (ssl.SSLError, ConnectionError, TimeoutError):
            return False
        return True

    def close(self) -> None:
        """Close every idle connection; those in use are closed when they come back."""
        with self._lock:
            self._closed = True
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def abort(self) -> None:
        """Close every connection, those in use under their readers."""
        self.close()
        with self._lock:
            used = list(self._used)
        for connection in used:
            connection.abort()

    def _road(self, request: Request) -> _Road:
        origin, site = request.url.origin, request.site
        road = _Road(
            origin=origin, proxy=self._hosts.proxies.of(origin), timeout=self._limits.connect_timeout
        )
        if site is None:
            return evolve(road, tls=self._tls_of(origin))
        if site.origin != origin:
            return evolve(road, tls=_vouched_for(self._tls_of(origin), site.tls))
        return evolve(
            road,
            tls=site.tls,
            headers=site.headers,
            timeout=site.connect_timeout or self._limits.connect_timeout,
        )

    def _tls_of(self, origin: Origin) -> Tls:
        return PLAIN_TLS if origin.scheme == "http" else self._hosts.tls_of(origin.authority)

    def _take(self, road: _Road) -> Connection | None:
        while True:
            with self._lock:
                kept = self._idle.get(road)
                if not kept:
                    return None
                connection = kept.pop()
            if not connection.stale():
                return connection
            connection.close()

    def _give(self, road: _Road, connection: Connection) -> None:
        with self._lock:
            kept = self._idle.setdefault(road, [])
            if not self._closed and len(kept) < _IDLE:
                kept.append(connection)
                return
        connection.close()

    def _connect(self, road: _Road, url: str) -> Connection:
        if self._closed:
            raise RegistryError("the client is closed", url=url)
        try:
            sock = self._dial(road)
            if road.origin.scheme == "https":
                sock = self._secured(sock, road)
        except OSError as error:
            raise _unreachable(error, road, url) from None
        connection = Connection(sock, road.origin, self._limits, absolute=road.absolute)
        with self._lock:
            self._used.add(connection)
            closed = self._closed
        if closed:
            connection.close()
            raise RegistryError("the client is closed", url=url)
        return connection

    def _dial(self, road: _Road) -> socket.socket:
        """A connection to the origin, or to the proxy that reads the requests, still without TLS."""
        first = road.origin if road.proxy is None else road.proxy.origin
        sock = socket.create_connection((first.host.strip("[]"), first.port), timeout=road.timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if road.proxy is not None and not road.absolute:
                _proxy.tunnel(sock, road.proxy, road.origin, road.timeout)
        except BaseException:
            sock.close()
            raise
        return sock

    def _secured(self, sock: socket.socket, road: _Road) -> socket.socket:
        try:
            return self._context(road.tls).wrap_socket(sock, server_hostname=road.origin.host.strip("[]"))
        except BaseException:
            sock.close()
            raise

    def _context(self, tls: Tls) -> ssl.SSLContext:
        with self._lock:
            if tls not in self._contexts:
                self._contexts[tls] = _tls.context(self._ca_file, tls)
            return self._contexts[tls]


def _vouched_for(own: Tls, registry: Tls) -> Tls:
    """What a registry sends us to is often its own as well: the same authorities may vouch for it."""
    return evolve(own, authorities=(*own.authorities, *registry.authorities))


def _headers(request: Request, road: _Road) -> list[tuple[str, str]]:
    """The headers of every request: no encoding is accepted, because digests are over the bytes as they travel."""
    headers = [("User-Agent", _AGENT), ("Accept-Encoding", "identity"), *request.headers]
    given = {name.lower() for name, _ in road.headers}
    headers = [(name, value) for name, value in headers if name.lower() not in given]
    headers += [(name, value.reveal()) for name, value in road.headers if name.lower() != "authorization"]
    if road.proxy is not None and road.absolute:
        headers += _proxy.authorization(road.proxy)
    headers += _authorization(request, road)
    if request.body is not None:
        headers.append(("Content-Length", str(request.body.size)))
    return headers


def _authorization(request: Request, road: _Road) -> list[tuple[str, str]]:
    """Ours, which answers a challenge, before the one that the host's configuration has for all requests."""
    if request.authorization is not None:
        return [("Authorization", request.authorization.reveal())]
    return [(name, value.reveal()) for name, value in road.headers if name.lower() == "authorization"]


def _unreachable(error: OSError, road: _Road, url: str) -> RegistryUnreachable:
    """Retrying helps against a crowded or restarting server, not against a wrong name or certificate."""
    import ssl

    host = road.origin.authority
    first = host if road.proxy is None else f"proxy {road.proxy.origin.authority}"
    if isinstance(error, ssl.SSLCertVerificationError):
        message, temporary = f"certificate of {host} is not trusted: {error.verify_message}", False
    elif isinstance(error, ssl.SSLError):
        message, temporary = (
            f"no TLS with {host}; list it as insecure only if it really speaks plain http",
            False,
        )
    elif isinstance(error, socket.gaierror):
        message, temporary = f"cannot resolve {first}: {error.strerror}", error.errno == socket.EAI_AGAIN
    else:
        reason = error.strerror or "timed out"
        message, temporary = f"cannot connect to {first}: {reason}", error.errno != errno.ECONNREFUSED
    return RegistryUnreachable(message, url=url, temporary=temporary)
