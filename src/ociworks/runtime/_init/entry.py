"""Further processes of a container by a list of system calls (``_linux.calls``): from a request to such a list.

::

    launcher ──posix_spawn──> first ──clone3──> second, in the control group of version 2
                                                setns…, clone3──> process, in the PID namespace: the plan, execve

First and second share their memory and end at once; the second and the process are children of the launcher. Most
plans can be written so. For what needs a decision on the way (a terminal, a label, a point to stop at) :func:`spawn`
has no answer, and an interpreter goes in. Each operation means here exactly what its function in ``_init`` does.
"""

from __future__ import annotations

import _socket
import errno
import os
import stat
import struct

from ociworks._linux import calls
from ociworks._linux.calls import CallList
from ociworks._linux.memfd import sealed
from ociworks._linux.process import CLONE_INTO_CGROUP, CLONE_NEWTIME, CLONE_PARENT
from ociworks.runtime._init import wire
from ociworks.runtime._init.context import StepError
from ociworks.runtime._init.listed import (
    CLOSE_ON_EXEC,
    EVERY,
    OPERATIONS,
    SET_DUMPABLE,
    SET_PDEATHSIG,
    SIGKILL,
    Writing,
    default_signals,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = ["spawn", "start", "write_list"]

_SIGNALS: Final = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]
_CHANNEL: Final = 0
_STREAMS: Final = 4
"""Sync and the three standard streams."""
_FIRST_FREE: Final = 3
_AT_FDCWD: Final = 0xFFFFFF9C
_CLONE_VM: Final = 0x100
_PARENT_SETTID: Final = 0x100000
_WRITE, _PLACE = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_PIDS: Final = struct.Struct("=iB4xi")
"""Of the process, in an answer whose second half is a failure with room for the pid of the second."""
_BORN: Final = struct.Struct("=4xi")
"""Of the second, said by the first: the beginning of a failure, and shorter than any."""
_ENTERED: Final = ("join_kinds", "tasks", "unified", "oom_score_adj", "outlives")
"""Of a request, what decides about how the container is entered."""
_MOST_KEPT: Final = 4
_begun: dict[tuple[Any, ...], Writing] = {}
"""What lists begin with: mostly only the program is another one, and the rest takes longer to write."""


def spawn(request: Mapping[str, Any], fds: Sequence[int], last_capability: int) -> tuple[int, int] | None:
    """Make the process; None where a list cannot say what it is to do.

    Raises OSError or StepError when there is no process; what fails later comes over the sync channel.
    """
    if not _fits(request):
        return None
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        try:
            if not _said(ours, request, fds, last_capability):
                return None
            first = start(theirs.fileno(), fds)
        finally:
            theirs.close()
        second = 0
        try:
            kind, body, _ = wire.receive(ours)
            if kind == wire.FAILED and len(body) == _BORN.size:
                (second,) = _BORN.unpack(body)
                kind, body, _ = wire.receive(ours)
        finally:
            os.waitpid(first, 0)
    finally:
        ours.close()
    return _answered(kind, body, second)


def _said(
    channel: _socket.socket, request: Mapping[str, Any], fds: Sequence[int], last_capability: int
) -> bool:
    """Send the list; False when it is too long, for itself or for this host's sockets, or cannot say something."""
    try:
        channel.send(write_list(request, fds, last_capability))
    except (OverflowError, ValueError):
        return False
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        return False
    return True


def _fits(request: Mapping[str, Any]) -> bool:
    """Whether there is nothing but a container to join and operations that a list can express."""
    other = ("claim", "joins", "maps", "affinity", "time_offsets", "flags", "sources", "passed")
    return (
        calls.SUPPORTED
        and request["join_kinds"]
        and not any(request[name] for name in other)
        and not (request["unified"] and request["join_kinds"] & CLONE_NEWTIME)  # not for who shares memory
        and all(operation[0] in OPERATIONS for operation in request["ops"])
    )


def start(channel: int, fds: Sequence[int] = (), name: str = "ociworks-entry") -> int:
    """Start the program with the list at its descriptor 0; what the list names it inherits by number."""
    program = sealed(calls.program(), name)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, channel, _CHANNEL), *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds)]
        return os.posix_spawn(
            f"/proc/self/fd/{program}",
            ["ociworks"],
            {},
            file_actions=actions,
            setsigmask=(),
            setsigdef=_SIGNALS,
        )
    finally:
        os.close(program)


def _answered(kind: bytes, body: bytes, second: int) -> tuple[int, int]:
    """``second`` is its pid where the first told it; whoever answers says it, too."""
    if kind == wire.SPAWNED and len(body) == _PIDS.size:
        pid, _, second = _PIDS.unpack(body)
        if second:
            os.waitpid(second, 0)
        return pid, os.pidfd_open(pid)
    if kind == wire.FAILED:
        number, _, step, text, path = wire.unpack_failure(body)
        (second,) = struct.unpack_from("=4xi", body)
        if second:
            os.waitpid(second, 0)
        raise StepError(f"{step}: {text or os.strerror(number)}", path, number)
    if second:  # it was killed in its control group: for want of memory, or with the container
        os.waitpid(second, 0)
    raise StepError("the process that joins namespaces ended early")


