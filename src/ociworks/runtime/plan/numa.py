"""Lists of CPUs and memory nodes as bit masks, and the NUMA memory policy (runtime-spec config-linux.md)."""

from __future__ import annotations

import sys

from ociworks.errors import InvalidSpec, Problem, quote
from ociworks.runtime.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.spec.runtime import MemoryPolicy

__all__ = ["MODES", "MODE_FLAGS", "memory_policy", "numbers"]

_MOST: Final = 1 << 14
"""More CPUs or nodes than any kernel has."""
_WORD: Final = 8
MODES: Final = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MODE_FLAGS: Final = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}


def numbers(text: str, where: str) -> tuple[int, ...]:
    """The members of a list such as ``0-3,7``, in order, each once. InvalidSpec for what is none, or too large."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) <= 6 for end in ends):
            raise InvalidSpec(
                [Problem(where, f"expected numbers and ranges such as 0-3,7, got {quote(text)}")]
            )
        low, high = int(ends[0]), int(ends[1])  # trusted: a few ASCII digits
        if low > high or high >= _MOST:
            raise InvalidSpec([Problem(where, f"expected ranges below {_MOST}, got {quote(part)}")])
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def memory_policy(policy: MemoryPolicy) -> ops.Op:
    """set_mempolicy(2) of a configuration's policy."""
    where = "$.linux.memoryPolicy"
    if policy.mode not in MODES:
        raise InvalidSpec([Problem(f"{where}.mode", f"expected one of {', '.join(sorted(MODES))}")])
    mode = MODES[policy.mode]
    for index, flag in enumerate(policy.flags):
        if flag not in MODE_FLAGS:
            raise InvalidSpec([Problem(f"{where}.flags[{index}]", f"unknown flag {quote(flag)}")])
        mode |= MODE_FLAGS[flag]
    return ops.memory_policy(mode, _mask(numbers(policy.nodes, f"{where}.nodes") if policy.nodes else ()))


def _mask(members: tuple[int, ...]) -> bytes:
    """A bit mask in machine words; empty for nothing."""
    if not members:
        return b""
    size = (members[-1] // (8 * _WORD) + 1) * _WORD
    return sum(1 << member for member in members).to_bytes(size, sys.byteorder)
