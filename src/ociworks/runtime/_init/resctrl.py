"""Makes a container's resource control groups, in the launcher; the plan is in ``plan.resctrl``."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["make", "remove", "write"]


def make(directories: Sequence[str], lines: Sequence[tuple[str, str]], own: Sequence[str]) -> tuple[str, ...]:
    """Make the groups and write their schemata; gives those that must go with the container."""
    made: list[str] = []
    try:
        for name in directories:
            try:
                os.mkdir(name, 0o755)
            except FileExistsError:
                if name in own:
                    raise
                continue  # made meanwhile by the container of the same class
            made.append(name)
        for file, line in lines:
            write(file, line)
    except BaseException:
        remove(made[::-1])
        raise
    return tuple(own)


def write(file: str, line: str) -> None:
    """Write one line, or several that hold together. OSError with the file's name."""
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(fd, line.encode() + b"\n")
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or "", file) from None
    finally:
        os.close(fd)


def remove(directories: Sequence[str]) -> None:
    """Remove groups; the kernel's files in them go with them, and nothing else could be there."""
    for name in directories:
        try:
            os.rmdir(name)
        except FileNotFoundError:
            continue
