"""Progress that can be looked at: in a notebook, on a terminal, in a log.

::

    with progress.bars() as show:
        ociworks.pull(…, progress=show)

===================  =================================================================================
where                what
===================  =================================================================================
Jupyter              an output that changes in place (through IPython's display; nothing is installed)
a terminal           bars by rich, on standard error, where rich is installed (the extra ``cli``)
elsewhere            a line for each finished blob to the log of this module, level INFO
===================  =================================================================================

A callback made here may be used by several operations and threads at once.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import frozen

from ociworks.image.units import human_size

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from ociworks.image.progress import Progress, ProgressCallback

__all__ = ["Display", "bars", "in_notebook", "label", "on_terminal"]

_LOG = logging.getLogger(__name__)
_SHOWN: Final = 12
"""Bars in a notebook at most; the rest is counted."""
_SECONDS: Final = 0.1
"""Between two updates of a notebook."""


@contextmanager
def bars() -> Iterator[ProgressCallback]:
    """The callback that shows what happens inside the block, in the way that fits where this runs."""
    found = in_notebook() or (on_terminal() if sys.stderr.isatty() else None)
    if found is None:
        yield _to_log
        return
    with found as show:
        yield show


def label(event: Progress) -> str:
    """What is done to which blob, shortly."""
    return f"{event.what} {event.digest.algorithm}:{event.digest.encoded[:12]}"


def _to_log(event: Progress) -> None:
    if event.phase == "done":
        _LOG.info("%s: %d bytes", label(event), event.total)
    elif event.phase == "skip":
        _LOG.info("%s: already there", label(event))


# On a terminal


def on_terminal() -> AbstractContextManager[ProgressCallback] | None:
    """Bars by rich on standard error; None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as RichProgress
    except ImportError:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return _rich(RichProgress(*columns, console=Console(stderr=True), transient=True))


@contextmanager
def _rich(shown: RichProgress) -> Iterator[ProgressCallback]:
    with shown:
        yield _Painter(shown)


class _Painter:
    """One bar for each blob of each operation."""

    def __init__(self, shown: RichProgress) -> None:
        self._shown = shown
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Progress) -> None:
        key = (event.what, str(event.digest))
        with self._lock:
            if key not in self._tasks:
                self._tasks[key] = self._shown.add_task(label(event), total=event.total)
            done = event.total if event.phase in {"done", "skip"} else event.done
            self._shown.update(self._tasks[key], completed=done)


# In a notebook


class Display(Protocol):
    """An output of a notebook that can be written again."""

    def __call__(self, html: str, plain: str, /) -> None:
        """Show this instead of what was shown before."""


def in_notebook() -> AbstractContextManager[ProgressCallback] | None:
    """Bars in the output of the running cell; None outside of a notebook.

    A notebook is known by the kernel that IPython says it runs in. IPython is asked only where it is loaded already:
    nothing is ever imported for it.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is None:
        return None
    return _notebook(_Output(shell))


@contextmanager
def _notebook(display: Display, clock: Callable[[], float] = time.monotonic) -> Iterator[ProgressCallback]:
    painter = _Page(display, clock)
    try:
        yield painter
    finally:
        painter.show()


class _Output:
    """An output of the running cell, made at its first use, by IPython's display publisher."""

    def __init__(self, shell: Any) -> None:  # noqa: ANN401 - IPython's, which is no dependency
        self._publisher = shell.display_pub
        self._name = {"display_id": f"ociworks-{uuid.uuid4().hex}"}
        self._made = False

    def __call__(self, html: str, plain: str, /) -> None:
        data = {"text/html": html, "text/plain": plain}
        self._publisher.publish(data, transient=self._name, update=self._made)
        self._made = True


@frozen
class _Bar:
    label: str
    phase: str
    done: int
    total: int

    @property
    def ended(self) -> bool:
        return self.phase in {"done", "skip"}


class _Page:
    """What is shown of all blobs, written again at most ten times a second."""

    def __init__(self, display: Display, clock: Callable[[], float]) -> None:
        self._display = display
        self._clock = clock
        self._bars: dict[tuple[str, str], _Bar] = {}
        self._lock = threading.Lock()
        self._last = float("-inf")

    def __call__(self, event: Progress) -> None:
        with self._lock:
            done = event.total if event.phase in {"done", "skip"} else event.done
            bar = _Bar(label(event), event.phase, done, event.total)
            self._bars[event.what, str(event.digest)] = bar
            now = self._clock()
            if now - self._last >= _SECONDS:
                self._last = now
                self._write()

    def show(self) -> None:
        """Write the last state, so that what stays in the notebook is true."""
        with self._lock:
            if self._bars:
                self._write()

    def _write(self) -> None:
        running = [bar for bar in self._bars.values() if not bar.ended]
        said = self._summary()
        lines = "".join(_line(bar) for bar in running[:_SHOWN])
        self._display(f'<div style="font-size:13px">{lines}<div>{said}</div></div>', said)

    def _summary(self) -> str:
        every = self._bars.values()
        ended = sum(bar.ended for bar in every)
        there = sum(bar.phase == "skip" for bar in every)
        moved = sum(bar.done for bar in every if bar.phase != "skip")
        total = sum(bar.total for bar in every if bar.phase != "skip")
        tail = f", {there} of them already there" if there else ""
        return f"{ended} of {len(every)} blobs, {human_size(moved)} of {human_size(total)}{tail}"


def _line(bar: _Bar) -> str:
    """A bar; its parts are digests, numbers and the operation's name."""
    from ociworks.spec.notebook import text

    share = 100 * bar.done / bar.total if bar.total else 100
    return (
        '<div style="display:flex;gap:8px;align-items:center">'
        f"<code>{text(bar.label)}</code>"
        '<div style="width:240px;height:8px;background:rgba(127,127,127,.25)">'
        f'<div style="width:{min(share, 100):.1f}%;height:8px;background:#4c8dae"></div></div>'
        f"<span>{human_size(bar.done)} of {human_size(bar.total)}</span></div>"
    )
