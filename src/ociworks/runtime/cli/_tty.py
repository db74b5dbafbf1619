"""Terminals: the one at which somebody sits, and a socket that receives a container's (CL-03)."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
import termios
import tty
from typing import Final, Self

from ociworks.errors import ContainerError
from ociworks.runtime import Console

__all__ = ["Seat", "check_socket", "send_console"]

_PATIENCE: Final = 10.0
"""Seconds for the other side to take the terminal."""


def check_socket(path: str, *, terminal: bool, detach: bool) -> None:
    """Raise ValueError when a console socket and what will be done do not fit together, or it is no socket."""
    if not path:
        if terminal and detach:
            raise ValueError("cannot allocate tty if runc will detach without setting console socket")
        return
    if not (terminal and detach):
        raise ValueError("cannot use console socket if runc will not detach or allocate tty")
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise ValueError(f"console socket {path!a}: expected a socket")


def send_console(path: str, console: Console) -> None:
    """Hand the master to whoever listens at ``path``. Raises OSError when nobody takes it in time."""
    parent, base = os.path.split(os.path.abspath(path))
    place = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(_PATIENCE)
            channel.connect(f"/proc/self/fd/{place}/{base}")  # a long path is not cut
            name = os.ttyname(console.fileno()).encode() if _named(console) else b"/dev/ptmx"
            socket.send_fds(channel, [name], [console.fileno()])
    except TimeoutError:
        raise ContainerError(
            f"console socket {path!a}: nobody took the terminal within {_PATIENCE:.0f} s"
        ) from None
    finally:
        os.close(place)


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
        self._fd = next((fd for fd in (2, 1, 0) if os.isatty(fd)), -1)
        self._before: list[object] | None = None

    def __enter__(self) -> Self:
        _clear_onlcr(self._console.fileno())
        if self._fd < 0:
            raise ContainerError("a terminal was asked for, but this process has none; use --console-socket")
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

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        size = struct.unpack("HHHH", fcntl.ioctl(self._fd, termios.TIOCGWINSZ, bytes(8)))
        self._console.resize(size[1], size[0])


def _clear_onlcr(fd: int) -> None:
    """Relay what programs write as it is; the terminal at our end adds what it needs."""
    attributes = termios.tcgetattr(fd)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
