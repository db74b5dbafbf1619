"""SPDY/3.1 without I/O, the server's side, as clients of the Container Runtime Interface speak it.

::

    connection = SpdyConnection()
    for event in connection.receive(raw):          # Opened, Data, Reset, GoAway
        ...
    connection.accept(1); connection.send(1, b"hello"); connection.finish(1)
    socket.send(connection.take())

==========  ================================================================================================
frame       fields after the head (draft-mbelshe-httpbis-spdy-00, as 3.1 changed it)
==========  ================================================================================================
data        stream (31 bits), flags (8), length (24), then the bytes
control     1, version (15 bits) = 3, type (16), flags (8), length (24); by type:
1 SYN_STREAM    stream, associated stream, priority, slot, headers (compressed)
2 SYN_REPLY     stream, headers
3 RST_STREAM    stream, status
4 SETTINGS      count, then (flags, identifier), value for each
6 PING          number; odd ones are the client's, and come back
7 GOAWAY        last stream, status
8 HEADERS       stream, headers
9 WINDOW_UPDATE stream, bytes
==========  ================================================================================================

The windows of 3.1 are not used: these clients neither keep to them nor open them; TCP's take their place, and the
session stops reading when it has nowhere to put what it read. Nothing is allocated from a number in a frame: the bytes
of data frames are given on as they come, and a control frame is bounded before it is kept.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

import attrs

from ociworks.cri.streaming._dictionary import DICTIONARY
from ociworks.errors import StreamError
from ociworks.spec import FrozenDict

__all__ = ["Data", "Event", "GoAway", "Opened", "Reset", "SpdyConnection", "SpdyLimits"]

_VERSION: Final = 3
_FIN: Final = 1
_UNIDIRECTIONAL: Final = 2
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = (
    1, 2, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
REFUSED_STREAM: Final = 3
INTERNAL_ERROR: Final = 6
_HEAD: Final = struct.Struct("!II")
_NUMBER: Final = struct.Struct("!I")
_TWO: Final = struct.Struct("!II")
_FRAME: Final = 1 << 16
"""Bytes of data in one of our frames, at most; clients take up to 2²⁴ - 1."""
_MASK: Final = 0x7FFFFFFF


@attrs.frozen(kw_only=True)
class SpdyLimits:
    """What one connection may ask for."""

    control_frame: int = 1 << 14
    """Bytes."""
    headers: int = 1 << 14
    """Bytes of one header block, when it is inflated."""
    pairs: int = 64
    """Headers in one block."""
    streams: int = 512
    """Open at a time; further ones are refused."""


class Opened(NamedTuple):
    """The client opened a stream; :meth:`SpdyConnection.accept` or ``reset`` it."""

    stream: int
    headers: Mapping[str, str]
    ended: bool
    """The client will send nothing on it."""


class Data(NamedTuple):
    """Bytes on a stream; the last of them when ``ended``, which may come with none."""

    stream: int
    data: bytes
    ended: bool


class Reset(NamedTuple):
    """The client gave a stream up, in both directions."""

    stream: int


class GoAway(NamedTuple):
    """The client will open no further streams."""


Event: TypeAlias = Opened | Data | Reset | GoAway


@attrs.define
class _Stream:
    sends: bool = True
    """We may still send."""
    receives: bool = True


class SpdyConnection:
    """The state of one connection. After a StreamError it is of no use any more."""

    def __init__(self, limits: SpdyLimits | None = None) -> None:
        self._limits = limits or SpdyLimits()
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        self._input = bytearray()
        self._output = bytearray()
        self._data: tuple[int, int, bool] | None = None
        """The data frame that we are in: stream, bytes that are still to come, whether it is the last."""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> list[Event]:
        """What happened, in order. Raises StreamError for what is not SPDY/3.1 or beyond the limits."""
        self._input += data
        events: list[Event] = []
        while self._step(events):
            pass
        return events

    def take(self) -> bytes:
        """What is to be sent, once."""
        taken = bytes(self._output)
        self._output.clear()
        return taken

    def accept(self, stream: int) -> None:
        """Answer the client that its stream is there."""
        body = _NUMBER.pack(stream) + self._deflated({})
        self._control(_SYN_REPLY, body)

    def send(self, stream: int, data: bytes) -> None:
        """Send bytes on an open stream; nothing on one that is not open any more."""
        found = self._streams.get(stream)
        if found is None or not found.sends:
            return
        for start in range(0, len(data), _FRAME):
            self._frame(stream, data[start : start + _FRAME], 0)

    def finish(self, stream: int) -> None:
        """End our direction of a stream; again is harmless."""
        found = self._streams.get(stream)
        if found is None or not found.sends:
            return
        self._frame(stream, b"", _FIN)
        found.sends = False
        self._forget_closed(stream, found)

    def reset(self, stream: int, status: int = INTERNAL_ERROR) -> None:
        """Give a stream up; again is harmless."""
        if self._streams.pop(stream, None) is not None:
            self._control(_RST_STREAM, _TWO.pack(stream, status))

    def go_away(self, status: int = 0) -> None:
        """Say that this is the end."""
        self._control(_GOAWAY, _TWO.pack(self._last, status))

    # --- received -------------------------------------------------------------------------------------

    def _step(self, events: list[Event]) -> bool:
        """Take one frame, or one piece of a data frame; False when more bytes are needed."""
        if self._data is not None:
            return self._take_data(events)
        if len(self._input) < _HEAD.size:
            return False
        first, second = _HEAD.unpack_from(self._input)
        flags, length = second >> 24, second & 0xFFFFFF
        if not first >> 31:
            del self._input[: _HEAD.size]
            self._data = (self._known(first), length, bool(flags & _FIN))
            return True
        return self._take_control(first, flags, length, events)

    def _take_data(self, events: list[Event]) -> bool:
        stream, left, last = self._data or (0, 0, False)
        piece = bytes(self._input[:left])
        if left and not piece:
            return False
        del self._input[: len(piece)]
        left -= len(piece)
        self._data = (stream, left, last) if left else None
        found = self._streams.get(stream)
        ended = last and not left
        if found is not None and found.receives and (piece or ended):
            events.append(Data(stream, piece, ended))
            if ended:
                self._end_receiving(stream, found)
        return True

    def _take_control(self, first: int, flags: int, length: int, events: list[Event]) -> bool:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise StreamError(f"SPDY: expected version 3, got {version}")
        if length > self._limits.control_frame:
            raise StreamError(
                f"SPDY: expected control frames of at most {self._limits.control_frame} bytes, got {length}"
            )
        if len(self._input) < _HEAD.size + length:
            return False
        body = bytes(self._input[_HEAD.size : _HEAD.size + length])
        del self._input[: _HEAD.size + length]
        self._control_frame(kind, flags, body, events)
        return True

    def _control_frame(self, kind: int, flags: int, body: bytes, events: list[Event]) -> None:
        if kind == _SYN_STREAM:
            self._opened(flags, body, events)
        elif kind == _HEADERS:
            self._more_headers(flags, body, events)
        elif kind == _RST_STREAM:
            self._given_up(body, events)
        elif kind == _PING:
            if _fields(body, 4)[0] % 2:
                self._control(_PING, body)
        elif kind == _GOAWAY:
            _fields(body, 8)
            events.append(GoAway())
        else:
            self._without_effect(kind, body)

    def _opened(self, flags: int, body: bytes, events: list[Event]) -> None:
        if len(body) < 10:
            raise StreamError("SPDY: a SYN_STREAM frame is too short")
        stream = _NUMBER.unpack_from(body)[0] & _MASK
        headers = self._inflated(body[10:])
        if stream % 2 == 0 or stream <= self._last:
            raise StreamError(f"SPDY: expected an odd stream above {self._last}, got {stream}")
        self._last = stream
        if len(self._streams) >= self._limits.streams:
            self._control(_RST_STREAM, _TWO.pack(stream, REFUSED_STREAM))
            return
        ended = bool(flags & _FIN)
        self._streams[stream] = _Stream(sends=not flags & _UNIDIRECTIONAL, receives=not ended)
        events.append(Opened(stream, headers, ended))

    def _given_up(self, body: bytes, events: list[Event]) -> None:
        stream = self._known(_fields(body, 8)[0])
        if self._streams.pop(stream, None) is not None:
            events.append(Reset(stream))

    def _without_effect(self, kind: int, body: bytes) -> None:
        """Frames that change nothing here; those of unknown types are to be passed over."""
        if kind == _SYN_REPLY:
            raise StreamError("SPDY: a reply to a stream that was never opened")
        if kind == _WINDOW_UPDATE and (stream := _fields(body, 8)[0]):
            self._known(stream)
        if kind == _SETTINGS and (len(body) < 4 or len(body) != 4 + 8 * _NUMBER.unpack_from(body)[0]):
            raise StreamError("SPDY: a SETTINGS frame is of another size than it says")

    def _more_headers(self, flags: int, body: bytes, events: list[Event]) -> None:
        if len(body) < 4:
            raise StreamError("SPDY: a HEADERS frame is too short")
        stream = self._known(_NUMBER.unpack_from(body)[0] & _MASK)
        self._inflated(body[4:])
        found = self._streams.get(stream)
        if found is not None and flags & _FIN and found.receives:
            events.append(Data(stream, b"", True))  # noqa: FBT003 - a field
            self._end_receiving(stream, found)

    def _known(self, stream: int) -> int:
        """A stream that is or was there; frames of one that ended meanwhile may be on their way."""
        stream &= _MASK
        if stream == 0 or stream > self._last:
            raise StreamError(f"SPDY: stream {stream} was never opened")
        return stream

    def _end_receiving(self, stream: int, found: _Stream) -> None:
        found.receives = False
        self._forget_closed(stream, found)

    def _forget_closed(self, stream: int, found: _Stream) -> None:
        if not found.sends and not found.receives:
            self._streams.pop(stream, None)

    # --- headers --------------------------------------------------------------------------------------

    def _inflated(self, block: bytes) -> Mapping[str, str]:
        try:
            raw = self._inflate.decompress(block, self._limits.headers)
        except zlib.error:
            raise StreamError("SPDY: headers that cannot be inflated") from None
        if self._inflate.unconsumed_tail or self._inflate.eof or len(raw) >= self._limits.headers:
            raise StreamError(f"SPDY: expected at most {self._limits.headers} bytes of headers in a block")
        return _pairs(raw, self._limits.pairs)

    def _deflated(self, headers: Mapping[str, str]) -> bytes:
        texts = [text.encode() for pair in headers.items() for text in pair]
        raw = _NUMBER.pack(len(headers)) + b"".join(_NUMBER.pack(len(text)) + text for text in texts)
        return self._deflate.compress(raw) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    # --- sent -----------------------------------------------------------------------------------------

    def _control(self, kind: int, body: bytes) -> None:
        self._output += _HEAD.pack(1 << 31 | _VERSION << 16 | kind, len(body)) + body

    def _frame(self, stream: int, data: bytes, flags: int) -> None:
        self._output += _HEAD.pack(stream, flags << 24 | len(data)) + data


def _fields(body: bytes, size: int) -> tuple[int, ...]:
    if len(body) != size:
        raise StreamError(f"SPDY: expected a control frame of {size} bytes, got {len(body)}")
    return struct.unpack(f"!{size // 4}I", body)


def _pairs(raw: bytes, most: int) -> Mapping[str, str]:
    """A header block. StreamError unless it is exactly what it says."""
    texts, place = [], 4
    count = _NUMBER.unpack_from(raw)[0] if len(raw) >= 4 else most + 1
    if count > most:
        raise StreamError(f"SPDY: expected at most {most} headers")
    for _ in range(2 * count):
        end = place + 4
        size = _NUMBER.unpack_from(raw, place)[0] if end <= len(raw) else len(raw)
        if end + size > len(raw):
            raise StreamError("SPDY: a header ends outside its block")
        texts.append(raw[end : end + size].decode("latin-1"))
        place = end + size
    found = dict(zip(texts[::2], texts[1::2], strict=True))
    if place != len(raw) or len(found) != count:
        raise StreamError("SPDY: a header block with a duplicate or a rest")
    return FrozenDict({name.lower(): value for name, value in found.items()})
