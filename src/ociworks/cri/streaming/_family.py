"""Everything that came of one program in a container, to be killed with it.

A process belongs to the family when its parent does, when it is in the session that the program leads, when it holds
one of the program's pipes, or when it bears the program's mark. Members are stopped as they are found, so that none can
fork away from the next look. Of a program without a mark, only who left the session, lost its parent and closed its
streams before is not found: a daemon.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from typing import Final, NamedTuple

from ociworks.cri.streaming._mark import bears

__all__ = ["kill_family"]

_LOOKS: Final = 100
"""Each but the last found somebody new."""


class _Relations(NamedTuple):
    parent: int
    session: int


class _Signs(NamedTuple):
    """By what a member is known that left its parent and its session."""

    mark: int
    pipes: Collection[str]


def kill_family(
    first: int, everybody: Callable[[], Iterable[int]], pipes: Collection[int], mark: int = 0
) -> None:
    """Kill ``first`` and what came of it, among ``everybody`` (pids, asked anew each time).

    ``pipes`` are descriptors of ours of its pipes.
    """
    signs = _Signs(mark, frozenset(f"pipe:[{os.fstat(fd).st_ino}]" for fd in pipes))
    members: dict[int, int] = {}
    with ExitStack() as opened:
        for _ in range(_LOOKS):
            found = _look(first, everybody(), members, signs)
            for pid, pidfd in found.items():
                opened.callback(os.close, pidfd)
                _signal(pidfd, signal.SIGSTOP)
                members[pid] = pidfd
            if not found:
                break
        for pidfd in members.values():
            _signal(pidfd, signal.SIGKILL)


def _look(first: int, everybody: Iterable[int], members: Collection[int], signs: _Signs) -> dict[int, int]:
    """The members that are not known yet: pid → pidfd."""
    relations: dict[int, _Relations] = {}
    opened: dict[int, int] = {}
    with ExitStack() as stack:
        for pid in {first, *everybody} - set(members):
            with contextlib.suppress(OSError):
                opened[pid] = os.pidfd_open(pid)
                stack.callback(os.close, opened[pid])
                relations[pid] = _relations(pid)
        family = {*members, first}
        while more := {
            pid for pid in relations.keys() - family if _is_kin(pid, relations[pid], first, family)
        }:
            family |= more
        family |= {pid for pid in relations.keys() - family if _has_sign(pid, signs)}
        # What was read is of these processes if they have not ended since: then their numbers are still theirs.
        return {
            pid: os.dup(opened[pid])
            for pid in sorted(family & relations.keys())
            if not _has_ended(opened[pid])
        }


def _is_kin(pid: int, relations: _Relations, first: int, family: Collection[int]) -> bool:
    return relations.parent in family or (relations.session == first and pid != first)


def _relations(pid: int) -> _Relations:
    with open(f"/proc/{pid}/stat", "rb") as stream:
        fields = stream.read(4096).rpartition(b")")[2].split()
    return _Relations(int(fields[1]), int(fields[3]))  # trusted: the kernel's


def _has_sign(pid: int, signs: _Signs) -> bool:
    return bears(pid, signs.mark) or _holds(pid, signs.pipes)


def _holds(pid: int, inodes: Collection[str]) -> bool:
    """Whether it has one of these pipes open."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(_target(entry.path) in inodes for entry in entries)
    except OSError:
        return False


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _signal(pidfd: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
