"""Progress for people: bars by rich on a terminal, plain lines elsewhere, nothing when quiet. Always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from ociworks.image.progress import Progress, ProgressCallback

__all__ = ["progress"]


@contextmanager
def progress(*, quiet: bool) -> Iterator[ProgressCallback | None]:
    """The callback that shows what happens inside the block."""
    if quiet:
        yield None
        return
    bars = _bars() if sys.stderr.isatty() else None
    if bars is None:
        yield _line
        return
    with bars:
        yield _Painter(bars)


def _bars() -> Bars | None:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars
    except ImportError:  # the extra "cli" is not installed
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Bars(*columns, console=Console(stderr=True), transient=True)


class _Painter:
    """One bar for each blob of each operation; events arrive one at a time (image.progress)."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, event: Progress) -> None:
        key = (event.what, str(event.digest))
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(_label(event), total=event.total)
        done = event.total if event.phase in {"done", "skip"} else event.done
        self._bars.update(self._tasks[key], completed=done)


def _line(event: Progress) -> None:
    if event.phase == "done":
        print(f"{_label(event)}: {event.total} bytes", file=sys.stderr)
    elif event.phase == "skip":
        print(f"{_label(event)}: already there", file=sys.stderr)


def _label(event: Progress) -> str:
    algorithm, _, encoded = str(event.digest).partition(":")
    return f"{event.what} {algorithm}:{encoded[:12]}"
