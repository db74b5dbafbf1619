"""What ``/proc`` says of a container's processes: open files, sockets, limits. One that ends meanwhile has none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from attrs import frozen

__all__ = ["OpenFiles", "open_files", "soft_limit"]

_UNLIMITED: Final = (1 << 64) - 1


@frozen(kw_only=True)
class OpenFiles:
    """How many, in all processes together."""

    files: int = 0
    sockets: int = 0


def open_files(pids: Iterable[int]) -> OpenFiles:
    """Descriptors of these processes, and how many of them are sockets."""
    files = sockets = 0
    for pid in pids:
        try:
            directory = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            names = os.listdir(directory)
            files += len(names)
            sockets += sum(_is_socket(directory, name) for name in names)
        except OSError:
            continue
        finally:
            os.close(directory)
    return OpenFiles(files=files, sockets=sockets)


def soft_limit(pid: int, words: str = "Max open files") -> int | None:
    """A soft limit in ``/proc/PID/limits``; the greatest number for none, None when the process has ended."""
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as stream:
            lines = [line for line in stream if line.startswith(words)]
    except OSError:
        return None
    value = lines[0][len(words) :].split()[0] if lines else "unlimited"
    return _UNLIMITED if value == "unlimited" else int(value)  # trusted: the kernel wrote it


def _is_socket(directory: int, name: str) -> bool:
    try:
        return os.readlink(name, dir_fd=directory).startswith("socket:")
    except OSError:
        return False
