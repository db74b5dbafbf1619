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
from ociworks._linux.process import CLONE_INTO_CGROUP, CLONE_PARENT
from ociworks.runtime._init import start, wire
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final

__all__ = ["OPERATIONS", "spawn", "write_list"]

_SIGNALS: Final = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]
_INTERNAL: Final = (32, 33)
"""The C library ignores these two in what it spawns."""
_CHANNEL: Final = 0
_STREAMS: Final = 4
"""Sync and the three standard streams."""
_FIRST_FREE: Final = 3
_EVERY: Final = 0xFFFFFFFF
_AT_FDCWD: Final = 0xFFFFFF9C
_CLONE_VM: Final = 0x100
_PARENT_SETTID: Final = 0x100000
_CLOSE_ON_EXEC: Final = 4
_SIGKILL: Final = 9
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_KEEPCAPS, _SET_NO_NEW_PRIVS = 1, 4, 8, 38
_BOUNDING_READ, _BOUNDING_DROP, _AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR = 23, 24, 47, 2, 4
_CAPABILITIES: Final = 0x20080522
_JOIN_SESSION_KEYRING: Final = 1
_SET_FILTER: Final = 1
_NO_KEYRINGS: Final = calls.errors(errno.ENOSYS, errno.EPERM, errno.EDQUOT)
_NOT_OURS: Final = calls.errors(errno.EPERM, errno.EINVAL, errno.EROFS)
_REFUSED: Final = calls.errors(errno.EACCES, errno.EPERM)
_ABSENT: Final = calls.errors(errno.ENOENT, errno.ENOTDIR, errno.EACCES)
_WRITE, _PLACE = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_PIDS: Final = struct.Struct("=iB4xi")
"""Of the process, in an answer whose second half is a failure with room for the pid of the second."""


_ENTERED: Final = ("join_kinds", "tasks", "unified", "oom_score_adj", "outlives")
"""Of a request, what decides about how the container is entered."""


class _Writing:
    """A list, and what the operations in it have to know."""

    def __init__(
        self, calls_: CallList, request: Mapping[str, Any], fds: Sequence[int], last_capability: int
    ) -> None:
        self.list = calls_
        self.sync, *self.streams = fds[:_STREAMS]
        self.last_capability = last_capability
        self.outlives = request["outlives"]

    def prctl(self, *arguments: int) -> None:
        self.list.call("prctl", *arguments)

    def operation(self, index: int, operation: tuple[Any, ...]) -> None:
        """Append one of the plan."""
        name, *arguments = operation
        path = os.fsdecode(arguments[0][0]) if name == "execute" else ""
        path = arguments[0] if name == "change_directory" else path
        self.list.report(self.sync, wire.FAILED + wire.pack_failure(0, index, name, "", path))
        OPERATIONS[name](self, *arguments)


_MOST_KEPT: Final = 4
_begun: dict[tuple[Any, ...], _Writing] = {}
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
            first = _start(theirs.fileno(), fds)
        finally:
            theirs.close()
        try:
            kind, body, _ = wire.receive(ours)
        finally:
            os.waitpid(first, 0)
    finally:
        ours.close()
    return _answered(kind, body)


def _said(
    channel: _socket.socket, request: Mapping[str, Any], fds: Sequence[int], last_capability: int
) -> bool:
    """Send the list; False when it is too long, for itself or for this host's sockets."""
    try:
        channel.send(write_list(request, fds, last_capability))
    except OverflowError:
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
        and all(operation[0] in OPERATIONS for operation in request["ops"])
    )


def _start(channel: int, fds: Sequence[int]) -> int:
    """Start the program with the list at its descriptor 0; what the list names it inherits by number."""
    program = sealed(calls.program(), "ociworks-entry")
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


def _answered(kind: bytes, body: bytes) -> tuple[int, int]:
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
    raise StepError("the process that joins namespaces ended early")


