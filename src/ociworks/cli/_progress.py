"""Progress for people: bars by rich on a terminal, plain lines elsewhere, nothing when quiet. Always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ociworks.image.bars import label, on_terminal

if TYPE_CHECKING:
    from ociworks.image.progress import Progress, ProgressCallback

__all__ = ["progress"]


@contextmanager
def progress(*, quiet: bool) -> Iterator[ProgressCallback | None]:
    """The callback that shows what happens inside the block."""
    if quiet:
        yield None
        return
    bars = on_terminal() if sys.stderr.isatty() else None
    if bars is None:
        yield _line
        return
    with bars as show:
        yield show


def _line(event: Progress) -> None:
    if event.phase == "done":
        print(f"{label(event)}: {event.total} bytes", file=sys.stderr)
    elif event.phase == "skip":
        print(f"{label(event)}: already there", file=sys.stderr)
