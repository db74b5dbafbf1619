"""``ociworks run --tty``: this terminal and the container's, tied together.

::

    our terminal (raw) ──stdin──> Console.write ──> the container's terminal
                       <─stdout── Console.read  <──
    SIGWINCH ──> Console.resize
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ociworks.errors import ContainerTimeout, NotSupported

if TYPE_CHECKING:
    from ociworks.runtime import Runtime
    from ociworks.runtime.console import Console
    from ociworks.spec import Bundle

__all__ = ["pump", "run_on_terminal"]


def run_on_terminal(runtime: Runtime, bundle: Bundle, *, interactive: bool, timeout: float | None) -> int:
    """Run the bundle's process with its terminal shown on ours; its exit status as ``Container.wait`` has it.

    ``interactive`` passes what is typed. Raises :class:`~ociworks.errors.ContainerTimeout` after ``timeout`` seconds
    (the container is then removed), and what ``Runtime.create`` raises.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with runtime.create(f"run-{secrets.token_hex(8)}", bundle) as container:
        console = container.console
        if console is None:
            raise NotSupported("the container has no terminal: its configuration must set process.terminal")
        stdin = sys.stdin.fileno() if interactive else None
        with _raw(stdin), _following_size(console):
            container.start()
            if not pump(console, stdin, sys.stdout.fileno(), deadline):
                raise ContainerTimeout(
                    f"the container was still running after {timeout} s", timeout=timeout or 0.0
                )
        return container.wait(None if deadline is None else max(deadline - time.monotonic(), 0.1))


def pump(console: Console, stdin: int | None, stdout: int, deadline: float | None) -> bool:
    """Copy both ways until the container's terminal is closed; False when ``deadline`` (monotonic) came first."""
    with selectors.DefaultSelector() as selector:
        selector.register(console.fileno(), selectors.EVENT_READ)
        _register(selector, stdin)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            for key, _ in selector.select(left):
                if key.fd == stdin:
                    _type(selector, key.fd, console)
                elif not _show(console, stdout):
                    return True


def _register(selector: selectors.BaseSelector, stdin: int | None) -> None:
    if stdin is None:
        return
    try:
        selector.register(stdin, selectors.EVENT_READ)
    except PermissionError:  # a regular file or /dev/null: always ready, and epoll refuses it
        raise NotSupported("--interactive with --tty needs a terminal or a pipe as standard input") from None


def _type(selector: selectors.BaseSelector, stdin: int, console: Console) -> None:
    """Pass what was typed; at its end pass end-of-file once."""
    data = memoryview(os.read(stdin, 4096))
    if not data:
        selector.unregister(stdin)
        data = memoryview(b"\x04")
    while data:
        data = data[console.write(data.tobytes()) :]


def _show(console: Console, stdout: int) -> bool:
    """Show what the container wrote; False at the end."""
    data = memoryview(console.read())
    if not data:
        return False
    while data:
        data = data[os.write(stdout, data) :]
    return True


@contextmanager
def _raw(stdin: int | None) -> Iterator[None]:
    """Our terminal passes keys instead of acting on them; as it was at the end."""
    if stdin is None or not os.isatty(stdin):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(stdin)
    try:
        tty.setraw(stdin, termios.TCSADRAIN)  # what was typed before is not lost
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


@contextmanager
def _following_size(console: Console) -> Iterator[None]:
    """The container's terminal has the size of ours, also when that changes."""

    def follow(*_: object) -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        console.resize(size.columns, size.lines)

    if not sys.stdout.isatty():
        yield
        return
    before = signal.signal(signal.SIGWINCH, follow)
    try:
        follow()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
