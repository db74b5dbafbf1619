"""The device filter of version 2 groups, as eBPF instructions.

The kernel calls the program with ``struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }`` for each
open and mknod; the low 16 bits of ``access_type`` are the type, the high 16 the accesses. It returns 1 to allow::

    r2 = type   r3 = accesses   r4 = major   r5 = minor
    for each exception:  if it matches, return the reverse of the default
    return the default

A granting exception must cover all accesses that are asked for; a denying one, any of them.
"""

from __future__ import annotations

import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.cgroups.rules import DeviceTable, Key

__all__ = ["device_program"]

_LDX_W = 0x61
_ALU_AND, _ALU_RSH, _ALU_MOV_REG = 0x54, 0x74, 0xBC  # 32-bit, by constant; the last by register
_ALU64_MOV = 0xB7
_JNE, _JEQ = 0x55, 0x15
_JNE32 = 0x56
_EXIT = 0x95

_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL = 7


def device_program(table: DeviceTable) -> bytes:
    """The instructions for ``table``, 8 bytes each."""
    code = [
        _op(_LDX_W, 2, 1, 0, 0),
        _op(_ALU_MOV_REG, 3, 2),
        _op(_ALU_AND, 2, value=0xFFFF),
        _op(_ALU_RSH, 3, value=16),
        _op(_LDX_W, 4, 1, 4, 0),
        _op(_LDX_W, 5, 1, 8, 0),
    ]
    for key, access in table.exceptions.items():
        code += _exception(key, access, allow=not table.allow)
    code += _return(allow=table.allow)
    return b"".join(code)


def _exception(key: Key, access: str, *, allow: bool) -> list[bytes]:
    kind, major, minor = key
    mask = sum(_ACCESS[letter] for letter in access)
    tests: list[tuple[int, int]] = [(2, _TYPES[kind])]
    tests += [(register, number) for register, number in ((4, major), (5, minor)) if number is not None]
    tail = _access_test(mask, allow=allow) + _return(allow=allow)
    code: list[bytes] = []
    for position, (register, number) in enumerate(tests):
        skip = (len(tests) - position - 1) + len(tail)
        code.append(_op(_JNE32, register, offset=skip, value=number))
    return code + tail


def _access_test(mask: int, *, allow: bool) -> list[bytes]:
    """Skip the two instructions of the return that follows unless the accesses (r3) match."""
    if mask == _ALL:
        return []
    outside = mask ^ _ALL if allow else mask
    copy_and_mask = [_op(_ALU_MOV_REG, 0, 3), _op(_ALU_AND, 0, value=outside)]
    # Granting: nothing outside the mask may be asked for. Denying: something inside it must be.
    return [*copy_and_mask, _op(_JNE if allow else _JEQ, 0, offset=2, value=0)]


def _return(*, allow: bool) -> list[bytes]:
    return [_op(_ALU64_MOV, 0, value=1 if allow else 0), _op(_EXIT)]


def _op(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    registers = target | source << 4 if sys.byteorder == "little" else target << 4 | source
    signed = value - (1 << 32) if value >= 1 << 31 else value
    return struct.pack("=BBhi", code, registers, offset, signed)
