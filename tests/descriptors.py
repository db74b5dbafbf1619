"""What this process has open, and what of that a test changed."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

__all__ = ["changed_since", "descriptors"]

_POLLERS = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]")


def descriptors() -> set[str]:
    """Each with what it is open on: the same number on something else is a change, too.

    What earlier tests left to the garbage collector goes first: it would be missed when it goes in the middle.
    """
    gc.collect()
    found: set[str] = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one of the listing itself
            found.add(f"{number} -> {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def changed_since(before: set[str]) -> list[str]:
    """What is open that was not, and what was open that is not any more.

    The engine of a gRPC server or channel that an earlier test ended closes its pollers on a thread of its own, at any
    time: those alone may be missing.
    """
    after = descriptors()
    gone = before - after
    if "grpc" in sys.modules:
        gone = {item for item in gone if not item.endswith(_POLLERS)}
    return sorted(after - before | gone)
