"""Hashing beside reading and writing: on a machine with several cores a blob takes as long as the slower of the two.

The interpreter lock is released while a piece is hashed, and while bytes come from a socket or go to one.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, final

from ociworks.spec.digest import Hasher

if TYPE_CHECKING:
    from ociworks.spec import Digest

__all__ = ["WORTHWHILE", "BesideHasher"]

WORTHWHILE: Final = 4 * 1024 * 1024
"""Bytes of a blob from which a thread of its own pays."""

_WAITING: Final = 2
"""Pieces that may wait to be hashed. More cost time: memory that shrinks is given back, and fetched again."""


@final
class BesideHasher:
    """Computes the digest of pieces in a thread, which lives from the first piece to the digest or the end."""

    def __init__(self, algorithm: str) -> None:
        self._hasher = Hasher(algorithm)
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self.size = 0
        """Bytes taken so far."""

    def update(self, data: bytes) -> None:
        """Add a piece; waits while too many are waiting."""
        self.size += len(data)
        if self._thread is None:
            self._thread = threading.Thread(target=self._hash, name="ociworks-hash", daemon=True)
            self._thread.start()
        self._pieces.put(data)

    def digest(self) -> Digest:
        """The digest of everything; the thread has ended then."""
        self.close()
        return self._hasher.digest()

    def close(self) -> None:
        """End the thread, after what it was given; doing so twice is harmless."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._pieces.put(None)
            thread.join()

    def _hash(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hasher.update(piece)
