"""Sessions of port-forward: connections to ports inside a pod, all of one client in one loop."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs

from ociworks.cri.streaming._loop import READ, WRITE
from ociworks.cri.streaming._peer import Gone, Peer
from ociworks.cri.streaming._room import Room, Spare
from ociworks.cri.streaming._session import Session
from ociworks.cri.streaming.forward import Arrived, Dial, Dropped, ForwardMessage, ForwardWire, Parted
from ociworks.errors import OciworksError

__all__ = ["PortForwardSession"]

_CHUNK: Final = 1 << 16
_HALF: Final = 60.0
"""Seconds without a byte that a connection goes on whose client has said all, or that takes nothing of what waits.

While others are held up by it, what it says itself is no reason to wait longer.
"""


@attrs.define(eq=False)
class _Link:
    """One connection."""

    key: int
    sock: socket.socket
    input: bytearray = attrs.Factory(bytearray)
    ended: bool = False
    """The client will send no more."""
    active: float = attrs.Factory(time.monotonic)
    taken: float = attrs.Factory(time.monotonic)
    """When it last took something of what waits, or nothing waited."""

    def is_stalled(self, since: float, *, alone: bool) -> bool:
        """Whether nothing happened since then, though it owes something; or nothing was taken that others wait for."""
        owes = self.ended or bool(self.input)
        return (owes and self.active <= since) or (not alone and bool(self.input) and self.taken <= since)


class PortForwardSession(Session):
    """``dial`` connects to a port of the pod; it may take a moment, and raises OciworksError.

    What slow ports have not taken yet waits here, so that others go on; when there is no room left nothing more is read
    from the client. ``spare`` is what all sessions have for that together, beside the little of each.
    """

    def __init__(
        self,
        peer: Peer,
        wire: ForwardWire,
        idle: float,
        dial: Callable[[int], socket.socket],
        spare: Spare | None = None,
    ) -> None:
        super().__init__(peer, idle)
        self._wire = wire
        self._dial = dial
        self._links: dict[int, _Link] = {}
        self._waiting = 0
        """Bytes for all the links."""
        self._room = Room(spare or Spare())
        self.closing.callback(self._room.close)
        self.closing.callback(self._close_links)

    def run(self, early: bytes) -> None:
        """Until the client has enough. Raises Gone and StreamError; nothing of it is left then."""
        with self.closing:
            self.received(early)
            while True:
                self.turn(_HALF if self._links else None)
                self._end_stalled()

    def received(self, data: bytes) -> None:
        """Do what the client says."""
        messages = self._wire.receive(data)
        self.send(self._wire.take())
        for message in messages:
            self._handle(message)
        self.send(self._wire.take())

    def has_room(self) -> bool:
        """Whether what the ports have not taken may become more."""
        return self._room.is_left(self._waiting)

    def adjust(self) -> None:
        """Wait for whatever can go on."""
        super().adjust()
        reading = 0 if self.is_slow() else READ
        for link in self._links.values():
            events = reading | (WRITE if link.input else 0)
            if events:
                self.loop.watch(link.sock.fileno(), events, partial(self._on_link, link))
            else:  # a connection that broke would be reported again and again
                self.loop.ignore(link.sock.fileno())

    def _handle(self, message: ForwardMessage) -> None:
        if isinstance(message, Parted):
            self._wire.close()
            self.send(self._wire.take())
            raise Gone
        if isinstance(message, Dial):
            self._open(message)
            return
        link = self._links.get(message.key)
        if link is None:
            return
        if isinstance(message, Dropped):
            self._close(link)
        else:
            self._feed(link, message)

    def _open(self, dial: Dial) -> None:
        try:
            sock = self._dial(dial.port)
        except OciworksError as error:
            self._wire.end(dial.key, f"port {dial.port}: {error}")
            return
        sock.settimeout(0)
        self._links[dial.key] = _Link(dial.key, sock)

    def _feed(self, link: _Link, arrived: Arrived) -> None:
        if not link.ended:
            if not link.input:
                link.taken = time.monotonic()
            link.input += arrived.data
            self._waiting += len(arrived.data)
            link.ended = arrived.ended
            self._write(link)

    def _on_link(self, link: _Link, events: int) -> None:
        if events & WRITE:
            self._write(link)
        if link.key in self._links and events & ~WRITE and not self.is_slow():
            self._read(link)
        self.send(self._wire.take())

    def _write(self, link: _Link) -> None:
        try:
            if link.input:
                sent = link.sock.send(memoryview(link.input)[:_CHUNK])
                del link.input[:sent]
                self._waiting -= sent
                link.active = link.taken = time.monotonic()
            if link.ended and not link.input:
                link.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            self._read(link)  # what the pod said before it closed

    def _read(self, link: _Link) -> None:
        try:
            data = link.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            link.active = time.monotonic()
            self._wire.output(link.key, data)
        else:
            self._close(link)
            self._wire.end(link.key)

    def _end_stalled(self) -> None:
        since = time.monotonic() - _HALF
        alone = len(self._links) == 1 or self.has_room()
        for link in list(self._links.values()):
            if link.is_stalled(since, alone=alone):
                self._close(link)
                self._wire.end(link.key, "the connection made no progress")
        self.send(self._wire.take())

    def _close(self, link: _Link) -> None:
        self._waiting -= len(link.input)
        del self._links[link.key]
        self.loop.ignore(link.sock.fileno())
        link.sock.close()

    def _close_links(self) -> None:
        while self._links:
            with contextlib.suppress(OSError):
                self._links.popitem()[1].sock.close()
