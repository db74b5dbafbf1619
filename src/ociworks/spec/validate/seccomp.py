"""Rules for the system call filter."""

from __future__ import annotations

from ociworks.errors import Problem
from ociworks.spec.validate._checks import check_choice, check_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import Seccomp, Syscall, SyscallArg

__all__ = ["ACTIONS", "ARCHITECTURES", "FLAGS", "OPERATORS", "RULES"]

ACTIONS: Final = frozenset(
    "SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_KILL_THREAD SCMP_ACT_TRAP SCMP_ACT_ERRNO SCMP_ACT_TRACE "
    "SCMP_ACT_ALLOW SCMP_ACT_LOG SCMP_ACT_NOTIFY".split()
)
ARCHITECTURES: Final = frozenset(
    f"SCMP_ARCH_{name}"
    for name in "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 "
    "S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB".split()
)
OPERATORS: Final = frozenset(f"SCMP_CMP_{name}" for name in "NE LT LE EQ GE GT MASKED_EQ".split())
FLAGS: Final = frozenset(
    f"SECCOMP_FILTER_FLAG_{name}" for name in "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV".split()
)

_SECTION: Final = "runtime-spec config-linux.md, Seccomp"
_WITH_ERRNO: Final = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
_MAX_ERRNO: Final = 4095
_LAST_ARGUMENT: Final = 5


def _seccomp(value: Seccomp, at: str) -> Iterator[Problem]:
    """Known names, an errno only where the action takes one, and a listener when somebody is to be asked."""
    yield from check_choice(value.default_action, ACTIONS, f"{at}.defaultAction", _SECTION)
    yield from _errno(value.default_action, value.default_errno_ret, f"{at}.defaultErrnoRet")
    for index, architecture in enumerate(value.architectures):
        yield from check_choice(architecture, ARCHITECTURES, f"{at}.architectures[{index}]", _SECTION)
    for index, flag in enumerate(value.flags or ()):
        yield from check_choice(flag, FLAGS, f"{at}.flags[{index}]", _SECTION)
    yield from _listener(value, at)


def _listener(value: Seccomp, at: str) -> Iterator[Problem]:
    asks = any(rule.action == "SCMP_ACT_NOTIFY" for rule in value.syscalls)
    if value.default_action == "SCMP_ACT_NOTIFY":
        message = "SCMP_ACT_NOTIFY cannot be the default: the descriptor could not be sent either"
        yield Problem(f"{at}.defaultAction", message, _SECTION)
    if asks and not value.listener_path:
        yield Problem(f"{at}.listenerPath", "is required with SCMP_ACT_NOTIFY", _SECTION)
    if value.listener_metadata and not value.listener_path:
        yield Problem(f"{at}.listenerMetadata", "must not be set without listenerPath", _SECTION)


def _errno(action: str, errno: int | None, at: str) -> Iterator[Problem]:
    if errno is not None and action in ACTIONS - _WITH_ERRNO:
        yield Problem(at, f"{action} takes no errno", _SECTION)
    yield from check_range(errno, 0, _MAX_ERRNO, at, f"{_SECTION}; seccomp(2)")


def _syscall(value: Syscall, at: str) -> Iterator[Problem]:
    """Names, an action, and its errno."""
    if not value.names:
        yield Problem(f"{at}.names", "expected at least one entry", _SECTION)
    for index, name in enumerate(value.names):
        if not name:
            yield Problem(f"{at}.names[{index}]", "must not be empty", _SECTION)
    yield from check_choice(value.action, ACTIONS, f"{at}.action", _SECTION)
    yield from _errno(value.action, value.errno_ret, f"{at}.errnoRet")


def _argument(value: SyscallArg, at: str) -> Iterator[Problem]:
    """One of six arguments, and a known operator."""
    yield from check_range(value.index, 0, _LAST_ARGUMENT, f"{at}.index", f"{_SECTION}; seccomp(2)")
    yield from check_choice(value.op, OPERATORS, f"{at}.op", _SECTION)


RULES: Final = {"Seccomp": _seccomp, "Syscall": _syscall, "SyscallArg": _argument}
