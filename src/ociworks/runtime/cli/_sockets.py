"""Sockets of callers that receive descriptors: a terminal's master, a pidfd (CL-03)."""

from __future__ import annotations

import os
import socket
import stat
from typing import Final

from ociworks.errors import ContainerError

__all__ = ["check_socket", "hand_over", "send_pidfd"]

_PATIENCE: Final = 10.0
"""Seconds for the other side to take what is sent."""


def check_socket(what: str, path: str) -> None:
    """Raise ValueError when there is something else at ``path``, and OSError when there is nothing; none is fine."""
    if path and not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise ValueError(f"{what} socket {path!a}: expected a socket")


def hand_over(what: str, path: str, name: bytes, fd: int) -> None:
    """Send a descriptor with its name to whoever listens. Raises ContainerError when nobody takes it, OSError."""
    parent, base = os.path.split(os.path.abspath(path))
    place = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(_PATIENCE)
            channel.connect(f"/proc/self/fd/{place}/{base}")  # a long path is not cut
            socket.send_fds(channel, [name], [fd])
    except TimeoutError:
        raise ContainerError(
            f"{what} socket {path!a}: nobody took the {what} within {_PATIENCE:.0f} s"
        ) from None
    finally:
        os.close(place)


def send_pidfd(path: str, pid: int) -> None:
    """Send a pidfd of a process that cannot have been waited for yet; nothing without a path."""
    if not path:
        return
    pidfd = os.pidfd_open(pid)
    try:
        hand_over("pidfd", path, b"pidfd", pidfd)
    finally:
        os.close(pidfd)
