"""The one HTTP request of a streaming connection: read within bounds, judged, and answered; h11 does the framing.

==========================================  =====================================================
what is wrong                               answer
==========================================  =====================================================
not HTTP, too long, a body                  400
another path or method, no such token       404
a browser's origin, a host that is not us   403
no upgrade, or to something else            403
no sub-protocol that both sides know        403, with those that we know
==========================================  =====================================================
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from typing import Final

import attrs
import h11

from ociworks.cri.streaming._peer import Gone, Peer

__all__ = ["Refused", "Request", "accepted", "read_request", "refusal"]

_HEAD: Final = 1 << 14
"""Bytes of a request's head."""
_PATIENCE: Final = 10.0
"""Seconds for a request to arrive."""
_TARGET: Final = re.compile(r"/(exec|attach|portforward)/([A-Za-z0-9_-]{1,128})", re.ASCII)
_METHODS: Final = (b"GET", b"POST")
_TOKENS: Final = re.compile(r"[^,\s]+", re.ASCII)
VERSIONS: Final = "X-Stream-Protocol-Version"
ACCEPTED_VERSIONS: Final = "X-Accepted-Stream-Protocol-Versions"


class Refused(Exception):
    """The request is answered with this status and nothing happens."""

    def __init__(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.status = status
        self.headers = headers
        super().__init__(status)


@attrs.frozen(kw_only=True)
class Request:
    """What was asked for."""

    kind: str
    """``exec``, ``attach`` or ``portforward``."""
    token: str
    is_get: bool
    upgrade: str
    """Lower case."""
    headers: Sequence[tuple[str, str]]
    """Names in lower case."""
    early: bytes
    """What came after the head."""

    def values(self, name: str) -> list[str]:
        """Every value of a header, those of a list one by one."""
        return [item for key, text in self.headers if key == name for item in _TOKENS.findall(text)]

    def value(self, name: str) -> str:
        """The only value of a header; empty when there is none. Refused when there are several."""
        found = [text for key, text in self.headers if key == name]
        if len(found) > 1:
            raise Refused(400)
        return found[0] if found else ""


def read_request(peer: Peer, hosts: Collection[str] | None) -> Request:
    """The request on a fresh connection, to one of ``hosts`` (None: to any). Raises Refused and Gone."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
    deadline = time.monotonic() + _PATIENCE
    try:
        head = _next(connection, peer, deadline)
        if not isinstance(head, h11.Request):
            raise Gone
        end = _next(connection, peer, deadline)
    except h11.RemoteProtocolError:
        raise Refused(400) from None
    if not isinstance(end, h11.EndOfMessage):
        raise Refused(400)
    return _judged(head, connection.trailing_data[0], hosts)


def _next(connection: h11.Connection, peer: Peer, deadline: float) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(peer.wait(deadline))
    return event


def _judged(head: h11.Request, early: bytes, hosts: Collection[str] | None) -> Request:
    headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers]
    target = _TARGET.fullmatch(head.target.decode("latin-1"))
    if target is None or head.method not in _METHODS:
        raise Refused(404)
    request = Request(
        kind=target[1],
        token=target[2],
        is_get=head.method == b"GET",
        upgrade=next((text.lower() for name, text in headers if name == "upgrade"), ""),
        headers=headers,
        early=early,
    )
    if "origin" in dict(headers) or (hosts is not None and _host(request.value("host")) not in hosts):
        raise Refused(403)
    if "upgrade" not in (item.lower() for item in request.values("connection")):
        raise Refused(403)
    return request


def _host(text: str) -> str:
    """The name in a Host header, without its port."""
    name, _, port = text.rpartition(":")
    return (name if name and port.isdecimal() else text).lower()


def accepted(headers: Sequence[tuple[str, str]]) -> bytes:
    """The answer after which both sides speak another protocol."""
    return _head("101 Switching Protocols", [("Connection", "Upgrade"), *headers])


def refusal(refused: Refused) -> bytes:
    """The answer after which the connection ends."""
    reason = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 503: "Service Unavailable"}[
        refused.status
    ]
    headers = [("Content-Length", "0"), ("Connection", "close"), *refused.headers]
    return _head(f"{refused.status} {reason}", headers)


def _head(status: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("ascii")
