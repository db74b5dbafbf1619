"""Asking a proxy for a tunnel (RFC 9110 section 9.3.6).

::

    CONNECT registry.example:443 HTTP/1.1  ──>   2xx: from here on the bytes are the registry's
                                                 407: it wants (other) credentials; anything else: it will not
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

import h11

from ociworks.errors import RegistryUnreachable
from ociworks.image.auth.bearer import basic_header

if TYPE_CHECKING:
    from ociworks.image.hosts import Proxy
    from ociworks.image.origin import Origin

__all__ = ["authorization", "tunnel"]

_MAX_HEAD: Final = 16 * 1024


def authorization(proxy: Proxy) -> list[tuple[str, str]]:
    """The header that shows our credentials to a proxy."""
    if proxy.credential is None:
        return []
    return [("Proxy-Authorization", basic_header(proxy.credential).reveal())]


def tunnel(sock: socket.socket, proxy: Proxy, origin: Origin, timeout: float) -> None:
    """Turn a connection to a proxy into one to ``origin``; raises ``RegistryUnreachable`` and ``OSError``."""
    where = f"{origin.host}:{origin.port}"
    machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    request = h11.Request(method="CONNECT", target=where, headers=[("Host", where), *authorization(proxy)])
    try:
        sock.sendall((machine.send(request) or b"") + (machine.send(h11.EndOfMessage()) or b""))
        status = _status(sock, machine, time.monotonic() + timeout)
    except h11.RemoteProtocolError:
        raise _refused(proxy, where, "it does not speak HTTP") from None
    if status == 407:
        raise _refused(proxy, where, "it wants other credentials (status 407)")
    if not 200 <= status < 300:
        raise _refused(proxy, where, f"status {status}", temporary=status in {502, 503, 504})
    if machine.trailing_data[0]:
        raise _refused(proxy, where, "it spoke before the registry could")


def _status(sock: socket.socket, machine: h11.Connection, deadline: float) -> int:
    while True:
        event = machine.next_event()
        if isinstance(event, h11.Response):
            return event.status_code
        if event is h11.NEED_DATA:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            machine.receive_data(_some(sock, deadline))
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("no response")


def _some(sock: socket.socket, deadline: float) -> bytes:
    if time.monotonic() >= deadline:
        raise TimeoutError
    return sock.recv(4096)


def _refused(proxy: Proxy, where: str, why: str, *, temporary: bool = False) -> RegistryUnreachable:
    return RegistryUnreachable(
        f"proxy {proxy.origin.authority} gives no tunnel to {where}: {why}", temporary=temporary
    )
