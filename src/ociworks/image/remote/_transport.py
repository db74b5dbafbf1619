"""Connections to origins: opened with our own TLS settings, kept for reuse, never through a proxy of the environment.

No environment variable has a say: neither in which certificates are trusted, nor in where session keys are logged,
nor in which proxy is asked. Verification cannot be turned off; a private authority is added by ``ca_file``.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Final, final

from ociworks.errors import RegistryError, RegistryUnreachable
from ociworks.image.remote._wire import Connection, NoAnswer, WireResponse

if TYPE_CHECKING:
    import ssl

    from ociworks.image.origin import Origin
    from ociworks.image.remote._messages import Request
    from ociworks.image.remote.limits import Limits

__all__ = ["SocketTransport", "tls_context"]

_IDLE: Final = 8
"""Connections kept for reuse, for each origin."""
_AGENT: Final = "ociworks/0.1"


@final
class SocketTransport:
    """A :class:`~ociworks.image.remote._messages.Transport` over sockets; safe for several threads."""

    def __init__(self, limits: Limits, ca_file: str | None = None) -> None:
        self._limits = limits
        self._ca_file = ca_file
        self._idle: dict[Origin, list[Connection]] = {}
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    def send(self, request: Request, /) -> WireResponse:
        """Send to the request's own URL; see the protocol."""
        headers = _headers(request)
        reused = self._take(request.url.origin)
        if reused is not None:
            try:
                return reused.exchange(request, headers, self._give)
            except NoAnswer:
                # The server closed it while it was idle; what changes something is not repeated on a guess.
                if request.method not in {"GET", "HEAD"}:
                    raise
        return self._connect(request).exchange(request, headers, self._give)

    def close(self) -> None:
        """Close every idle connection; those in use are closed when they come back."""
        with self._lock:
            self._closed = True
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _take(self, origin: Origin) -> Connection | None:
        while True:
            with self._lock:
                kept = self._idle.get(origin)
                if not kept:
                    return None
                connection = kept.pop()
            if not connection.stale():
                return connection
            connection.close()

    def _give(self, connection: Connection) -> None:
        with self._lock:
            kept = self._idle.setdefault(connection.origin, [])
            if not self._closed and len(kept) < _IDLE:
                kept.append(connection)
                return
        connection.close()

    def _connect(self, request: Request) -> Connection:
        if self._closed:
            raise RegistryError("the client is closed", url=request.url.redacted)
        origin = request.url.origin
        try:
            sock = self._open(origin)
        except OSError as error:
            raise _unreachable(error, request) from None
        return Connection(sock, origin, self._limits)

    def _open(self, origin: Origin) -> socket.socket:
        host = origin.host.strip("[]")
        sock = socket.create_connection((host, origin.port), timeout=self._limits.connect_timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return (
                sock if origin.scheme == "http" else self._context().wrap_socket(sock, server_hostname=host)
            )
        except BaseException:
            sock.close()
            raise

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = tls_context(self._ca_file)
            return self._tls


def _headers(request: Request) -> list[tuple[str, str]]:
    """The headers of every request: no encoding is accepted, because digests are over the bytes as they travel."""
    headers = [("User-Agent", _AGENT), ("Accept-Encoding", "identity"), *request.headers]
    if request.authorization is not None:
        headers.append(("Authorization", request.authorization.reveal()))
    if request.body is not None:
        headers.append(("Content-Length", str(request.body.size)))
    return headers


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A verifying context with the system's authorities and those of ``ca_file`` (PEM)."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The paths compiled into OpenSSL: load_default_certs() would follow SSL_CERT_FILE and SSL_CERT_DIR.
    paths = ssl.get_default_verify_paths()
    cafile = paths.openssl_cafile if os.path.isfile(paths.openssl_cafile) else None
    capath = paths.openssl_capath if os.path.isdir(paths.openssl_capath) else None
    if cafile or capath:
        context.load_verify_locations(cafile, capath)
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _unreachable(error: OSError, request: Request) -> RegistryUnreachable:
    """Retrying helps against a crowded or restarting server, not against a wrong name or certificate."""
    import ssl

    host = request.url.origin.authority
    if isinstance(error, ssl.SSLCertVerificationError):
        message, temporary = f"certificate of {host} is not trusted: {error.verify_message}", False
    elif isinstance(error, ssl.SSLError):
        message, temporary = (
            f"no TLS with {host}; list it as insecure only if it really speaks plain http",
            False,
        )
    elif isinstance(error, socket.gaierror):
        message, temporary = f"cannot resolve {host}: {error.strerror}", error.errno == socket.EAI_AGAIN
    else:
        reason = error.strerror or "timed out"
        message, temporary = f"cannot connect to {host}: {reason}", error.errno != errno.ECONNREFUSED
    return RegistryUnreachable(message, url=request.url.redacted, temporary=temporary)
