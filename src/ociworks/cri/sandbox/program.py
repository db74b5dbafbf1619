"""The program that holds a process namespace: a list of system calls, put together as an ELF file of one page.

::

    read        one byte of its standard input: it may stay                    (end of file: it ends)
    setgroups, setresgid, setresuid, prctl     nobody, for good
    rt_sigaction                               ignore SIGCHLD: the kernel reaps the orphans of the namespace
    prctl                                      a filter (seccomp(2)): whoever traces it can make it do nothing else
    close_range                                its standard input too, so that the other end hears of it
    ppoll                                      of nothing, again and again

A call that fails ends it. There is a machine for each architecture that runs containers here, x86-64 and ARM64.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from ociworks._linux import elf
from ociworks.errors import NotSupported

__all__ = ["assemble"]

_BASE: Final = 0x400000
_HEADERS: Final = elf.headers()
_ACTION: Final = struct.pack("<4Q", 1, 0, 0, 0)
"""``struct sigaction``: SIG_IGN."""
_SIGCHLD: Final = 17
_SET_SECCOMP: Final = 22
_NO_NEW_PRIVS: Final = 38
_FILTER: Final = 2
_LATER: Final = ("ppoll", "close_range", "restart_syscall")
"""What is done once the filter is there; everything else is the end."""
_LOAD, _JUMP_IF, _RETURN = 0x20, 0x15, 0x06
_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_EVERY_FD: Final = 0xFFFFFFFF
_STACK: Final = -1
"""An argument: where the stack pointer points to."""


class _X86:
    """Pieces of code: each has the same length whatever its numbers are, and jumps count from its own start."""

    number = 62
    audit = 0xC000003E
    calls: Final = {
        "read": 0,
        "rt_sigaction": 13,
        "setgroups": 116,
        "setresuid": 117,
        "setresgid": 119,
        "prctl": 157,
        "restart_syscall": 219,
        "exit_group": 231,
        "ppoll": 271,
        "close_range": 436,
    }
    _LOADS = (b"\xbf", b"\xbe", b"\xba", b"\x41\xba", b"\x41\xb8")

    def call(self, name: str, arguments: Sequence[int]) -> bytes:
        code = b"\xb8" + struct.pack("<I", self.calls[name])
        for load, value in zip(self._LOADS, arguments, strict=False):
            code += b"\x48\x89\xe6" if value == _STACK else load + struct.pack("<I", value)
        return code + b"\x0f\x05"

    def jump_if_less(self, least: int, distance: int) -> bytes:
        return b"\x83\xf8" + struct.pack("<b", least) + b"\x0f\x8c" + struct.pack("<i", distance - 9)

    def jump(self, distance: int) -> bytes:
        return b"\xe9" + struct.pack("<i", distance - 5)


class _Arm:
    """The same for the other architecture."""

    number = 183
    audit = 0xC00000B7
    calls: Final = {
        "read": 63,
        "ppoll": 73,
        "exit_group": 94,
        "restart_syscall": 128,
        "rt_sigaction": 134,
        "setresuid": 147,
        "setresgid": 149,
        "setgroups": 159,
        "prctl": 167,
        "close_range": 436,
    }

    def call(self, name: str, arguments: Sequence[int]) -> bytes:
        code = self._load(8, self.calls[name])
        for register, value in enumerate(arguments):
            code += (
                struct.pack("<I", 0x910003E0 | register) if value == _STACK else self._load(register, value)
            )
        return code + struct.pack("<I", 0xD4000001)

    def jump_if_less(self, least: int, distance: int) -> bytes:
        steps = (distance - 4) // 4 & 0x7FFFF
        return struct.pack("<II", 0x7100001F | least << 10, 0x5400000B | steps << 5)

    def jump(self, distance: int) -> bytes:
        return struct.pack("<I", 0x14000000 | distance // 4 & 0x3FFFFFF)

    def _load(self, register: int, value: int) -> bytes:
        low, high = value & 0xFFFF, value >> 16
        return struct.pack("<II", 0xD2800000 | low << 5 | register, 0xF2A00000 | high << 5 | register)


_MACHINES: Final[Mapping[str, _X86 | _Arm]] = {"x86_64": _X86(), "aarch64": _Arm()}


def assemble(uid: int, gid: int, architecture: str = "") -> bytes:
    """The program for a process that becomes these IDs. NotSupported on other machines."""
    name = architecture or platform.machine()
    if name not in _MACHINES:
        raise NotSupported(f"a process namespace that containers share: not on {name}")
    machine = _MACHINES[name]
    end = machine.call("exit_group", (1,))
    constants, filtering = _constants(machine)
    code = end
    for call, arguments, least in _steps(uid, gid, filtering):
        code += machine.call(call, arguments)
        code += machine.jump_if_less(least, -len(code))
    sleep = machine.call("ppoll", (0, 0, 0, 0, 0))
    code += sleep + machine.jump(-len(sleep))
    return elf.executable(machine.number, _BASE, constants + code, entry=len(constants) + len(end))


def _steps(uid: int, gid: int, filtering: int) -> Sequence[tuple[str, Sequence[int], int]]:
    """Each call, its arguments, and the least that it gives when it went well."""
    return (
        ("read", (0, _STACK, 1), 1),
        ("setgroups", (0, 0), 0),
        ("setresgid", (gid, gid, gid), 0),
        ("setresuid", (uid, uid, uid), 0),
        ("prctl", (_NO_NEW_PRIVS, 1, 0, 0, 0), 0),
        ("rt_sigaction", (_SIGCHLD, _BASE + _HEADERS, 0, 8), 0),
        ("prctl", (_SET_SECCOMP, _FILTER, filtering, 0, 0), 0),
        ("close_range", (0, _EVERY_FD, 0), 0),
    )


def _constants(machine: _X86 | _Arm) -> tuple[bytes, int]:
    """What lies before the code, the action for SIGCHLD first; and the address of the ``struct sock_fprog`` in it."""
    allowed = [machine.calls[name] for name in _LATER]
    program = [(_LOAD, 0, 0, 4), (_JUMP_IF, 0, len(allowed) + 1, machine.audit), (_LOAD, 0, 0, 0)]
    program += [(_JUMP_IF, len(allowed) - place, 0, number) for place, number in enumerate(allowed)]
    program += [(_RETURN, 0, 0, _KILL), (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    start = _BASE + _HEADERS + len(_ACTION)
    return _ACTION + code + struct.pack("<HxxxxxxQ", len(program), start), start + len(code)
