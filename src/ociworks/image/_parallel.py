"""Several blobs at a time: the first error stops the others, and nothing is left running."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["Cancelled", "each"]

T = TypeVar("T")


class Cancelled(Exception):  # no error: it never leaves this package
    """Raised inside a task when another one has failed."""


def each(items: Iterable[T], task: Callable[[T, Callable[[], None]], None], workers: int) -> None:
    """Run ``task(item, checkpoint)`` for every item in up to ``workers`` threads, and return when all are done.

    Tasks call ``checkpoint`` between pieces of work; it raises :class:`Cancelled` once another task has failed or
    the caller was interrupted. The first exception is raised here, after every thread has ended.
    """
    todo = tuple(items)
    stop = threading.Event()

    def checkpoint() -> None:
        if stop.is_set():
            raise Cancelled

    if len(todo) < 2 or workers < 2:
        for item in todo:
            task(item, checkpoint)
        return
    with ThreadPoolExecutor(min(workers, len(todo)), thread_name_prefix="ociworks-blob") as pool:
        futures = [pool.submit(_guarded, task, item, checkpoint, stop) for item in todo]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if not all(future.done() for future in futures):
                stop.set()
            for future in futures:
                future.cancel()
    errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
    for error in errors:
        if not isinstance(error, Cancelled):
            raise error


def _guarded(
    task: Callable[[T, Callable[[], None]], None],
    item: T,
    checkpoint: Callable[[], None],
    stop: threading.Event,
) -> None:
    checkpoint()
    try:
        task(item, checkpoint)
    except BaseException:
        stop.set()
        raise
