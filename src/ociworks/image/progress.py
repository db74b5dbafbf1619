"""Progress: frozen events for a plain callback.

::

    def show(event: Progress) -> None:
        print(event.phase, event.digest, event.done, event.total)

    store.put(img, tag="app:1.4", progress=show)

Events of one blob come in order; those of different blobs are mixed, and come from worker threads, one at a time.
A callback that raises cancels the operation, and its exception reaches the caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from attrs import frozen

from ociworks.spec.digest import Digest

__all__ = ["Phase", "Progress", "ProgressCallback", "Reporter"]

Phase = Literal["start", "transfer", "skip", "done"]
"""``start`` and ``done`` frame a blob, ``transfer`` comes between; ``skip`` alone means that it was there already."""


@frozen(kw_only=True)
class Progress:
    """One thing that happened to one blob."""

    what: str
    """The operation: ``pull``, ``push``, ``unpack`` …"""
    phase: Phase
    digest: Digest
    done: int
    """Bytes so far; it may fall when a transfer has to start again."""
    total: int
    """Bytes that the descriptor promises."""


ProgressCallback = Callable[[Progress], None]


class Reporter:
    """Sends events to a callback, one at a time even when several threads report; without one it does nothing."""

    def __init__(self, callback: ProgressCallback | None, what: str) -> None:
        self._callback = callback
        self._what = what
        self._lock = threading.Lock()

    def report(self, phase: Phase, digest: Digest, done: int, total: int) -> None:
        """Send one event."""
        if self._callback is None:
            return
        event = Progress(what=self._what, phase=phase, digest=digest, done=done, total=total)
        with self._lock:
            self._callback(event)
