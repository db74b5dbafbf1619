"""Progress: frozen events for a plain callback.

::

    def show(event: Progress) -> None:
        print(event.phase, event.digest, event.done, event.total)

    store.put(img, tag="app:1.4", progress=show)

Events of one blob come in order; those of different blobs are mixed, and come from worker threads, one at a time.
A callback that raises cancels the operation, and its exception reaches the caller. One that draws bars, in a notebook
too, is given by :func:`bars`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from ociworks.spec.digest import Digest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["Phase", "Progress", "ProgressCallback", "Reporter", "bars"]

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


def bars() -> AbstractContextManager[ProgressCallback]:
    """A callback that shows what happens inside the block: bars in Jupyter or on a terminal, else lines in the log.

    See :mod:`ociworks.image.bars`, which is loaded when this is called.
    """
    from ociworks.image.bars import bars as found

    return found()
