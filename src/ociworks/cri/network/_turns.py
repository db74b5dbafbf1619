"""Who goes when: attachments of different pods side by side, garbage collection alone (CNI SPEC.md, section 3)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Turns"]


class Turns:
    """Any number of users share; one alone waits until they are gone, and keeps new ones out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = 0
        self._held = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Beside others of this kind."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """With nobody else."""
        with self._changed:
            self._alone += 1
            self._changed.wait_for(lambda: not self._sharing and not self._held)
            self._held = True
        try:
            yield
        finally:
            with self._changed:
                self._alone -= 1
                self._held = False
                self._changed.notify_all()
