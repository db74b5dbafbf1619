"""The list of a container's first process: from a request to the launcher to what a runner carries out.

::

    runner, ahead of time: in a network namespace of its own, waits for a list and descriptors
        clone3(all other namespaces, the control group of version 2) ──> first process: the plan, execve
        tells its pid, ends

Runner and first process are children of the launcher (``_init.runners``). Descriptors of a runner, in this order: the
channel to the launcher, sync, the three standard streams, the channel for control groups, the unified control group.
"""

from __future__ import annotations

import errno
import logging
import marshal
import os
import secrets
import stat
import struct

from attrs import evolve

from ociworks._linux import calls
from ociworks._linux.calls import CallList
from ociworks._linux.numbers import (
    CLONE_INTO_CGROUP,
    CLONE_NEWNET,
    CLONE_NEWUSER,
    CLONE_PARENT,
    last_capability,
)
from ociworks.errors import CreateFailed
from ociworks.runtime._init import listed, wire
from ociworks.runtime._listed.building import First, NotListed
from ociworks.runtime._listed.mounting import OPERATIONS
from ociworks.runtime._progress import GaveUp
from ociworks.runtime._same import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ociworks.runtime.launcher import SpawnRequest

__all__ = ["Lists"]

_log = logging.getLogger(__name__)
_CHANNEL, _SYNC, _STREAMS, _GROUPS = 0, 1, (2, 3, 4), 5
_FIRST_SYNC, _FIRST_GROUPS = 10, 11
"""Where they are in the first process, above everything that it opens one after the other at first."""
_PARENT_SETTID: Final = 0x100000
_MOST_KEPT: Final = 16
_LONGEST_NAME: Final = 128
_LONGEST_KEY: Final = 1 << 18
"""Bytes; what takes more to be said fits into no list."""
_UNLISTED: Final = (
    *("joins", "join_kinds", "maps", "affinity", "time_offsets", "sources", "passed", "gate"),
    *("resctrl", "shim", "outlives"),
)
"""What must not be asked for."""
_last_capability = kept(1)(last_capability)


class Lists:
    """The lists that a runtime wrote, by what they say; only the name of the container is another one each time."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes | None] = {}
        self._blank = secrets.token_bytes(_LONGEST_NAME)
        """What stands for the name of a container, in as many bytes; nothing else says the same by chance."""

    def find(self, request: SpawnRequest, streams: Sequence[int]) -> tuple[bytes, bytes]:
        """The list for a request, and what it is known by; empty when there is none, or one gave up before."""
        name = request.name.encode()
        if not _fits(request) or len(name) > _LONGEST_NAME:
            return b"", b""
        pipes = tuple(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in streams)
        blank = self._blank[: len(name)]
        about = (
            request.ops,
            request.flags,
            len(request.tasks),
            bool(request.unified),
            request.cgroup is None,
        )
        key = marshal.dumps((about, pipes)).replace(name, blank)
        if len(key) > _LONGEST_KEY:
            return b"", b""
        found = self._known.get(key, b"")
        if found == b"":
            found = _written(request, pipes)
            self._keep(key, found and found.replace(name, blank))
            return found or b"", key
        return (found or b"").replace(blank, name), key

    def _keep(self, key: bytes, found: bytes | None) -> None:
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        self._known[key] = found

    @staticmethod
    def applied(request: SpawnRequest, found: bytes) -> SpawnRequest:
        """The request with a list in the place of its operations."""
        joins = next((operation for operation in request.ops if operation[0] == "join_cgroups"), None)
        return evolve(request, ops=(), list=found, membership=joins[1] if joins is not None else ())

    def gave_up(self, error: BaseException, key: bytes) -> bool:
        """Whether an error is that a list gave up: what it expects is not so. It is not used any more then.

        That somebody ended the runner says nothing about the list.
        """
        if isinstance(error, CreateFailed) and error.path == wire.LISTED:
            lasting = error.errno != errno.EPIPE
        elif isinstance(error, GaveUp):
            lasting = True
        else:
            return False
        _log.debug("a list of system calls gave up: %s", error)
        if lasting:
            self._keep(key, None)
        return True


def _fits(request: SpawnRequest) -> bool:
    """Whether a list may say everything that is asked for."""
    about = request.__dict__
    return (
        calls.SUPPORTED
        and request.ephemeral
        and not any(about[name] for name in _UNLISTED)
        and request.oom_score_adj is None
        and not request.flags & CLONE_NEWUSER
        and bool(request.flags & CLONE_NEWNET) == (("loopback_up",) in request.ops)
        and all(operation[0] in OPERATIONS for operation in request.ops)
    )


def _written(request: SpawnRequest, pipes: tuple[bool, ...]) -> bytes | None:
    """None when there is no list."""
    try:
        return write(request, pipes)
    except (NotListed, OverflowError, ValueError):
        return None


def write(request: SpawnRequest, pipes: tuple[bool, ...]) -> bytes:
    """The list for a request that fits.

    Raises NotListed, OverflowError when it is too long, ValueError for a string with a null byte.
    """
    here = CallList(base=calls.LATER)
    has_groups = request.cgroup is not None
    _clone(here, request.flags, _GROUPS + has_groups if request.unified else 0)
    here.report(_SYNC, wire.FAILED + wire.pack_failure(0, 0, wire.LISTED, "streams", ""))
    here.call("prctl", listed.SET_PDEATHSIG, listed.SIGKILL)
    here.call("dup3", _SYNC, _FIRST_SYNC, os.O_CLOEXEC)
    here.report(_FIRST_SYNC, wire.FAILED + wire.pack_failure(0, 0, wire.LISTED, "streams", ""))
    if has_groups:
        here.call("dup3", _GROUPS, _FIRST_GROUPS, os.O_CLOEXEC)
    for place, fd in enumerate(_STREAMS):
        here.call("dup3", fd, place)
    here.call("close_range", 3, _FIRST_SYNC - 1)
    listed.default_signals(here)
    groups = _FIRST_GROUPS if has_groups else -1
    first = First(here, _FIRST_SYNC, groups, pipes, _last_capability(), len(request.tasks))
    for index, (name, *arguments) in enumerate(request.ops):
        here.report(_FIRST_SYNC, wire.FAILED + wire.pack_failure(0, index, wire.LISTED, name, ""))
        if name not in ("make_device", "dev_link"):
            first.devices_done()
        OPERATIONS[name](first, *arguments)
    return here.finish()


def _clone(here: CallList, flags: int, unified: int) -> None:
    """In the runner: the clone, the pid, the end."""
    here.report(_CHANNEL, wire.FAILED + wire.pack_failure(0, 0, wire.LISTED, "clone3", ""))
    answer = here.put(wire.SPAWNED + bytes(4))
    flags = flags & ~CLONE_NEWNET | CLONE_PARENT | _PARENT_SETTID | (CLONE_INTO_CGROUP if unified else 0)
    arguments = struct.pack("<11Q", flags, 0, 0, answer + 1, 0, 0, 0, 0, 0, 0, unified)
    first = here.call("clone3", here.put(arguments), len(arguments))
    here.call("write", _CHANNEL, answer, 5, expected=5)
    here.call("exit_group", 0)
    here.land(first)
