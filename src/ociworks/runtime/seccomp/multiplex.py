"""Conditions that libseccomp leaves out: calls that also have an older, multiplexed way in.

On 32-bit x86 (also in 64-bit processes), s390x, and others, ``socket`` can be made as ``socketcall(1, pointer)``,
and System V IPC as ``ipc(number, …)``. The arguments are behind a pointer there, so libseccomp drops a rule's
conditions and keeps its action: "allow socket unless AF_ALG" then allows AF_ALG. Where that would allow more than
was asked for, the few instructions made here go before libseccomp's and give such calls the default::

    ld nr;  jeq socketcall else next;  ld args[0];  and 0xffff;  jeq 1 → return default;  … next
"""

from __future__ import annotations

import struct
import sys

from ociworks.runtime.seccomp.names import STRICTNESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ociworks.spec.runtime import Seccomp

__all__ = ["JEQ", "JUMP", "LOAD", "MULTIPLEXED", "instruction", "prologue"]

LOAD, _AND, JUMP, JEQ, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x06
_NUMBER: Final = 0
_FIRST_ARGUMENT: Final = 16 if sys.byteorder == "little" else 20

_SOCKETS: Final = """
    socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown setsockopt
    getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg
"""
_CALLS: Final = {
    "socketcall": {name: number for number, name in enumerate(_SOCKETS.split(), 1)},
    "ipc": {
        "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
        "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
    },
}  # fmt: skip
MULTIPLEXED: Final = frozenset(_CALLS).union(*_CALLS.values())
"""The calls of both ways."""


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One ``struct sock_filter``."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def prologue(seccomp: Seccomp, default: int, resolve: Callable[[str], int]) -> bytes:
    """The instructions for one architecture; ``resolve`` gives its number of a call, negative for none.

    ``default`` is what the filter returns by default. Empty when no condition would be lost.
    """
    program = b""
    for multiplexer, numbers in _CALLS.items():
        if (number := resolve(multiplexer)) < 0:
            continue
        subcalls = sorted(numbers[name] for name in _lost(seccomp) if name in numbers)
        if subcalls:
            program += _guard(number, subcalls, default)
    return program


def _lost(seccomp: Seccomp) -> set[str]:
    """The calls that are allowed more than the default under conditions only, not altogether."""
    floor = STRICTNESS.index(seccomp.default_action)
    looser = [rule for rule in seccomp.syscalls if STRICTNESS.index(rule.action) > floor]
    conditional = {name for rule in looser if rule.args for name in rule.names}
    return conditional - {name for rule in looser if not rule.args for name in rule.names}


def _guard(number: int, subcalls: list[int], default: int) -> bytes:
    tests = b"".join(
        instruction(
            JEQ, subcall, if_true=len(subcalls) - position - 1, if_false=position == len(subcalls) - 1
        )
        for position, subcall in enumerate(subcalls)
    )
    body = (
        instruction(LOAD, _FIRST_ARGUMENT) + instruction(_AND, 0xFFFF) + tests + instruction(_RETURN, default)
    )
    return instruction(LOAD, _NUMBER) + instruction(JEQ, number, if_false=len(body) // 8) + body
