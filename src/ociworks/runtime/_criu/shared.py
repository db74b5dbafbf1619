"""What a restore must not change: the settings of namespaces that the container joins, and others are in, too.

Criu joins them, and then gives them the host name and the limits of the images. They get back what they had.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from ociworks._linux.numbers import CLONE_NEWIPC, CLONE_NEWUTS
from ociworks._linux.process import setns
from ociworks.runtime._cgroupkill import write

__all__ = ["Shared"]

_KERNEL: Final = "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced"
_QUEUES: Final = "queues_max msg_max msgsize_max msg_default msgsize_default"
_SETTINGS: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = {
    "uts": (CLONE_NEWUTS, ("kernel/hostname", "kernel/domainname")),
    "ipc": (
        CLONE_NEWIPC,
        (
            *(f"kernel/{name}" for name in _KERNEL.split()),
            *(f"fs/mqueue/{name}" for name in _QUEUES.split()),
        ),
    ),
}
"""By kind of namespace; what ``/proc/sys`` shows is that of the thread that looks."""
T = TypeVar("T")


class Shared:
    """Joined namespaces (kind and path), and how they were when this was made. Raises OSError."""

    def __init__(self, joined: Iterable[tuple[str, str]]) -> None:
        self._before = {
            (kind, path): _inside(path, _SETTINGS[kind][0], functools.partial(_read, _SETTINGS[kind][1]))
            for kind, path in joined
        }

    def set_back(self) -> None:
        """Give them what they had, where that has changed."""
        for (kind, path), before in self._before.items():
            _inside(path, _SETTINGS[kind][0], functools.partial(_write, before))


def _inside(path: str, flag: int, act: Callable[[], T]) -> T:
    """Do something in a namespace: in a thread, which alone is in it and ends with it."""

    def enter() -> T:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, flag)
        finally:
            os.close(fd)
        return act()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result()


def _read(names: Sequence[str]) -> Mapping[str, bytes]:
    found = {}
    for name in names:
        with suppress(FileNotFoundError), open(f"/proc/sys/{name}", "rb") as stream:
            found[name] = stream.read(4096)
    return found


def _write(before: Mapping[str, bytes]) -> None:
    for name, value in _read(tuple(before)).items():
        if value != before[name]:
            write(f"/proc/sys/{name}", before[name])
