"""One HTTP/1.1 connection, from the server's side: heads through h11, bodies straight between socket and buffer.

=======================  ======================================================================
a request's body         ends
=======================  ======================================================================
no framing header        at once
Content-Length: n        after n bytes
chunked                  with the last chunk and its trailers, which are ignored
both                     refused: two readers would see two bodies
another coding           refused
=======================  ======================================================================

``100 Continue`` is sent when somebody starts to read the body: a refused one is not asked for. What a refused request
has left unread is thrown away up to a bound, so that the client sees the answer; beyond it the connection ends.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import h11

from ociworks.errors import OciworksError, SpecError, quote
from ociworks.spec.numbers import parse_uint
from ociworks.testing._registry.limits import MAX_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociworks.testing._registry.limits import RegistryLimits
    from ociworks.testing._registry.messages import Response

__all__ = ["Disconnected", "Head", "Malformed", "RequestBody", "Wire"]

_DRAIN: Final = 1024 * 1024
_LINGER: Final = 64 * 1024 * 1024
_LINGER_TIME: Final = 5.0
_CHUNK_LINE: Final = 1024
_TRAILERS: Final = 8 * 1024
_SMALL: Final = 64 * 1024
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")


class Malformed(OciworksError):
    """What arrived is not HTTP/1.1; after an answer with this status the connection ends."""

    def __init__(self, what: str, status: int = 400) -> None:
        self.status = status
        super().__init__(what)


class Disconnected(OciworksError):
    """The client is gone, or was silent for too long."""


class Head(NamedTuple):
    """The head of a request."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    keep: bool
    """Whether the client wants the connection to stay open."""
    length: int | None
    """Of the body; None when it is chunked."""
    expects: bool
    """Whether the client waits for ``100 Continue``."""


class Wire:
    """A connection; for one thread."""

    def __init__(self, sock: socket.socket, limits: RegistryLimits) -> None:
        self._sock = sock
        self._limits = limits
        self._raw = _Raw(sock, limits.idle_timeout)
        self.reader = io.BufferedReader(self._raw, _SMALL)

    def head(self) -> Head | None:
        """The next request's head; None when the client closed. Raises `Malformed` and `Disconnected`."""
        try:
            self._raw.deadline = None
            first = self.reader.peek(1)[:1]
            if not first:
                return None
            if not first.isalpha() and first not in b"\r\n":
                raise Malformed("not HTTP")  # TLS, most likely: waiting for the end of a line could take long
            self._raw.deadline = time.monotonic() + self._limits.head_timeout
            block = self._block()
            self._raw.deadline = None
        except OSError as error:
            raise Disconnected(str(error)) from None
        return _parsed(block, self._limits.head)

    def _block(self) -> bytes:
        lines = bytearray()
        while not lines.endswith((b"\n\r\n", b"\n\n")):
            line = self.reader.readline(self._limits.head - len(lines) + 1)
            if not line:
                raise Disconnected("the connection ended inside a request's head")
            if lines or line.strip():  # an empty line before a request is forgiven (RFC 9112, 2.2)
                lines += line
            if len(lines) > self._limits.head:
                raise Malformed("the request's head is too large", 431)
        return bytes(lines)

    def proceed(self) -> None:
        """Tell the client that its body is wanted."""
        self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send(self, response: Response, *, body: bool = True, keep: bool = True) -> bool:
        """Send a response, without its content for HEAD; gives whether the connection can be used again."""
        has_body = body and response.status not in {204, 304}
        head = _head(response, keep=keep)
        length = response.sent if has_body else 0
        if length <= _SMALL:
            pieces = response.content.pieces(response.start, length) if length else ()
            data = b"".join(map(bytes, pieces))
            self._send(head + data)
            return keep and len(data) == length
        self._send(head)
        return self._content(response, length) and keep

    def _content(self, response: Response, length: int) -> bool:
        fd = response.content.fileno()
        if fd is not None and not isinstance(self._sock, ssl.SSLSocket):
            return self._file(fd, response.start, length) == length
        sent = 0
        for piece in response.content.pieces(response.start, length):
            self._send(piece)
            sent += len(piece)
        return sent == length

    def _file(self, fd: int, start: int, length: int) -> int:
        """Send a part of a file without bringing it here."""
        self._sock.settimeout(self._limits.idle_timeout)
        with open(fd, "rb", buffering=0, closefd=False) as file:
            try:
                return self._sock.sendfile(file, start, length)
            except OSError as error:
                raise Disconnected(str(error)) from None

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        left = memoryview(data)
        self._sock.settimeout(self._limits.idle_timeout)
        try:
            while left:
                left = left[self._sock.send(left) :]
        except OSError as error:
            raise Disconnected(str(error)) from None

    def linger(self) -> None:
        """End sending, and read on for a while: closing with bytes unread would take the answer away again."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            self._raw.deadline = time.monotonic() + _LINGER_TIME
            left, buffer = _LINGER, bytearray(_SMALL)
            while left > 0 and (count := self.reader.readinto1(buffer)):
                left -= count
        except OSError:
            return


class RequestBody:
    """The body of the request whose head was just read."""

    def __init__(self, wire: Wire, head: Head) -> None:
        self._wire = wire
        self._reader = wire.reader
        self.length = head.length
        self._left = head.length or 0
        self._chunked = head.length is None
        self._waiting = head.expects
        self.received = 0

    @property
    def unread(self) -> bool:
        """Whether the end was not reached."""
        return self._chunked or self._left > 0

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; 0 only at the end."""
        try:
            if self._waiting and self.unread:
                self._waiting = False
                self._wire.proceed()
            if not self._left and self._chunked:
                self._next_chunk()
            return self._take(buffer)
        except OSError as error:
            raise Disconnected(str(error)) from None

    def drain(self) -> bool:
        """Throw away a short rest; False when the connection cannot be used again."""
        if self._waiting:
            return not self.unread
        left, buffer = _DRAIN, memoryview(bytearray(_SMALL))
        while self.unread and left > 0:
            left -= self.readinto(buffer)
        return not self.unread

    def _take(self, buffer: memoryview) -> int:
        if not self._left:
            return 0
        count = self._reader.readinto1(buffer[: min(self._left, len(buffer))])
        if not count:
            raise Disconnected("the connection ended inside a body")
        self._left -= count
        self.received += count
        if self._chunked and not self._left and self._reader.read(2) != b"\r\n":
            raise Malformed("a chunk is longer than it says")
        return count

    def _next_chunk(self) -> None:
        match = _CHUNK_SIZE.fullmatch(self._reader.readline(_CHUNK_LINE))
        if match is None:
            raise Malformed("expected the size of a chunk")
        self._left = int(match[1], 16)  # trusted: digits by the pattern
        if not self._left:
            self._trailers()
            self._chunked = False

    def _trailers(self) -> None:
        left = _TRAILERS
        while (line := self._reader.readline(left)) != b"\r\n":
            left -= len(line)
            if not line.endswith(b"\n") or left <= 0:
                raise Malformed("expected the end of the trailers")


