"""What makers of containers left aside when they were killed: found by its name, known by its lock."""

from __future__ import annotations

import fcntl
import os

from ociworks._linux import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["ASIDE", "LOCKED", "sweep_debris"]

ASIDE: Final = "@new-"
"""How the name of a directory begins that is not complete."""
LOCKED: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sweep_debris(root: str) -> None:
    """Remove what nobody is making any more."""
    try:
        names = [name for name in os.listdir(root) if name.startswith(ASIDE)]
    except FileNotFoundError:
        return
    for name in names:
        try:
            lock = os.open(f"{root}/{name}", LOCKED)
        except OSError:
            continue  # it is complete now, or gone
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.remove_tree(f"{root}/{name}")
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
