"""What passes between a client and ports inside a pod, whatever carries it, without I/O.

Over SPDY each connection to a port is a pair of streams with the same ``requestid`` and ``port``: ``error``, on which
only we write, and ``data``. Over WebSocket channels the ports are those of the request, each with two channels (data,
error), which begin with the number of the port in two bytes, the low one first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import attrs

from ociworks.cri.streaming.spdy import Data, Event, GoAway, Opened, SpdyConnection
from ociworks.cri.streaming.websocket import ChannelEvent, Channels, Closed, Ended, Tunnel
from ociworks.errors import SpecError
from ociworks.spec.numbers import parse_uint

__all__ = [
    "FORWARD_PROTOCOLS",
    "Arrived",
    "Dial",
    "Dropped",
    "ForwardMessage",
    "ForwardWire",
    "Parted",
    "SpdyForward",
    "TunnelForward",
    "WebSocketForward",
]

_REFUSED: Final = 3
"""The status of streams that we do not take."""
FORWARD_PROTOCOLS: Final = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")


class Dial(NamedTuple):
    """Connect to a port; ``key`` names the connection from now on."""

    key: int
    port: int


class Arrived(NamedTuple):
    """Bytes for a connection, the last ones when ``ended``."""

    key: int
    data: bytes
    ended: bool


class Dropped(NamedTuple):
    """The client gave a connection up."""

    key: int


class Parted(NamedTuple):
    """The client wants no more at all."""


ForwardMessage: TypeAlias = Dial | Arrived | Dropped | Parted


class ForwardWire(Protocol):
    """A client's side of forwarded ports, as bytes of its connection."""

    def receive(self, data: bytes) -> Sequence[ForwardMessage]:
        """What it said. StreamError for what is not the protocol."""

    def output(self, key: int, data: bytes) -> None:
        """Give it bytes of a connection."""

    def end(self, key: int, failure: str = "") -> None:
        """A connection has ended, or could not be made."""

    def close(self) -> None:
        """Say that this is the end."""

    def take(self) -> bytes:
        """What is to be sent, once."""


@attrs.define
class _Pair:
    port: int
    error: int = 0
    data: int = 0
    early: list[Arrived] = attrs.Factory(list)


class SpdyForward:
    """Over SPDY. The key of a connection is its data stream. Only ``ports`` may be had, when there are any."""

    def __init__(self, ports: Sequence[int] = ()) -> None:
        self._connection = SpdyConnection()
        self._ports = frozenset(ports)
        self._waiting: dict[str, _Pair] = {}
        """Halves, by request."""
        self._errors: dict[int, int] = {}
        """Data stream → its error stream."""

    def receive(self, data: bytes) -> list[ForwardMessage]:
        """What the client said. StreamError for what is not the protocol."""
        messages: list[ForwardMessage] = []
        for event in self._connection.receive(data):
            self._handle(event, messages)
        return messages

    def output(self, key: int, data: bytes) -> None:
        """Give the client bytes of a connection."""
        self._connection.send(key, data)

    def end(self, key: int, failure: str = "") -> None:
        """A connection has ended, or could not be made."""
        error = self._errors.pop(key, 0)
        if failure:
            self._connection.send(error, failure.encode())
        self._connection.finish(key)
        self._connection.finish(error)

    def close(self) -> None:
        """Say that this is the end."""
        self._connection.go_away()

    def take(self) -> bytes:
        """What is to be sent, once."""
        return self._connection.take()

    def _handle(self, event: Event, messages: list[ForwardMessage]) -> None:
        if isinstance(event, Opened):
            self._opened(event, messages)
        elif isinstance(event, GoAway):
            messages.append(Parted())
        elif isinstance(event, Data):
            self._arrived(event, messages)
        elif event.stream in self._errors:
            messages.append(Dropped(event.stream))
        else:
            self._forget_half(event.stream)

    def _opened(self, event: Opened, messages: list[ForwardMessage]) -> None:
        kind = event.headers.get("streamtype", "")
        port = self._port(event.headers.get("port", ""))
        if kind not in ("error", "data") or not port:
            self._connection.reset(event.stream, _REFUSED)
            return
        # Without an identifier the error stream is the one just before the data stream.
        request = event.headers.get("requestid", "") or f"#{event.stream - (2 if kind == 'data' else 0)}"
        pair = self._waiting.setdefault(request, _Pair(port))
        if getattr(pair, kind) or pair.port != port:
            self._connection.reset(event.stream, _REFUSED)
            return
        setattr(pair, kind, event.stream)
        self._connection.accept(event.stream)
        if event.ended and kind == "data":
            pair.early.append(Arrived(event.stream, b"", ended=True))
        if pair.error and pair.data:
            del self._waiting[request]
            self._errors[pair.data] = pair.error
            messages += [Dial(pair.data, port), *pair.early]

    def _port(self, text: str) -> int:
        """The number of a port; 0 for what is none, or not one of those that were asked for."""
        try:
            port = parse_uint(text, 0xFFFF)
        except SpecError:
            return 0
        return port if not self._ports or port in self._ports else 0

    def _arrived(self, event: Data, messages: list[ForwardMessage]) -> None:
        if event.stream in self._errors:
            messages.append(Arrived(*event))
            return
        # Nothing comes before the client has seen the answer to both halves; the end of an error stream may.
        for pair in self._waiting.values():
            if pair.data == event.stream and event.ended:
                pair.early.append(Arrived(*event))

    def _forget_half(self, stream: int) -> None:
        for request, pair in list(self._waiting.items()):
            if stream in (pair.error, pair.data):
                del self._waiting[request]
                for half in (pair.error, pair.data):
                    self._connection.reset(half, _REFUSED)
        for key, error in list(self._errors.items()):
            if error == stream:
                self._errors[key] = 0


