"""What containers have left, removed aside: a release need not wait until a large tree is gone.

A directory is renamed into the trash, which is one step, and emptied by a thread that lives while there is something to
do. What is left at the end of the server, the next one removes.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import threading
from collections import deque

from ociworks._linux.path import remove_tree_at

__all__ = ["Trash"]

_logger = logging.getLogger(__name__)


class Trash:
    """A directory whose content goes; safe for several threads."""

    def __init__(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._waiting = deque(os.listdir(self._fd))
        self._thread: threading.Thread | None = None
        self._closed = False
        self._begin()

    def throw(self, parent: int, name: str) -> None:
        """Remove ``name`` in the directory ``parent`` and all below it; nothing when it is not there."""
        aside = secrets.token_hex(16)
        try:
            os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=self._fd)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            remove_tree_at(parent, name, missing_ok=True)
            return
        with self._lock:
            self._waiting.append(aside)
        self._begin()

    def close(self) -> None:
        """Finish what is being removed and leave the rest to the next one; again is harmless."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and self._waiting and not self._closed:
                self._thread = threading.Thread(target=self._empty, name="ociworks-trash", daemon=True)
                self._thread.start()

    def _empty(self) -> None:
        while (name := self._next()) is not None:
            try:
                remove_tree_at(self._fd, name, missing_ok=True)
            except OSError as error:
                _logger.warning("%s is left in the trash: %s", name, error)

    def _next(self) -> str | None:
        """The next name; None, and no thread any more, when nothing is left."""
        with self._lock:
            if self._waiting and not self._closed:
                return self._waiting.popleft()
            self._thread = None
            return None
