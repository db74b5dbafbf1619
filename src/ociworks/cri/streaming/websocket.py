"""WebSocket (RFC 6455) as clients of Kubernetes use it, the server's side, without I/O; wsproto does the framing.

===============================  ========  ===================  ==============================================
sub-protocol                     messages  channel              to the client at the end
===============================  ========  ===================  ==============================================
(none), ``channel.k8s.io``       binary    the first byte       words, only of failures
``base64.channel.k8s.io``        text      the first digit      the same; all data in Base64
``v2``, ``v3.channel.k8s.io``    binary    the first byte       the same
``v4.channel.k8s.io``            binary    the first byte       a ``metav1.Status``
``v4.base64.channel.k8s.io``     text      the first digit      the same, in Base64
``v5.channel.k8s.io``            binary    the first byte       as v4; channel 255 closes the one that it names
===============================  ========  ===================  ==============================================

Compression is not offered, so a message is as large as it is sent; pieces are given on as they come.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, Literal, NamedTuple

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from ociworks.cri.streaming._outcome import Outcome
from ociworks.cri.streaming._sizes import Sizes
from ociworks.cri.streaming.command import Input, InputEnded, Left, Message, Wanted

__all__ = ["COMMAND_PROTOCOLS", "Channels", "Closed", "Ended", "Piece", "Tunnel", "WebSocketCommand"]

_CLOSE_CHANNEL: Final = 255
_TEXT: Final = 1 << 20
"""Characters of a text message, which is kept until it is whole."""
_UNSUPPORTED, _INVALID, _TOO_BIG = 1003, 1007, 1009

COMMAND_PROTOCOLS: Final = {
    "v5.channel.k8s.io": 5,
    "v4.channel.k8s.io": 4,
    "v4.base64.channel.k8s.io": 4,
    "v3.channel.k8s.io": 3,
    "v2.channel.k8s.io": 2,
    "channel.k8s.io": 1,
    "base64.channel.k8s.io": 1,
    "": 1,
}
"""Sub-protocol → version of the remote command protocol."""
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)


class Piece(NamedTuple):
    """Bytes on a channel."""

    channel: int
    data: bytes


class Ended(NamedTuple):
    """The client closed one channel."""

    channel: int


class Closed(NamedTuple):
    """The client closed the connection, or breaks the protocol (it was told)."""


ChannelEvent = Piece | Ended | Closed


class _Socket:
    """Messages in pieces, control frames answered."""

    def __init__(self) -> None:
        self._connection = Connection(ConnectionType.SERVER, extensions=[])
        self._output = bytearray()
        self._over = False

    def receive(self, data: bytes) -> list[BytesMessage | TextMessage | None]:
        """Pieces of messages; None at the end of the connection."""
        if self._over or not data:
            return []
        pieces: list[BytesMessage | TextMessage | None] = []
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                self._handle(event, pieces)
                if self._over:
                    break
        except (RemoteProtocolError, LocalProtocolError, UnicodeDecodeError):
            self.close(_INVALID)
            pieces.append(None)
        return pieces

    def send(self, event: Event) -> None:
        """Send; nothing after the end."""
        if not self._over:
            self._output += self._connection.send(event)

    def close(self, code: int) -> None:
        """Say that this is the end; again is harmless."""
        if not self._over:
            self.send(CloseConnection(code=code))
            self._over = True

    def take(self) -> bytes:
        """What is to be sent, once."""
        taken = bytes(self._output)
        self._output.clear()
        return taken

    def _handle(self, event: Event, pieces: list[BytesMessage | TextMessage | None]) -> None:
        if isinstance(event, BytesMessage | TextMessage):
            pieces.append(event)
        elif isinstance(event, Ping):
            self.send(event.response())
        elif isinstance(event, CloseConnection):
            self.close(event.code if 1000 <= event.code < 1004 or 3000 <= event.code < 5000 else 1002)
            pieces.append(None)


class Channels:
    """Several streams in one connection: each message begins with the number of its channel."""

    def __init__(self, protocol: str) -> None:
        self._socket = _Socket()
        self._is_text = "base64" in protocol
        self._closes = protocol.startswith("v5.")
        self._channel = -1
        """That of the message that we are in."""
        self._text: list[str] = []

    def receive(self, data: bytes) -> list[ChannelEvent]:
        """What the client said."""
        events: list[ChannelEvent] = []
        for piece in self._socket.receive(data):
            if piece is None:
                events.append(Closed())
            elif isinstance(piece, TextMessage) != self._is_text:
                self._refuse(_UNSUPPORTED, events)
            elif isinstance(piece, TextMessage):
                self._add_text(piece, events)
            else:
                self._add(bytes(piece.data), ended=piece.message_finished, events=events)
        return events

    def send(self, channel: int, data: bytes) -> None:
        """Send bytes on a channel, which may be none."""
        if self._is_text:
            text = f"{channel}{base64.b64encode(data).decode('ascii')}"
            self._socket.send(TextMessage(data=text))
        else:
            self._socket.send(BytesMessage(data=bytes([channel]) + data))

    def close(self, code: int = 1000) -> None:
        """End the connection; again is harmless."""
        self._socket.close(code)

    def take(self) -> bytes:
        """What is to be sent, once."""
        return self._socket.take()

    def _add(self, data: bytes, *, ended: bool, events: list[ChannelEvent]) -> None:
        if self._channel < 0 and data:
            self._channel, data = data[0], data[1:]
        if data and self._channel == _CLOSE_CHANNEL and self._closes:
            events.append(Ended(data[0]))
        elif data and self._channel >= 0:
            events.append(Piece(self._channel, data))
        if ended:
            self._channel = -1

    def _add_text(self, piece: TextMessage, events: list[ChannelEvent]) -> None:
        self._text.append(piece.data)
        if sum(map(len, self._text)) > _TEXT:
            self._refuse(_TOO_BIG, events)
        elif piece.message_finished:
            text = "".join(self._text)
            self._text.clear()
            try:
                data = base64.b64decode(text[1:].encode("ascii"), validate=True)
            except (binascii.Error, UnicodeEncodeError):
                self._refuse(_INVALID, events)
                return
            if text and text[0] in "0123456789" and data:
                events.append(Piece(ord(text[0]) - ord("0"), data))

    def _refuse(self, code: int, events: list[ChannelEvent]) -> None:
        self._socket.close(code)
        self._text.clear()
        events.append(Closed())


class WebSocketCommand:
    """A program's streams over channels: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize."""

    def __init__(self, wanted: Wanted, protocol: str) -> None:
        self._channels = Channels(protocol)
        self._version = COMMAND_PROTOCOLS[protocol]
        self._sizes = Sizes()
        self._wanted = wanted
        # A message without bytes tells clients that read before they write that the other side is there.
        self._channels.send(_STDOUT if wanted.stdout else _STDERR if wanted.stderr else _ERROR, b"")

    @property
    def ready(self) -> bool:
        """Whether every stream is there: from the beginning."""
        return True

    def receive(self, data: bytes) -> list[Message]:
        """What the client said."""
        messages = (self._message(event) for event in self._channels.receive(data))
        return [message for message in messages if message is not None]

    def output(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Give the client output; none where it did not want that."""
        if stream == "stdout" and self._wanted.stdout:
            self._channels.send(_STDOUT, data)
        elif stream == "stderr" and self._wanted.stderr:
            self._channels.send(_STDERR, data)

    def finish(self, outcome: Outcome) -> None:
        """Tell the client the end."""
        text = outcome.encoded(self._version)
        if text:
            self._channels.send(_ERROR, text)
        self._channels.close()

    def take(self) -> bytes:
        """What is to be sent, once."""
        return self._channels.take()

    def _message(self, event: ChannelEvent) -> Message | None:
        if isinstance(event, Closed):
            return Left()
        if isinstance(event, Ended):
            return InputEnded() if event.channel == _STDIN else None
        if event.channel == _STDIN and self._wanted.stdin:
            return Input(event.data)
        if event.channel == _RESIZE and self._wanted.tty:
            return self._sizes.receive(event.data)
        return None


class Tunnel:
    """Bytes of another protocol in binary messages, whose borders mean nothing."""

    def __init__(self) -> None:
        self._socket = _Socket()
        self.ended = False
        """Whether the client closed it."""

    def receive(self, data: bytes) -> bytes:
        """The bytes inside."""
        found = bytearray()
        for piece in self._socket.receive(data):
            if isinstance(piece, BytesMessage):
                found += piece.data
            else:
                self._socket.close(_UNSUPPORTED)
                self.ended = True
        return bytes(found)

    def wrap(self, data: bytes) -> bytes:
        """These bytes as a message, after what else is to be sent; nothing for nothing."""
        if data:
            self._socket.send(BytesMessage(data=data))
        return self._socket.take()

    def close(self) -> bytes:
        """The end of the connection."""
        self._socket.close(1000)
        return self._socket.take()
