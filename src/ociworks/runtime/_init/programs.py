"""Other runtimes' programs, as a single-threaded helper starts them and reads what they leave."""

from __future__ import annotations

import _signal
import os

from ociworks.runtime import _cgroupkill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

__all__ = ["DEFAULT", "children", "read_pid", "start"]

DEFAULT: Final = [_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGPIPE, _signal.SIGCHLD]
"""The signals that a helper handles or ignores, and a program is to have as a new process has them."""
_MAX_PID_FILE: Final = 32


def start(argv: Sequence[str], env: Mapping[str, str], fds: Sequence[int]) -> int:
    """Start a program with these descriptors as 0, 1, 2 and so on, and the signals as a new process has them."""
    high = [os.dup(fd) for fd in fds]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(high)]
        return os.posix_spawn(
            argv[0],
            list(argv),
            env,
            file_actions=actions,
            setsigmask=(),
            setsigdef=DEFAULT,
        )
    finally:
        for fd in high:
            os.close(fd)


def children() -> list[int]:
    """The pids of our children, also those that have ended: nobody else reaps them."""
    text = _cgroupkill.read_text(f"/proc/self/task/{os.getpid()}/children")
    return [int(word) for word in text.split()]  # trusted: the kernel's


def read_pid(name: str) -> int:
    """The pid in a file that a runtime wrote; 0 when there is none."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        text = os.read(fd, _MAX_PID_FILE).strip()
    finally:
        os.close(fd)
    return int(text) if text.isdigit() else 0  # trusted: digits only
