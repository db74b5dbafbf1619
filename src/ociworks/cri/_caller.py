"""Whoever waits for the answer to an RPC, so that long work ends when nobody waits any more."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Caller", "caller_gone"]

_current: ContextVar[Caller | None] = ContextVar("ociworks_cri_caller", default=None)


class Caller:
    """One caller. :meth:`leave` may come from any thread, at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = False
        self._tell: Callable[[], None] | None = None

    def leave(self) -> None:
        """The caller waits no more; again is harmless."""
        with self._lock:
            self._left = True
            if self._tell is not None:
                self._tell()

    def listen(self, tell: Callable[[], None] | None) -> None:
        """Call ``tell`` when the caller leaves, at once if that has happened; None: call nothing any more."""
        with self._lock:
            self._tell = tell
            if self._left and tell is not None:
                tell()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What this thread does in the block is done for this caller."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


@contextmanager
def caller_gone() -> Iterator[int]:
    """A descriptor that becomes readable when the caller of the RPC that we serve has gone."""
    caller = _current.get()
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        if caller is not None:
            caller.listen(lambda: os.eventfd_write(fd, 1))
        yield fd
    finally:
        if caller is not None:
            caller.listen(None)
        os.close(fd)
