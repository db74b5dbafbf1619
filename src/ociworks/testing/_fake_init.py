"""The helper process of a `FakeKernel`: the real launcher and executor, with operations that only say that they ran.

What a caller can see of an init is real: the points where it waits, its gate, its terminal, its end. Each operation
comes with its journal, a file that grows by one byte per operation, and the failure that it is to have.
"""

from __future__ import annotations

import _signal
import os

from ociworks.runtime._init import detaching, execute, start, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ociworks.runtime._init.context import Context

__all__ = ["main"]

_REAL: Final = ("reach", "wait_start", "outlive")


def main(control: int, caller: int) -> None:
    """Serve as the launcher does."""
    for name, real in list(execute.OPERATIONS.items()):
        execute.OPERATIONS[name] = _simulated(name, real)
    detaching.main(control, caller)


def _simulated(name: str, real: Callable[..., None]) -> Callable[..., None]:
    act = real if name in _REAL else _ACTIONS.get(name, _nothing)

    def run(context: Context, journal: str, number: int, path: str, *arguments: Any) -> None:  # noqa: ANN401 - the executor's
        if number:
            raise OSError(number, os.strerror(number), path)
        _write(journal)
        act(context, *arguments)

    return run


def _write(journal: str) -> None:
    fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(fd, b".")
    finally:
        os.close(fd)


def _nothing(context: Context, *arguments: object) -> None:
    """What the kernel would have done."""


def _open_terminal(context: Context, *_: object) -> None:
    master, context.terminal = os.openpty()
    wire.send(context.sync, wire.CONSOLE, fds=[master])
    os.close(master)


def _take_terminal(context: Context) -> None:
    for stream in range(3):
        os.dup2(context.terminal, stream)


def _execute(context: Context, stdout: bytes, stderr: bytes, returncode: int, forever: bool) -> None:  # noqa: FBT001, ARG001 - plain values from the wire
    """Be the program: say what it says, then end or wait for a signal."""
    for number in start._ENDING:  # noqa: SLF001 - what the wait for the start has changed
        _signal.signal(number, _signal.SIG_DFL)
    os.closerange(3, 1024)
    for fd, text in ((1, stdout), (2, stderr)):
        while text:
            text = text[os.write(fd, text) :]  # noqa: PLW2901 - what is left
    while forever:
        _signal.pause()
    os._exit(returncode)


_ACTIONS: Final[dict[str, Callable[..., None]]] = {
    "open_terminal": _open_terminal,
    "take_terminal": _take_terminal,
    "execute": _execute,
}
