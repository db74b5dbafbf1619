"""The C library, loaded once, and ``syscall``: the one gate through which every raw system call goes.

Design rule 8 of the house: prototypes are declared, integers are range-checked against the register, text is
checked for NUL, and every failure becomes an OSError that names the path.
"""

from __future__ import annotations

import ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "address",
    "check_uint",
    "cstring",
    "libc",
    "oserror",
    "oserror_number",
    "syscall",
    "syscall_number",
]

libc = ctypes.CDLL(None, use_errno=True)
"""The C library. Calls let go of the GIL, because callers are threaded."""
_syscall = libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 6

_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 64) - 1
_UNUSED: Final = tuple((0,) * (6 - used) for used in range(7))

# System calls older than the common table (424 and up), whose numbers differ between architectures.
_NUMBERS: Final = {
    "x86_64": {
        "rt_sigaction": 13,
        "pivot_root": 155,
        "set_mempolicy": 238,
        "keyctl": 250,
        "ioprio_set": 251,
        "sched_setattr": 314,
        "renameat2": 316,
        "seccomp": 317,
    },
    "aarch64": {
        "ioprio_set": 30,
        "pivot_root": 41,
        "rt_sigaction": 134,
        "keyctl": 219,
        "set_mempolicy": 237,
        "sched_setattr": 274,
        "renameat2": 276,
        "seccomp": 277,
    },
}
_NUMBERS["riscv64"] = _NUMBERS["aarch64"]
_MACHINE: Final = {"i686": "x86_64", "armv8l": "aarch64"}.get(os.uname().machine, os.uname().machine)
"""Asked once: personality(2) can change the answer, also to the name of the 32-bit sibling."""


def syscall_number(name: str) -> int:
    """The number of an architecture-dependent system call; OSError(ENOSYS) on an architecture not in the table."""
    try:
        return _NUMBERS[_MACHINE][name]
    except KeyError:
        raise oserror_number(errno.ENOSYS, f"{name} on {_MACHINE}") from None


def oserror(call: str, path: str | bytes | None = None) -> OSError:
    """The OSError for the current ``errno`` of ``call``; ``filename`` is the path when one matters."""
    number = ctypes.get_errno()
    return oserror_number(number, call, path)


def oserror_number(number: int, call: str, path: str | bytes | None = None) -> OSError:
    """The OSError for ``number`` as if ``call`` had failed with it."""
    return OSError(number, f"{call}: {os.strerror(number)}", path)


def cstring(value: str | bytes) -> bytes:
    """Bytes for a C string; ValueError when there is a NUL inside, which C would cut at."""
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if b"\0" in raw:
        raise ValueError(f"NUL byte in {raw!r}")
    return raw


def address(raw: bytes) -> int:
    """The address of a bytes object's NUL-terminated content; the caller keeps the object alive."""
    return ctypes.cast(ctypes.c_char_p(raw), ctypes.c_void_p).value or 0


def check_uint(value: int, bits: int, what: str) -> int:
    """``value`` when it fits an unsigned integer of ``bits``; ctypes would cut it in silence."""
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise OverflowError(f"{what}: {value!r} does not fit {bits} unsigned bits")
    return value


def syscall(number: int, *args: int | bytes, call: str, path: str | bytes | None = None) -> int:
    """Make one system call. Arguments are register values (negatives are sign-extended), or bytes for their address.

    Bytes end with a NUL behind what they hold; the kernel must not write to them.
    """
    for arg in args:
        if arg.__class__ is not bytes and not _LEAST <= arg <= _MOST:  # type: ignore[operator]
            raise OverflowError(f"{call}: {arg!r} does not fit a register")
    result: int = _syscall(number, *args, *_UNUSED[len(args)])
    if result == -1:
        raise oserror(call, path)
    return result
