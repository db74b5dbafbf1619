"""Whose directory it is: marked as a registry's, locked by the one server that has it, and tidied when that starts."""

from __future__ import annotations

import os
from typing import Final

from ociworks.errors import LayoutError, NotSupported, quote
from ociworks.image import _files
from ociworks.testing._registry import links

__all__ = ["NEW", "UPLOADS", "claimed", "clean"]

UPLOADS: Final = "uploads"
NEW: Final = ".new-"
"""What a file begins with that is being written."""

_MARKER: Final = "ociworks-registry"
_VERSION: Final = "1\n"


def claimed(root: int, path: str) -> int:
    """Mark and lock the directory for as long as the descriptor is open."""
    if not links.exists(root, _MARKER):
        strangers = sorted(set(os.listdir(root)) - {UPLOADS, "blobs", "repositories"})
        if strangers:
            raise LayoutError(
                f"{quote(path)}: expected a registry's directory or an empty one, found {quote(strangers[0])}"
            )
        links.put_text(root, _VERSION, _MARKER)
    if links.read_text(root, _MARKER) != _VERSION:
        raise LayoutError(f"{quote(path)}: {_MARKER}: expected version {_VERSION.strip()}")
    lock = links.open_file(root, _MARKER)
    if lock is None:
        raise LayoutError(f"{quote(path)}: {_MARKER} is gone")
    try:
        import fcntl
    except ImportError:
        os.close(lock)
        raise NotSupported("a registry on a directory needs flock(2), which this system lacks") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise LayoutError(f"{quote(path)}: another registry is serving this directory") from None
    return lock


def clean(root: int) -> None:
    """Remove what a server that was killed has left: half-written files, and content that nothing links to."""
    for name in links.listed(root, UPLOADS):
        if name.startswith(NEW):
            links.removed(root, UPLOADS, name)
    for algorithm in links.listed(root, "blobs"):
        with _files.directory(root, "blobs", algorithm) as folder:
            for name in os.listdir(folder):
                if os.stat(name, dir_fd=folder, follow_symlinks=False).st_nlink == 1:
                    os.unlink(name, dir_fd=folder)
