"""Several records at a time: most of what a recovery does is to wait, for shims, runtimes and plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["for_each"]

AT_A_TIME: Final = 8
T = TypeVar("T")


def for_each(things: Iterable[T], work: Callable[[T], None]) -> None:
    """Do the work for each of them, in any order; what the first one raises, when all are done."""
    with ThreadPoolExecutor(AT_A_TIME, "ociworks-recovery") as pool:
        begun = [pool.submit(work, thing) for thing in things]
    for each in begun:
        each.result()
