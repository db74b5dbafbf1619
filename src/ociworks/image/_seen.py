"""What was verified once is not hashed again, as long as nothing has touched its file.

::

    <state>/seen/<algorithm>-<encoded>  ->  <inode>-<size>-<mtime>-<ctime>      a symbolic link, never followed

A record is the text of a link: made and read by one system call each, whole or not at all. The kernel moves the
change time with every write, rename and change of mode, and no program can set it; so a file with the same four numbers
holds the bytes that were hashed. A record that does not fit costs one more hashing and nothing else, so records need
no locks and are not made durable. They spare work when blobs are stored; whoever reads a blob verifies it anyway.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ociworks.errors import LayoutError
from ociworks.image import _files

if TYPE_CHECKING:
    from ociworks.spec import Digest

__all__ = ["identity", "is_recorded", "keep_only", "record"]

_SEEN = "seen"


def is_recorded(state: int, digest: Digest, fd: int) -> bool:
    """Whether this open file is the one whose bytes were found to have the digest."""
    try:
        with _files.directory(state, _SEEN) as seen:
            return os.readlink(_name(digest), dir_fd=seen) == identity(fd)
    except (OSError, LayoutError):
        return False


def record(state: int, digest: Digest, known: str) -> None:
    """Remember that the bytes of the file of this identity have the digest.

    A store that is not ours to write remembers nothing.
    """
    with contextlib.suppress(OSError, LayoutError), _files.directory(state, _SEEN, create=True) as seen:
        temporary = f"new-{secrets.token_hex(8)}"
        os.symlink(known, temporary, dir_fd=seen)
        os.rename(temporary, _name(digest), src_dir_fd=seen, dst_dir_fd=seen)


def keep_only(state: int, digests: Iterable[Digest]) -> None:
    """Remove the records of all other blobs, and what killed writers of records have left."""
    kept = {_name(digest) for digest in digests}
    with contextlib.suppress(OSError, LayoutError), _files.directory(state, _SEEN) as seen:
        for name in os.listdir(seen):
            if name not in kept:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=seen)


def _name(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}"


def identity(fd: int) -> str:
    """What changes whenever the file does."""
    found = os.fstat(fd)
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"