def write_list(request: Mapping[str, Any], fds: Sequence[int], last_capability: int) -> bytes:
    """The list for a request that fits; ``fds`` are those of ``spawn.spawn``, by their numbers here."""
    *before, last = request["ops"]
    pipes = tuple(_is_pipe(fd) for fd in fds[1:_STREAMS])
    outlives = request["outlives"]
    key = (*fds, *(request[name] for name in _ENTERED), *pipes, *before)
    begun = _begun.get(key)
    if begun is None:
        begun = Writing(CallList(), fds[0], pipes, last_capability, outlives=outlives)
        _enter(begun.list, request, fds)
        _take_over(begun.list, fds)
        for index, operation in enumerate(before):
            begun.operation(index, operation)
        if len(_begun) >= _MOST_KEPT:
            _begun.clear()
        _begun[key] = begun
    writing = Writing(begun.list.copy(), fds[0], pipes, last_capability, outlives=outlives)
    writing.operation(len(before), last)
    return writing.list.finish()


def _is_pipe(fd: int) -> bool:
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def _failed(calls_: CallList, step: str, path: str = "") -> None:
    calls_.report(_CHANNEL, wire.FAILED + wire.pack_failure(0, 0, step, "", path))


def _enter(calls_: CallList, request: Mapping[str, Any], fds: Sequence[int]) -> None:
    """In the first process and the second: into the control groups and the namespaces, and the clone."""
    _failed(calls_, "clone3")
    calls_.call("prctl", SET_PDEATHSIG, SIGKILL)
    calls_.call("prctl", SET_DUMPABLE, 0)
    _close_all_but(calls_, fds[: _STREAMS + 1])
    for path in request["tasks"]:
        _write_file(calls_, os.fsencode(path), b"0")
    if request["oom_score_adj"] is not None:
        _write_file(calls_, b"/proc/self/oom_score_adj", b"%d" % request["oom_score_adj"])
    answer = wire.SPAWNED + bytes(4)
    failed = wire.FAILED + wire.pack_failure(0, 0, "join", "", "")
    place = calls_.put(answer + failed)
    if request["unified"]:
        _become_second(calls_, os.fsencode(request["unified"]), place + len(answer) + 5)
    calls_.report(_CHANNEL, failed, place + len(answer))
    calls_.call("setns", fds[_STREAMS], request["join_kinds"])
    calls_.call("close", fds[_STREAMS])
    entry = _clone(calls_, _PARENT_SETTID, place + 1)
    calls_.call("write", _CHANNEL, place, 1 + _PIDS.size)
    calls_.call("exit_group", 0)
    calls_.land(entry)


def _become_second(calls_: CallList, unified: bytes, told: int) -> None:
    """Have a process born in the control group, because to move there it would take the kernel milliseconds."""
    _failed(calls_, "clone3", os.fsdecode(unified))
    calls_.call("openat", _AT_FDCWD, calls_.text(unified), _PLACE, expected=1)
    entry = _clone(calls_, _CLONE_VM | _PARENT_SETTID | CLONE_INTO_CGROUP, told, cgroup=1)
    calls_.call("write", _CHANNEL, told - 5, 1 + _BORN.size)
    calls_.call("exit_group", 0)
    calls_.land(entry)
    calls_.call("prctl", SET_PDEATHSIG, SIGKILL)
    calls_.call("close", 1)


def _clone(calls_: CallList, flags: int, told: int, cgroup: int = 0) -> int:
    """A child of our parent; its pid is written to ``told`` before it runs."""
    arguments = struct.pack("<11Q", flags | CLONE_PARENT, 0, 0, told, 0, 0, 0, 0, 0, 0, cgroup)
    return calls_.call("clone3", calls_.put(arguments), len(arguments))


def _close_all_but(calls_: CallList, fds: Sequence[int]) -> None:
    last = _CHANNEL
    for fd in sorted({*fds}):
        if fd > last + 1:
            calls_.call("close_range", last + 1, fd - 1)
        last = fd
    calls_.call("close_range", last + 1, EVERY)


def _write_file(calls_: CallList, path: bytes, content: bytes) -> None:
    """Descriptor 1 is free."""
    _failed(calls_, "write", os.fsdecode(path))
    calls_.call("openat", _AT_FDCWD, calls_.text(path), _WRITE, expected=1)
    calls_.call("write", 1, calls_.put(content), len(content), expected=len(content))
    calls_.call("close", 1)


def _take_over(calls_: CallList, fds: Sequence[int]) -> None:
    """In the process: its streams, and of everything else only the channel for failures."""
    calls_.report(fds[0], wire.FAILED + wire.pack_failure(0, 0, "streams", "", ""))
    calls_.call("prctl", SET_PDEATHSIG, SIGKILL)
    for place, fd in enumerate(fds[1:_STREAMS]):
        calls_.call("dup3", fd, place)
    if fds[0] > _FIRST_FREE:
        calls_.call("close_range", _FIRST_FREE, fds[0] - 1)
    calls_.call("close_range", fds[0] + 1, EVERY)
    calls_.call("close_range", fds[0], fds[0], CLOSE_ON_EXEC)
    default_signals(calls_)
