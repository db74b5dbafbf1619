"""Which protocol a connection speaks from now on, agreed with its client; the answer to its request is sent here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from wsproto.utilities import generate_accept_token

from ociworks.cri.streaming._http import ACCEPTED_VERSIONS, VERSIONS, Refused, Request, accepted
from ociworks.cri.streaming._peer import Peer
from ociworks.cri.streaming.command import CommandWire, SpdyCommand, Wanted
from ociworks.cri.streaming.forward import (
    FORWARD_PROTOCOLS,
    ForwardWire,
    SpdyForward,
    TunnelForward,
    WebSocketForward,
)
from ociworks.cri.streaming.websocket import COMMAND_PROTOCOLS, WebSocketCommand

__all__ = ["command_wire", "forward_wire"]

_SPDY_COMMANDS: Final = {
    "v4.channel.k8s.io": 4,
    "v3.channel.k8s.io": 3,
    "v2.channel.k8s.io": 2,
    "channel.k8s.io": 1,
}
_PORT_FORWARD: Final = "portforward.k8s.io"
_TUNNEL: Final = "SPDY/3.1+portforward.k8s.io"
_PORTS: Final = 64
"""Ports over channels: they are dialled at once."""


def command_wire(peer: Peer, request: Request, wanted: Wanted) -> CommandWire:
    """For exec and attach. Refused when both sides know nothing in common."""
    if request.upgrade == "spdy/3.1":
        name = _spdy(peer, request, tuple(_SPDY_COMMANDS))
        return SpdyCommand(wanted, _SPDY_COMMANDS.get(name, 1))
    return WebSocketCommand(wanted, _websocket(peer, request, tuple(COMMAND_PROTOCOLS)))


def forward_wire(peer: Peer, request: Request, ports: Sequence[int]) -> ForwardWire:
    """For port-forward; with ``ports``, only those. Refused when both sides know nothing in common."""
    if request.upgrade == "spdy/3.1":
        _spdy(peer, request, (_PORT_FORWARD,))
        return SpdyForward(ports)
    plain = FORWARD_PROTOCOLS if 0 < len(ports) <= _PORTS else ()
    name = _websocket(peer, request, (_TUNNEL, *plain))
    return TunnelForward(ports) if name == _TUNNEL else WebSocketForward(ports, name)


def _spdy(peer: Peer, request: Request, known: Sequence[str]) -> str:
    name = _first(request.values(VERSIONS.lower()), known, ACCEPTED_VERSIONS)
    peer.write(accepted([("Upgrade", "SPDY/3.1"), *([(VERSIONS, name)] if name else [])]))
    return name


def _websocket(peer: Peer, request: Request, known: Sequence[str]) -> str:
    """Switch to WebSocket (RFC 6455, 4.2.2)."""
    key = request.value("sec-websocket-key")
    if request.upgrade != "websocket" or not request.is_get or not _is_key(key):
        raise Refused(403)
    if request.value("sec-websocket-version") != "13":
        raise Refused(400, [("Sec-WebSocket-Version", "13")])
    offered = request.values("sec-websocket-protocol")
    if not offered and "" not in known:
        raise Refused(403)
    name = _first(offered, known, "Sec-WebSocket-Protocol")
    answer = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Accept", generate_accept_token(key.encode()).decode()),
    ]
    peer.write(accepted([*answer, *([("Sec-WebSocket-Protocol", name)] if name else [])]))
    return name


def _first(offered: Sequence[str], known: Sequence[str], header: str) -> str:
    """The first that was offered and is known; empty when none was offered. Refused when there is none."""
    if not offered:
        return ""
    for name in offered:
        if name in known:
            return name
    raise Refused(403, [(header, name) for name in known if name])


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.encode("ascii"), validate=True)) == 16
    except (binascii.Error, UnicodeEncodeError):
        return False