class TunnelForward:
    """SPDY in the binary messages of a WebSocket, as kubectl does it."""

    def __init__(self, ports: Sequence[int] = ()) -> None:
        self._tunnel = Tunnel()
        self._inner = SpdyForward(ports)

    def receive(self, data: bytes) -> list[ForwardMessage]:
        """What the client said. StreamError for what is not the protocol."""
        messages = self._inner.receive(self._tunnel.receive(data))
        return [*messages, Parted()] if self._tunnel.ended else messages

    def output(self, key: int, data: bytes) -> None:
        """Give the client bytes of a connection."""
        self._inner.output(key, data)

    def end(self, key: int, failure: str = "") -> None:
        """A connection has ended, or could not be made."""
        self._inner.end(key, failure)

    def close(self) -> None:
        """Say that this is the end."""
        self._inner.close()

    def take(self) -> bytes:
        """What is to be sent, once."""
        return self._tunnel.wrap(self._inner.take())


class WebSocketForward:
    """Over channels; the key of a connection is its place in the request's ports. They are dialled at once."""

    def __init__(self, ports: Sequence[int], protocol: str) -> None:
        self._channels = Channels(protocol)
        self._begin: list[ForwardMessage] = [Dial(key, port) for key, port in enumerate(ports)]
        for channel in range(2 * len(ports)):
            self._channels.send(channel, ports[channel // 2].to_bytes(2, "little"))

    def receive(self, data: bytes) -> list[ForwardMessage]:
        """What the client said; first that it wants every port."""
        begin, self._begin = self._begin, []
        found = (self._message(event) for event in self._channels.receive(data))
        return [*begin, *(message for message in found if message is not None)]

    def output(self, key: int, data: bytes) -> None:
        """Give the client bytes of a connection."""
        self._channels.send(2 * key, data)

    def end(self, key: int, failure: str = "") -> None:
        """A connection has ended, or could not be made; a channel has no end of its own."""
        if failure:
            self._channels.send(2 * key + 1, failure.encode())

    def close(self) -> None:
        """Say that this is the end."""
        self._channels.close()

    def take(self) -> bytes:
        """What is to be sent, once."""
        return self._channels.take()

    def _message(self, event: ChannelEvent) -> ForwardMessage | None:
        if isinstance(event, Closed):
            return Parted()
        if isinstance(event, Ended) or event.channel % 2:
            return None
        return Arrived(event.channel // 2, event.data, ended=False)
