"""An upload into a file: what arrived is on disk, so that a client and even another server can go on from there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Protocol

from ociworks.image import _files
from ociworks.spec import Digest
from ociworks.spec.digest import BytesLike
from ociworks.testing._registry.hashing import RunningDigest
from ociworks.testing._registry.links import FileContent

__all__ = ["DirectoryUpload", "Publishes", "Session"]


class Publishes(Protocol):
    """What becomes of an upload."""

    def publish(self, name: str, identifier: str, digest: Digest, size: int, /) -> None:
        """Make a finished upload a blob of this repository."""

    def forget(self, identifier: str, /) -> None:
        """End an upload."""


class Session:
    """What the server remembers of an upload: who writes, and the digest so far."""

    def __init__(self, digest: RunningDigest) -> None:
        self.hold = threading.Lock()
        self.digest = digest


class DirectoryUpload:
    """An upload, held; the descriptor stays the caller's."""

    def __init__(self, store: Publishes, name: str, identifier: str, fd: int, session: Session) -> None:
        self._store = store
        self._name = name
        self.identifier = identifier
        self._fd = fd
        self._session = session
        self.size = os.fstat(fd).st_size
        if session.digest.size != self.size:  # a write that failed half way, or another server's bytes
            session.digest = RunningDigest(complete=False)

    def expect(self, algorithm: str) -> None:
        """Hash with this algorithm."""
        self._session.digest.expect(algorithm)

    def write(self, data: memoryview) -> None:
        """Add bytes."""
        _files.write_all(self._fd, data)
        self._session.digest.update(data)
        self.size += len(data)

    def finish(self, digest: Digest) -> bool:
        """Make it a blob."""
        try:
            if not self._session.digest.agrees(digest, self.size, self._again):
                return False
            os.fsync(self._fd)
            self._store.publish(self._name, self.identifier, digest, self.size)
            return True
        finally:
            self._store.forget(self.identifier)

    def cancel(self) -> None:
        """Forget it."""
        self._store.forget(self.identifier)

    def _again(self) -> Iterable[BytesLike]:
        content = FileContent(os.dup(self._fd))
        try:
            yield from content.pieces(0, self.size)
        finally:
            content.close()