class _Raw(io.RawIOBase):
    """The receiving half of a socket, each read timed: by the idle time, and by a deadline when there is one."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self._sock = sock
        self._patience = patience
        self.deadline: float | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Receive once."""
        left = self._patience
        if self.deadline is not None:
            left = min(left, self.deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError("the client is too slow")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


def _parsed(block: bytes, maximum: int) -> Head:
    machine = h11.Connection(h11.SERVER, max_incomplete_event_size=maximum)
    try:
        machine.receive_data(block)
        event = machine.next_event()
    except h11.RemoteProtocolError as error:
        raise Malformed("malformed request", error.error_status_hint) from None
    if not isinstance(event, h11.Request):
        raise Malformed("malformed request")
    if event.http_version not in {b"1.0", b"1.1"}:
        raise Malformed("not a version that is spoken here", 505)
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
    length = _length(dict(headers), event.http_version)
    return Head(
        event.method.decode("latin-1"),
        event.target.decode("latin-1"),
        headers,
        machine.our_state is not h11.MUST_CLOSE and _wants_more(dict(headers), event.http_version),
        length,
        machine.they_are_waiting_for_100_continue,
    )


def _wants_more(headers: Mapping[str, str], version: bytes) -> bool:
    options = {each.strip().lower() for each in headers.get("connection", "").split(",")}
    return version == b"1.1" and "close" not in options


def _length(headers: Mapping[str, str], version: bytes) -> int | None:
    if "transfer-encoding" in headers:
        if "content-length" in headers or version != b"1.1":
            raise Malformed("a request has either a length or a transfer coding")
        return None
    try:
        return parse_uint(headers.get("content-length", "0"), MAX_LENGTH, "Content-Length")
    except SpecError as error:
        raise Malformed(str(error)) from None


def _head(response: Response, *, keep: bool) -> bytes:
    reason = HTTPStatus(response.status).phrase if response.status in set(HTTPStatus) else ""
    lines = [f"HTTP/1.1 {response.status} {reason}", f"Date: {formatdate(usegmt=True)}"]
    fields = dict(response.headers)
    if response.status not in {204, 304} and "Content-Length" not in fields:
        fields["Content-Length"] = str(response.sent)
    if not keep:
        fields["Connection"] = "close"
    for name, value in fields.items():
        if _FORBIDDEN.search(name + value):
            raise OciworksError(f"response header {quote(name)} with a control character: {quote(value)}")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
