"""Ends containers of whichever process made them: signals by pidfd, then groups and files. Loads little."""

from __future__ import annotations

import _signal
import os
import select

from ociworks.runtime import _cgroupfs, _cgroupkill, state
from ociworks.runtime._init import resctrl
from ociworks.runtime.shim.aside import set_aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

_SHARED: Final = "/ociworks"
"""The name of the only parents that are ours to remove, wherever a state file names others (RT-32)."""

__all__ = ["PidFD", "kill", "removable", "signal_all", "signal_first", "sweep"]

_PATIENCE: Final = 10.0
"""Seconds; the kernel ends a killed process in milliseconds unless something foreign holds it."""


class PidFD:
    """A pidfd of a container's first process, proved to be that process; -1 when it has ended. A context manager."""

    def __init__(self, record: state.Record) -> None:
        self._record = record
        self._fd = -1

    def __enter__(self) -> int:
        if self._record.pid <= 0 or self._record.start_time < 0:
            return -1  # it never came into being
        try:
            self._fd = os.pidfd_open(self._record.pid)
        except ProcessLookupError:
            return -1
        if not state.is_alive(self._record):
            self.__exit__()
        return self._fd

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def kill(record: state.Record) -> None:
    """SIGKILL to the first process, frozen or not, and wait for its end. Raises ContainerError when it does not end."""
    with PidFD(record) as pidfd:
        if pidfd < 0:
            return
        try:
            _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        except ProcessLookupError:
            return
        _cgroupkill.thaw_all(record.cgroups)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(_PATIENCE * 1000):
            from ociworks.errors import ContainerError

            raise ContainerError(f"container {record.id}: still there {_PATIENCE:.0f} s after SIGKILL")


def signal_first(record: state.Record, pidfd: int, number: int) -> None:
    """Send a signal to the first process. SIGKILL ends the container, also where that alone would not.

    What version 1's freezer holds does not even die of SIGKILL until it is thawed, and in a PID namespace that is not
    its own a first process takes nobody along.
    """
    ends = number == _signal.SIGKILL and bool(record.cgroups)
    alone = ends and not _is_init(record.pid)
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    if alone:
        _cgroupkill.kill(record.cgroups)
    elif ends and _cgroupkill.frozen(record.cgroups):
        _cgroupkill.thaw_all(record.cgroups)


def _is_init(pid: int) -> bool:
    """Whether a process is the first of its PID namespace, with which all others end."""
    try:
        lines = _cgroupkill.read_text(f"/proc/{pid}/status").splitlines()
    except OSError:
        return True
    return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in lines)


def signal_all(directories: Sequence[str], number: int) -> None:
    """Send a signal to every process in these groups."""
    if number == _signal.SIGKILL:
        _cgroupkill.kill(directories)
        return
    for pid in _cgroupkill.processes(directories):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if pid in _cgroupkill.processes(directories):  # still the one that was listed (CL-06)
                _signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)


def removable(groups: Sequence[str], shared: Sequence[str]) -> tuple[str, ...]:
    """The groups that go with a container: its own, and of the shared ones ours, as long as they are empty."""
    return (*groups, *(f"{parent}/" for parent in shared if parent.endswith(_SHARED)))


def sweep(
    root: str, name: str, groups: Sequence[str], shared: Sequence[str], own: Sequence[str] = ()
) -> None:
    """Remove what is left of a container whose first process has ended: processes in its groups, groups, state.

    ``own`` are its resource control groups.

    Raises ContainerError when a group stays in use, and OSError.
    """
    made = removable(groups, shared)
    if made and _cgroupfs.remove(made, timeout=0):
        _cgroupfs.kill(groups)
        busy = _cgroupfs.remove(made)
        if busy:
            from ociworks.errors import CgroupError

            raise CgroupError(f"control group {busy[0]} is still in use")
    resctrl.remove(own)
    _remove_state(f"{root}/{name}")


def _remove_state(directory: str) -> None:
    """Mostly a few plain files; whatever else is there needs the careful way. Without its name it is debris."""
    try:
        directory = set_aside(directory)
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        for name in os.listdir(place):
            os.unlink(name, dir_fd=place)
        os.rmdir(directory)
    except (IsADirectoryError, PermissionError):
        from ociworks._linux.path import remove_tree

        remove_tree(directory)
    except FileNotFoundError:
        return
    finally:
        os.close(place)
