"""Processes: clone3, namespaces, prctl, descriptors, identities.

Everything here acts on the calling process or thread and belongs into a single-threaded helper process (design
rule 7); the library's own process only uses ``pidfd_pid``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os

from ociworks._linux.libc import check_uint, cstring, libc, oserror, syscall, syscall_number
from ociworks._linux.numbers import (
    CLONE_INTO_CGROUP,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    CLONE_PARENT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = [
    "CLONE_INTO_CGROUP",
    "CLONE_NEWCGROUP",
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWTIME",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "CLONE_PARENT",
    "PR_SET_CHILD_SUBREAPER",
    "clone",
    "close_on_exec_from",
    "default_internal_signals",
    "install_seccomp",
    "join_session_keyring",
    "keep_only",
    "pidfd_pid",
    "prctl",
    "set_domainname",
    "set_hostname",
    "set_io_priority",
    "set_memory_policy",
    "set_personality",
    "set_scheduler",
    "setns",
    "unshare",
]

PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38

_HIGH: Final = 256
_CLONE_PIDFD: Final = 0x1000
_CLONE3: Final = 435
_CLOSE_RANGE: Final = 436
_CLOSE_RANGE_CLOEXEC: Final = 4
_SIGCHLD: Final = 17
_SECCOMP_SET_MODE_FILTER: Final = 1
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1

# The child continues in Python, so the GIL must not change hands around the call.
_held = ctypes.PyDLL(None, use_errno=True).syscall
_held.restype = ctypes.c_long
_held.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_size_t]

for _name, _types in {
    "prctl": [ctypes.c_int] + [ctypes.c_ulong] * 4,
    "setns": [ctypes.c_int, ctypes.c_int],
    "unshare": [ctypes.c_int],
    "sethostname": [ctypes.c_char_p, ctypes.c_size_t],
    "setdomainname": [ctypes.c_char_p, ctypes.c_size_t],
    "personality": [ctypes.c_ulong],
}.items():
    _function = getattr(libc, _name)
    _function.argtypes = _types
    _function.restype = ctypes.c_int


class _CloneArgs(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


class _SchedAttr(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
        ("util_min", ctypes.c_uint32),
        ("util_max", ctypes.c_uint32),
    ]


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def clone(flags: int, *, cgroup: int = -1) -> tuple[int, int]:
    """clone3(2) as a fork with ``flags``: ``(pid, pidfd)`` in the parent, ``(0, -1)`` in the child.

    With ``cgroup``, a descriptor of a cgroup v2 directory, the child is born in it. Only for a process with one
    thread. With CLONE_PARENT the child reports its end to our parent, with the signal that we would send.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(flags=flags | _CLONE_PIDFD, pidfd=ctypes.addressof(pidfd))
    args.exit_signal = 0 if flags & CLONE_PARENT else _SIGCHLD
    if cgroup >= 0:
        args.flags |= CLONE_INTO_CGROUP
        args.cgroup = cgroup
    pid: int = _held(_CLONE3, ctypes.addressof(args), ctypes.sizeof(args))
    if pid == -1:
        raise oserror("clone3")
    return pid, pidfd.value


def pidfd_pid(pidfd: int) -> int:
    """The pid behind a pidfd as this process's PID namespace sees it; 0 when it is outside, -1 when reaped."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb") as stream:
        for line in stream:
            if line.startswith(b"Pid:"):
                return int(line[4:])  # trusted: the kernel's
    return -1


def setns(fd: int, kinds: int) -> None:
    """setns(2): join the namespace behind ``fd``, or those of ``kinds`` of the process behind a pidfd."""
    if libc.setns(fd, check_uint(kinds, 31, "namespace kinds")) == -1:
        raise oserror("setns")


def unshare(kinds: int) -> None:
    """unshare(2)."""
    if libc.unshare(check_uint(kinds, 31, "namespace kinds")) == -1:
        raise oserror("unshare")


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    """prctl(2)."""
    check_uint(first, 64, "prctl argument")
    check_uint(second, 64, "prctl argument")
    result: int = libc.prctl(option, first, second, 0, 0)
    if result == -1:
        raise oserror(f"prctl {option}")
    return result


def close_on_exec_from(first: int) -> None:
    """close_range(2): mark every descriptor from ``first`` on close-on-exec."""
    syscall(_CLOSE_RANGE, first, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC, call="close_range")


def install_seccomp(program: bytes, flags: int) -> int:
    """seccomp(2): install a classic BPF program (8 bytes an instruction) on this process."""
    if not program or len(program) % 8:
        raise ValueError(f"a BPF program is a multiple of 8 bytes, got {len(program)}")
    fprog = _SockFprog(check_uint(len(program) // 8, 16, "instructions"), program)
    number = syscall_number("seccomp")
    return syscall(number, _SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(fprog), call="seccomp")


def join_session_keyring(name: str) -> None:
    """keyctl(2): a new session keyring, so that the caller's keys stay outside."""
    syscall(syscall_number("keyctl"), _KEYCTL_JOIN_SESSION_KEYRING, cstring(name), call="keyctl")


def set_hostname(name: str) -> None:
    """sethostname(2)."""
    raw = cstring(name)
    if libc.sethostname(raw, len(raw)) == -1:
        raise oserror("sethostname")


def set_domainname(name: str) -> None:
    """setdomainname(2)."""
    raw = cstring(name)
    if libc.setdomainname(raw, len(raw)) == -1:
        raise oserror("setdomainname")


def set_personality(persona: int) -> None:
    """personality(2)."""
    if libc.personality(check_uint(persona, 32, "personality")) == -1:
        raise oserror("personality")


def set_memory_policy(mode: int, nodes: bytes) -> None:
    """set_mempolicy(2) for this thread; ``nodes`` is a bit mask in machine words, empty for no nodes."""
    # The kernel reads one bit less than the number says.
    bits = len(nodes) * 8 + 1 if nodes else 0
    number = syscall_number("set_mempolicy")
    syscall(number, check_uint(mode, 32, "memory policy"), nodes or 0, bits, call="set_mempolicy")


def set_scheduler(values: Sequence[int]) -> None:
    """sched_setattr(2) for this process: policy, flags, nice, priority, runtime, deadline, period."""
    attr = _SchedAttr(ctypes.sizeof(_SchedAttr), *values)
    syscall(syscall_number("sched_setattr"), 0, ctypes.addressof(attr), 0, call="sched_setattr")


def set_io_priority(class_: int, level: int) -> None:
    """ioprio_set(2) for this process."""
    syscall(syscall_number("ioprio_set"), 1, 0, class_ << 13 | level, call="ioprio_set")


def default_internal_signals() -> None:
    """Give the two signals that the C library keeps for itself, and ignores in what it spawns, their default action.

    An ignored signal stays ignored through execve, so a container would start with these two.
    """
    for number in (32, 33):
        action = bytes(32)  # struct sigaction of the kernel: SIG_DFL, no flags, an empty mask
        syscall(syscall_number("rt_sigaction"), number, action, 0, 8, call="rt_sigaction")


def keep_only(fds: Sequence[int]) -> list[int]:
    """Close every descriptor but the standard streams and ``fds``, which move to 3, 4 and so on: those are returned."""
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in fds]
    places = range(3, 3 + len(moved))
    for place, fd in zip(places, moved, strict=True):
        os.dup2(fd, place, inheritable=False)
    os.closerange(places.stop, max(moved) + 1)
    return list(places)
