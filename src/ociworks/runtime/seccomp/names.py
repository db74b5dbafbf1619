"""The words of ``linux.seccomp`` and the numbers of the kernel and of libseccomp that they stand for."""

from __future__ import annotations

from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "ACTIONS",
    "ARCHITECTURES",
    "ERRNO_ACTIONS",
    "FLAGS",
    "NEW_LISTENER",
    "OPERATORS",
    "STRICTNESS",
    "TSYNC",
    "TSYNC_ESRCH",
    "UNLESS_GIVEN",
    "WAIT_KILLABLE_RECV",
]

ACTIONS: Final = MappingProxyType(
    {
        "SCMP_ACT_KILL": 0x00000000,
        "SCMP_ACT_KILL_THREAD": 0x00000000,
        "SCMP_ACT_KILL_PROCESS": 0x80000000,
        "SCMP_ACT_TRAP": 0x00030000,
        "SCMP_ACT_ERRNO": 0x00050000,
        "SCMP_ACT_NOTIFY": 0x7FC00000,
        "SCMP_ACT_TRACE": 0x7FF00000,
        "SCMP_ACT_LOG": 0x7FFC0000,
        "SCMP_ACT_ALLOW": 0x7FFF0000,
    }
)
"""Action → what a filter returns (seccomp(2)); the low 16 bits are free for data."""

ERRNO_ACTIONS: Final = frozenset(("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"))
"""The actions that carry ``errnoRet``: an error number, or the message for the tracer."""

STRICTNESS: Final = (
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
    "SCMP_ACT_ALLOW",
)
"""The kernel's order of precedence, the strictest first."""

OPERATORS: Final = MappingProxyType(
    {
        "SCMP_CMP_NE": 1,
        "SCMP_CMP_LT": 2,
        "SCMP_CMP_LE": 3,
        "SCMP_CMP_EQ": 4,
        "SCMP_CMP_GE": 5,
        "SCMP_CMP_GT": 6,
        "SCMP_CMP_MASKED_EQ": 7,
    }
)
"""Operator → libseccomp's number."""

_64, _LE, _N32 = 0x80000000, 0x40000000, 0x20000000

ARCHITECTURES: Final = MappingProxyType(
    {
        "SCMP_ARCH_X86": 3 | _LE,
        "SCMP_ARCH_X86_64": 62 | _64 | _LE,
        "SCMP_ARCH_X32": 62 | _LE,
        "SCMP_ARCH_ARM": 40 | _LE,
        "SCMP_ARCH_AARCH64": 183 | _64 | _LE,
        "SCMP_ARCH_LOONGARCH64": 258 | _64 | _LE,
        "SCMP_ARCH_M68K": 4,
        "SCMP_ARCH_MIPS": 8,
        "SCMP_ARCH_MIPS64": 8 | _64,
        "SCMP_ARCH_MIPS64N32": 8 | _64 | _N32,
        "SCMP_ARCH_MIPSEL": 8 | _LE,
        "SCMP_ARCH_MIPSEL64": 8 | _64 | _LE,
        "SCMP_ARCH_MIPSEL64N32": 8 | _64 | _LE | _N32,
        "SCMP_ARCH_PPC": 20,
        "SCMP_ARCH_PPC64": 21 | _64,
        "SCMP_ARCH_PPC64LE": 21 | _64 | _LE,
        "SCMP_ARCH_S390": 22,
        "SCMP_ARCH_S390X": 22 | _64,
        "SCMP_ARCH_SH": 42 | _LE,
        "SCMP_ARCH_SHEB": 42,
        "SCMP_ARCH_PARISC": 15,
        "SCMP_ARCH_PARISC64": 15 | _64,
        "SCMP_ARCH_RISCV64": 243 | _64 | _LE,
    }
)
"""Architecture → the audit number: ELF machine, word size, byte order."""

TSYNC: Final = 1
NEW_LISTENER: Final = 8
TSYNC_ESRCH: Final = 16
WAIT_KILLABLE_RECV: Final = 32

FLAGS: Final = MappingProxyType(
    {
        "SECCOMP_FILTER_FLAG_TSYNC": TSYNC,
        "SECCOMP_FILTER_FLAG_LOG": 2,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": WAIT_KILLABLE_RECV,
    }
)
"""Flag → the bit for seccomp(2)."""
UNLESS_GIVEN: Final = ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",)
"""As runc and Docker have it: a filter is no reason to switch off speculation, which older kernels do otherwise."""
