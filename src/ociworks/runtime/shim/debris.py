"""Directories of containers that are not complete, not yet or not any more: found by name, whose they are by lock."""

from __future__ import annotations

import fcntl
import os

from ociworks._linux import path
from ociworks.runtime.shim.aside import ASIDE, set_aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["LOCKED", "discard", "sweep_debris"]

LOCKED: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def discard(directory: str) -> None:
    """Remove a state directory, which first loses its name: under that it is complete or not there."""
    try:
        path.remove_tree(set_aside(directory))
    except FileNotFoundError:
        return


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