def write_list(request: Mapping[str, Any], fds: Sequence[int], last_capability: int) -> bytes:
    """The list for a request that fits; ``fds`` are those of ``spawn.spawn``, by their numbers here."""
    *before, last = request["ops"]
    key = (*fds, *(request[name] for name in _ENTERED), *map(_is_pipe, fds[1:_STREAMS]), *before)
    begun = _begun.get(key)
    if begun is None:
        begun = _Writing(CallList(), request, fds, last_capability)
        _enter(begun.list, request, fds)
        _take_over(begun.list, fds)
        for index, operation in enumerate(before):
            begun.operation(index, operation)
        if len(_begun) >= _MOST_KEPT:
            _begun.clear()
        _begun[key] = begun
    writing = _Writing(begun.list.copy(), request, fds, last_capability)
    writing.operation(len(before), last)
    return writing.list.finish()


def _failed(calls_: CallList, step: str, path: str = "") -> None:
    calls_.report(_CHANNEL, wire.FAILED + wire.pack_failure(0, 0, step, "", path))


def _enter(calls_: CallList, request: Mapping[str, Any], fds: Sequence[int]) -> None:
    """In the first process and the second: into the control groups and the namespaces, and the clone."""
    _failed(calls_, "clone3")
    calls_.call("prctl", _SET_PDEATHSIG, _SIGKILL)
    calls_.call("prctl", _SET_DUMPABLE, 0)
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
    calls_.call("exit_group", 0)
    calls_.land(entry)
    calls_.call("prctl", _SET_PDEATHSIG, _SIGKILL)
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
    calls_.call("close_range", last + 1, _EVERY)


def _write_file(calls_: CallList, path: bytes, content: bytes) -> None:
    """Descriptor 1 is free."""
    _failed(calls_, "write", os.fsdecode(path))
    calls_.call("openat", _AT_FDCWD, calls_.text(path), _WRITE, expected=1)
    calls_.call("write", 1, calls_.put(content), len(content), expected=len(content))
    calls_.call("close", 1)


def _take_over(calls_: CallList, fds: Sequence[int]) -> None:
    """In the process: its streams, and of everything else only the channel for failures."""
    calls_.report(fds[0], wire.FAILED + wire.pack_failure(0, 0, "streams", "", ""))
    calls_.call("prctl", _SET_PDEATHSIG, _SIGKILL)
    for place, fd in enumerate(fds[1:_STREAMS]):
        calls_.call("dup3", fd, place)
    if fds[0] > _FIRST_FREE:
        calls_.call("close_range", _FIRST_FREE, fds[0] - 1)
    calls_.call("close_range", fds[0] + 1, _EVERY)
    calls_.call("close_range", fds[0], fds[0], _CLOSE_ON_EXEC)
    default = calls_.put(bytes(32))
    for number in _INTERNAL:
        calls_.call("rt_sigaction", number, default, 0, 8)


def _keyring(writing: _Writing, name: str) -> None:
    writing.list.call(
        "keyctl", _JOIN_SESSION_KEYRING, writing.list.text(os.fsencode(name)), pardoned=_NO_KEYRINGS
    )
    writing.list.call("forget")


def _session(writing: _Writing) -> None:
    writing.list.call("setsid")


def _rlimit(writing: _Writing, number: int, soft: int, hard: int) -> None:
    writing.list.call("prlimit64", 0, number, writing.list.put(struct.pack("<2Q", soft, hard)))


def _personality(writing: _Writing, persona: int) -> None:
    writing.list.call("personality", persona)


def _cpu_affinity(writing: _Writing, cpus: Sequence[int]) -> None:
    mask = sum(1 << cpu for cpu in {*cpus})
    raw = mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")
    writing.list.call("sched_setaffinity", 0, len(raw), writing.list.put(raw))


def _outlive(writing: _Writing) -> None:
    writing.prctl(_SET_PDEATHSIG, 0)


def _no_new_privileges(writing: _Writing) -> None:
    writing.prctl(_SET_NO_NEW_PRIVS, 1)


def _own_streams(writing: _Writing, uid: int) -> None:
    for place, fd in enumerate(writing.streams):
        if _is_pipe(fd):
            writing.list.call("fchown", place, uid, _EVERY, pardoned=_NOT_OURS)


def _is_pipe(fd: int) -> bool:
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def _close_descriptors(writing: _Writing) -> None:
    writing.list.call("close_range", _FIRST_FREE, _EVERY, _CLOSE_ON_EXEC)


