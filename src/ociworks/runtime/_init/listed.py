"""Operations on a process, as system calls in a list (``_linux.calls``): what first and further processes share.

Each means here exactly what its function in ``_init`` does. A list is written before anything is done; what needs a
decision on the way cannot be written, and an interpreter does it.
"""

from __future__ import annotations

import errno
import os
import struct

from ociworks._linux import calls
from ociworks.runtime._init import start, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from ociworks._linux.calls import CallList

__all__ = [
    "CLOSE_ON_EXEC",
    "EVERY",
    "OPERATIONS",
    "SET_DUMPABLE",
    "SET_PDEATHSIG",
    "SIGKILL",
    "Writing",
    "default_signals",
]

EVERY: Final = 0xFFFFFFFF
"""The last descriptor of a range, and an owner that is to stay."""
CLOSE_ON_EXEC: Final = 4
SIGKILL: Final = 9
SET_PDEATHSIG: Final = 1
SET_DUMPABLE: Final = 4
_FIRST_FREE: Final = 3
_INTERNAL: Final = (32, 33)
"""The C library ignores these two in what it spawns."""
_SET_KEEPCAPS, _SET_NO_NEW_PRIVS = 8, 38
_BOUNDING_READ, _BOUNDING_DROP, _AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR = 23, 24, 47, 2, 4
_CAPABILITIES: Final = 0x20080522
_JOIN_SESSION_KEYRING: Final = 1
_SET_FILTER: Final = 1
_NO_KEYRINGS: Final = calls.errors(errno.ENOSYS, errno.EPERM, errno.EDQUOT)
_NOT_OURS: Final = calls.errors(errno.EPERM, errno.EINVAL, errno.EROFS)
_REFUSED: Final = calls.errors(errno.EACCES, errno.EPERM)
_ABSENT: Final = calls.errors(errno.ENOENT, errno.ENOTDIR, errno.EACCES)


class Writing:
    """A list, and what the operations in it have to know."""

    def __init__(
        self, calls_: CallList, sync: int, pipes: tuple[bool, ...], last_capability: int, *, outlives: bool
    ) -> None:
        self.list = calls_
        self.sync = sync
        """The descriptor on which failures are told."""
        self.pipes = pipes
        """Which of the standard streams are pipes."""
        self.last_capability = last_capability
        self.outlives = outlives

    def prctl(self, *arguments: int) -> None:
        """Append this call."""
        self.list.call("prctl", *arguments)

    def operation(self, index: int, operation: tuple[Any, ...]) -> None:
        """Append one of the plan."""
        name, *arguments = operation
        path = os.fsdecode(arguments[0][0]) if name == "execute" else ""
        path = arguments[0] if name == "change_directory" else path
        self.list.report(self.sync, wire.FAILED + wire.pack_failure(0, index, name, "", path))
        OPERATIONS[name](self, *arguments)


def default_signals(here: CallList) -> None:
    """Give every signal its default action."""
    default = here.put(bytes(32))
    for number in _INTERNAL:
        here.call("rt_sigaction", number, default, 0, 8)


def _keyring(writing: Writing, name: str) -> None:
    writing.list.call(
        "keyctl", _JOIN_SESSION_KEYRING, writing.list.text(os.fsencode(name)), pardoned=_NO_KEYRINGS
    )
    writing.list.call("forget")


def _session(writing: Writing) -> None:
    writing.list.call("setsid")


def _rlimit(writing: Writing, number: int, soft: int, hard: int) -> None:
    writing.list.call("prlimit64", 0, number, writing.list.put(struct.pack("<2Q", soft, hard)))


def _personality(writing: Writing, persona: int) -> None:
    writing.list.call("personality", persona)


def _cpu_affinity(writing: Writing, cpus: Sequence[int]) -> None:
    mask = sum(1 << cpu for cpu in {*cpus})
    raw = mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")
    writing.list.call("sched_setaffinity", 0, len(raw), writing.list.put(raw))


def _outlive(writing: Writing) -> None:
    writing.prctl(SET_PDEATHSIG, 0)


def _no_new_privileges(writing: Writing) -> None:
    writing.prctl(_SET_NO_NEW_PRIVS, 1)


def _own_streams(writing: Writing, uid: int) -> None:
    for place, is_pipe in enumerate(writing.pipes):
        if is_pipe:
            writing.list.call("fchown", place, uid, EVERY, pardoned=_NOT_OURS)


def _close_descriptors(writing: Writing) -> None:
    writing.list.call("close_range", _FIRST_FREE, EVERY, CLOSE_ON_EXEC)


def _change_directory(writing: Writing, cwd: str, last: bool) -> None:  # noqa: FBT001 - an operation
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


def _bounding(writing: Writing, keep: int) -> None:
    here = writing.list
    for number in range(writing.last_capability + 1):
        if not keep >> number & 1:
            missing = here.call("prctl", _BOUNDING_READ, number)
            here.call("prctl", _BOUNDING_DROP, number)
            here.land(missing)


def _identity(writing: Writing, uid: int, gid: int, groups: Sequence[int] | None) -> None:
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
        writing.prctl(SET_PDEATHSIG, SIGKILL)
    writing.prctl(SET_DUMPABLE, 0)


def _capability_sets(
    writing: Writing, effective: int, permitted: int, inheritable: int, ambient: int
) -> None:
    here, masks = writing.list, (effective, permitted, inheritable)
    halves = (*(mask & EVERY for mask in masks), *(mask >> 32 for mask in masks))
    here.call("capset", here.put(struct.pack("<2I", _CAPABILITIES, 0)), here.put(struct.pack("<6I", *halves)))
    writing.prctl(_AMBIENT, _AMBIENT_CLEAR)
    for number in range(writing.last_capability + 1):
        if ambient >> number & 1:
            writing.prctl(_AMBIENT, _AMBIENT_RAISE, number)


def _umask(writing: Writing, value: int) -> None:
    writing.list.call("umask", value)


def _seccomp(writing: Writing, program: bytes, flags: int) -> None:
    here = writing.list
    header = here.put(struct.pack("<HxxxxxxQ", len(program) // 8, here.put(program)))
    here.call("seccomp", _SET_FILTER, flags, header)


def _execute(writing: Writing, args: Sequence[bytes], env: Sequence[bytes], search: bytes) -> None:
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
