"""A classic BPF interpreter for seccomp filters: what a program answers, without installing it."""

from __future__ import annotations

import struct

__all__ = ["I386", "X32", "X86_64", "verdict"]

X86_64, I386, X32 = 0xC000003E, 0x40000003, 0x40000000
_MASK = 0xFFFFFFFF


def verdict(program: bytes, number: int, args: tuple[int, ...] = (), arch: int = X86_64) -> int:
    """What the filter returns for one call; ``X32`` is added to ``number`` for that architecture's calls."""
    padded = (*args, *(0,) * (6 - len(args)))
    data = struct.pack("=IIQ6Q", number & _MASK, arch, 0, *(arg & (1 << 64) - 1 for arg in padded))
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        op, jump_true, jump_false, k = code[at]
        at += 1
        if op == 0x20:  # ld [k]
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif op == 0x54:  # and #k
            accumulator &= k
        elif op == 0x05:  # ja
            at += k
        elif op == 0x06:  # ret #k
            return int(k)
        elif op in (0x15, 0x25, 0x35, 0x45):  # jeq, jgt, jge, jset
            true = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: accumulator & k,
            }[op]
            at += jump_true if true else jump_false
        else:
            raise ValueError(f"unexpected instruction {op:#x}")
