r"""Output cut into log records. Only we frame: whatever a program writes stays inside the line that it is put in.

=======  =======================================================================================================
format   one record, ended by a line feed
=======  =======================================================================================================
cri      ``2026-01-31T12:00:00.123456789Z stdout F the line`` (kubernetes cri-api, container logs); ``P`` instead of
         ``F``: the line goes on in the next record of the stream
json     ``{"log":"the line\n","stream":"stdout","time":"…"}``; no line feed: the line goes on
=======  =======================================================================================================

A line is cut after ``LIMIT`` bytes. Bytes are kept as they are; JSON, which knows only text, holds those that are no
UTF-8 as lone surrogates (``b"\xff"`` as ``\udcff``), which Python's ``surrogateescape`` turns back.
"""

from __future__ import annotations

import time
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

__all__ = ["FORMATS", "LIMIT", "Clock", "Records"]

LIMIT: Final = 16384
"""Bytes of a program's output in one record."""


class Clock:
    """The time as RFC 3339 text in UTC with nanoseconds; the seconds' part is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        """The present time."""
        second, fraction = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = b"%04d-%02d-%02dT%02d:%02d:%02d" % time.gmtime(second)[:6]
        return b"%s.%09dZ" % (self._text, fraction)


def _cri(stream: bytes, now: bytes, pieces: list[bytes], tag: bytes) -> bytes:
    head = b"%s %s %s " % (now, stream, tag)
    return head + (b"\n" + head).join(pieces) + b"\n"


def _json(stream: bytes, now: bytes, pieces: list[bytes], tag: bytes) -> bytes:
    tail = b',"stream":"%s","time":"%s"}\n' % (stream, now)
    feed = "\n" if tag == b"F" else ""
    texts = (piece.decode("utf-8", "surrogateescape") + feed for piece in pieces)
    return b"".join(b'{"log":' + str(encode_basestring_ascii(text)).encode() + tail for text in texts)


FORMATS: Final[dict[str, Callable[[bytes, bytes, list[bytes], bytes], bytes]]] = {"cri": _cri, "json": _json}
"""By name: (stream, time, pieces, ``F`` or ``P``) → one record a piece."""


class Records:
    """Cuts one stream into records; what has no line feed yet waits for it."""

    def __init__(self, stream: bytes, form: str) -> None:
        self._stream = stream
        self._form = FORMATS[form]
        self._open = b""

    def feed(self, data: bytes, now: bytes) -> bytes:
        """The records that ``data`` completes."""
        *lines, self._open = (self._open + data).split(b"\n")
        found = self._lines(lines, now) if lines else b""
        if len(self._open) > LIMIT:
            pieces = _cut(self._open)
            self._open = pieces.pop()
            found += self._form(self._stream, now, pieces, b"P")
        return found

    def end(self, now: bytes) -> bytes:
        """The record of a last line without a line feed, if there is one."""
        rest, self._open = self._open, b""
        return self._form(self._stream, now, [rest], b"P") if rest else b""

    def _lines(self, lines: list[bytes], now: bytes) -> bytes:
        if len(max(lines, key=len)) <= LIMIT:
            return self._form(self._stream, now, lines, b"F")
        found = []
        for line in lines:
            *parts, last = _cut(line)
            if parts:
                found.append(self._form(self._stream, now, parts, b"P"))
            found.append(self._form(self._stream, now, [last], b"F"))
        return b"".join(found)


def _cut(line: bytes) -> list[bytes]:
    return [line[start : start + LIMIT] for start in range(0, len(line), LIMIT)] or [b""]
