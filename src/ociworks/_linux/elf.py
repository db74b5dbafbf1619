"""The smallest executable files (elf(5)): machine code at a fixed address, and no executable stack."""

from __future__ import annotations

import struct

__all__ = ["executable", "headers"]

_HEADER, _SEGMENT = 64, 56
_LOAD, _STACK = 1, 0x6474E551
_EXECUTE, _WRITE, _READ = 1, 2, 4


def headers(*, space: bool = False) -> int:
    """How many bytes come before the code."""
    return _HEADER + (3 if space else 2) * _SEGMENT


def executable(
    machine: int, base: int, code: bytes, *, entry: int = 0, space: tuple[int, int] | None = None
) -> bytes:
    """A file that is mapped at ``base`` and begins at ``entry`` in ``code``.

    ``space`` is address and size of memory, all zeros, that it may write to.
    """
    before = headers(space=space is not None)
    size = before + len(code)
    segments = _segment(_LOAD, _READ | _EXECUTE, base, size)
    if space is not None:
        segments += _segment(_LOAD, _READ | _WRITE, *space, stored=0)
    segments += _segment(_STACK, _READ | _WRITE, 0, 0)
    start = base + before + entry
    rest = (0, 0, _HEADER, _SEGMENT, len(segments) // _SEGMENT, 0, 0, 0)
    kind = b"\x7fELF\x02\x01\x01"
    return struct.pack("<16sHHIQQQIHHHHHH", kind, 2, machine, 1, start, _HEADER, *rest) + segments + code


def _segment(kind: int, flags: int, address: int, size: int, stored: int | None = None) -> bytes:
    align = 16 if kind == _STACK else 0x10000
    return struct.pack(
        "<IIQQQQQQ", kind, flags, 0, address, address, size if stored is None else stored, size, align
    )
