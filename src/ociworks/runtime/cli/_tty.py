"""Terminals: the one at which somebody sits, and a socket that receives a container's (CL-03)."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import tty
from typing import Self

from ociworks.errors import ContainerError
from ociworks.runtime import Console
from ociworks.runtime.cli import _sockets

__all__ = ["Seat", "check_socket", "send_console"]


def check_socket(path: str, *, terminal: bool, detach: bool) -> None:
    """Raise ValueError when a console socket and what will be done do not fit together, or it is no socket."""
    if not path:
        if terminal and detach:
            raise ValueError("cannot allocate tty if runc will detach without setting console socket")
        return
    if not (terminal and detach):
        raise ValueError("cannot use console socket if runc will not detach or allocate tty")
    _sockets.check_socket("console", path)


def send_console(path: str, console: Console) -> None:
    """Hand the master to whoever listens at ``path``. Raises ContainerError when nobody takes it in time, OSError."""
    name = os.ttyname(console.fileno()).encode() if _named(console) else b"/dev/ptmx"
    _sockets.hand_over("console", path, name, console.fileno())


def _named(console: Console) -> bool:
    try:
        os.ttyname(console.fileno())
    except OSError:
        return False
    return True


class Seat:
    """The terminal of this process, raw while somebody uses the container's; as it was at the end of the block."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._own = -1
        self._fd = next((fd for fd in (2, 1, 0) if os.isatty(fd)), -1)
        self._before: list[object] | None = None

    def __enter__(self) -> Self:
        _clear_onlcr(self._console.fileno())
        if self._fd < 0:
            self._fd = self._own = _controlling()
        self._before = list(termios.tcgetattr(self._fd))
        tty.setraw(self._fd)
        now = termios.tcgetattr(self._fd)
        now[1] |= termios.OPOST
        termios.tcsetattr(self._fd, termios.TCSANOW, now)
        self.resize()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)  # type: ignore[arg-type]
            self._before = None
        if self._own >= 0:
            os.close(self._own)
            self._fd = self._own = -1

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        size = struct.unpack("HHHH", fcntl.ioctl(self._fd, termios.TIOCGWINSZ, bytes(8)))
        self._console.resize(size[1], size[0])


def _controlling() -> int:
    """Our controlling terminal, for when every stream is redirected. Raises ContainerError when there is none."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        message = "a terminal was asked for, but this process has none; use --console-socket"
        raise ContainerError(message) from None


def _clear_onlcr(fd: int) -> None:
    """Relay what programs write as it is; the terminal at our end adds what it needs."""
    attributes = termios.tcgetattr(fd)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
