"""The container's terminal: a pair from the container's own devpts, the slave on ``/dev/console`` and as streams."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios

from ociworks._linux import path
from ociworks.runtime._init import devices, wire
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["open_terminal", "take_terminal"]

_TIOCSPTLCK: Final = 0x40045431
_TIOCGPTPEER: Final = 0x5441
_DEVPTS_MAGIC: Final = 0x1CD1
_PTMX: Final = os.makedev(5, 2)


def open_terminal(context: Context, width: int, height: int, owner: int, own_root: bool) -> None:  # noqa: FBT001
    """Open a terminal for the user ``owner`` and send its master to the caller; its group is the file system's choice.

    With ``own_root`` we are before the root switch and ``/dev/console`` is made too; otherwise (exec) ``/`` is
    already the container's root.
    """
    root = context.root if own_root else os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    master = path.open_in_root(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    try:
        if os.fstat(master).st_rdev != _PTMX or path.filesystem_type(master) != _DEVPTS_MAGIC:
            raise StepError("expected a terminal multiplexer on a devpts", "/dev/pts/ptmx", errno.ENODEV)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        if width and height:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.fchown(slave, owner, -1)
        if own_root:
            _console(context, slave)
        else:
            os.close(root)
        wire.send(context.sync, wire.CONSOLE, fds=[master])
    finally:
        os.close(master)
    context.terminal = slave


def _console(context: Context, slave: int) -> None:
    place = devices.open_dev(context, "/dev")
    try:
        devices.bind_node(place, "console", slave)
    finally:
        os.close(place)


def take_terminal(context: Context) -> None:
    """Make the terminal the controlling one of our session and the three standard streams."""
    fcntl.ioctl(context.terminal, termios.TIOCSCTTY, 0)
    for stream in (0, 1, 2):
        os.dup2(context.terminal, stream, inheritable=True)
    context.close("terminal")