def _change_directory(writing: _Writing, cwd: str, last: bool) -> None:  # noqa: FBT001 - an operation
    here = writing.list
    path = here.text(os.fsencode(cwd))
    if last:
        done = here.call("remembered")
        here.call("chdir", path)
        _inside(here)
        here.land(done)
        return
    here.call("forget")
    changed = here.call("chdir", path, pardoned=_REFUSED)
    refused = here.call("compare", path, os.fsencode(cwd)[0])
    here.land(changed)
    _inside(here)
    here.land(refused)


def _inside(here: CallList) -> None:
    """A working directory outside of the root has no path that begins with a slash (RT-08)."""
    here.call("getcwd", calls.CURRENT_DIRECTORY, calls.PATH_SPACE)
    here.call("compare", calls.CURRENT_DIRECTORY, ord("/"))


def _bounding(writing: _Writing, keep: int) -> None:
    here = writing.list
    for number in range(writing.last_capability + 1):
        if not keep >> number & 1:
            missing = here.call("prctl", _BOUNDING_READ, number)
            here.call("prctl", _BOUNDING_DROP, number)
            here.land(missing)


def _identity(writing: _Writing, uid: int, gid: int, groups: Sequence[int] | None) -> None:
    here = writing.list
    writing.prctl(_SET_KEEPCAPS, 1)
    if groups is not None:
        here.call("setgroups", len(groups), here.put(struct.pack(f"<{len(groups)}I", *groups)))
    here.call("setresgid", gid, gid, gid)
    here.call("setresuid", uid, uid, uid)
    for name, number in (("getuid", uid), ("geteuid", uid), ("getgid", gid), ("getegid", gid)):
        here.call(name, expected=number)
    if groups is not None:
        here.call("getgroups", 0, 0, expected=len(groups))
    if not writing.outlives:
        writing.prctl(_SET_PDEATHSIG, _SIGKILL)
    writing.prctl(_SET_DUMPABLE, 0)


def _capability_sets(
    writing: _Writing, effective: int, permitted: int, inheritable: int, ambient: int
) -> None:
    here, masks = writing.list, (effective, permitted, inheritable)
    halves = (*(mask & _EVERY for mask in masks), *(mask >> 32 for mask in masks))
    here.call("capset", here.put(struct.pack("<2I", _CAPABILITIES, 0)), here.put(struct.pack("<6I", *halves)))
    writing.prctl(_AMBIENT, _AMBIENT_CLEAR)
    for number in range(writing.last_capability + 1):
        if ambient >> number & 1:
            writing.prctl(_AMBIENT, _AMBIENT_RAISE, number)


def _umask(writing: _Writing, value: int) -> None:
    writing.list.call("umask", value)


def _seccomp(writing: _Writing, program: bytes, flags: int) -> None:
    here = writing.list
    header = here.put(struct.pack("<HxxxxxxQ", len(program) // 8, here.put(program)))
    here.call("seccomp", _SET_FILTER, flags, header)


def _execute(writing: _Writing, args: Sequence[bytes], env: Sequence[bytes], search: bytes) -> None:
    here = writing.list
    argv = _strings(here, args)
    environment = dict(entry.split(b"=", 1) for entry in env)
    envp = _strings(here, [b"=".join(entry) for entry in environment.items()])
    here.call("forget")
    for candidate in start.candidates(args[0], search):
        here.call("execve", here.text(candidate), argv, envp, pardoned=_ABSENT)
    here.call("fail")


def _strings(here: CallList, texts: Sequence[bytes]) -> int:
    addresses = [here.text(text) for text in texts]
    return here.put(struct.pack(f"<{len(addresses) + 1}Q", *addresses, 0))


OPERATIONS: Final[dict[str, Callable[..., None]]] = {
    "keyring": _keyring,
    "session": _session,
    "rlimit": _rlimit,
    "personality": _personality,
    "cpu_affinity": _cpu_affinity,
    "outlive": _outlive,
    "no_new_privileges": _no_new_privileges,
    "own_streams": _own_streams,
    "close_descriptors": _close_descriptors,
    "change_directory": _change_directory,
    "bounding": _bounding,
    "identity": _identity,
    "capability_sets": _capability_sets,
    "umask": _umask,
    "seccomp": _seccomp,
    "execute": _execute,
}
"""What a list can express, by the names in a plan."""
