"""What every session has: one thread, one loop, one client, an end; everything else hangs on them."""

from __future__ import annotations

import select
import time
from contextlib import ExitStack
from typing import Final

from ociworks.cri.streaming._loop import CLOSED, READ, Loop
from ociworks.cri.streaming._peer import Gone, Peer

__all__ = ["Session"]

_OUTPUT: Final = 1 << 18
"""Bytes that wait for the client; beyond it nothing is read that would be sent to it."""
_BROKEN: Final = select.EPOLLERR | select.EPOLLHUP


class Session:
    """Runs in one thread, which owns the loop and whatever hangs on ``closing``; the connection is the server's.

    Subclasses say what the client's bytes mean (:meth:`received`) and whether there is room for more
    (:meth:`has_room`), and call :meth:`send`. Gone leaves it from anywhere.
    """

    def __init__(self, peer: Peer, idle: float) -> None:
        self.peer = peer
        self.closing = ExitStack()
        self.loop = self.closing.enter_context(Loop())
        self._idle = idle
        self._active = time.monotonic()

    def received(self, data: bytes) -> None:
        """The client sent something."""
        raise NotImplementedError

    def has_room(self) -> bool:
        """Whether what the client sends has somewhere to go."""
        return True

    def adjust(self) -> None:
        """Say anew what is waited for; called before each turn."""
        self.loop.watch(self.peer.fd, self.peer.interest(reading=self._reads()), self._on_client)

    def is_slow(self) -> bool:
        """Whether the client does not take what it gets: then nothing more is read for it."""
        return self.peer.pending >= _OUTPUT

    def turn(self, timeout: float | None = None) -> int:
        """Wait for something, at most so many seconds, and handle it; how many descriptors were ready.

        Raises Gone when nothing happened for too long.
        """
        self.adjust()
        left = self._active + self._idle - time.monotonic()
        ready = self.loop.turn(max(0.0, left if timeout is None else min(timeout, left)))
        if ready:
            self._active = time.monotonic()
        elif left <= 0:
            raise Gone
        return ready

    def send(self, data: bytes) -> None:
        """Send to the client."""
        if data:
            self.peer.write(data)

    def _reads(self) -> bool:
        return self.has_room() and not self.is_slow()

    def _on_client(self, events: int) -> None:
        self.peer.flush()
        if events & READ:
            data = self.peer.read()
            if data:
                self.received(data)
        elif events & (CLOSED | _BROKEN):
            raise Gone
