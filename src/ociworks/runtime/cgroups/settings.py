"""What the writers of v1 and v2 files share: the shape of a setting, and checked numbers."""

from __future__ import annotations

from ociworks.errors import CgroupError, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = [
    "HUGEPAGE",
    "MAX_SHARES",
    "Setting",
    "burst",
    "device",
    "limit",
    "one",
    "optional",
    "pids_limit",
    "positive",
    "rdma_entry",
    "shares_of",
    "swap_needs_limit",
    "swappiness_of",
    "word",
]

Setting: TypeAlias = tuple[tuple[str, bytes], ...]
"""Ways to make one setting: the first whose file exists is taken. Almost always there is one way.

A last way without a file name means that a kernel without the others' files has nothing to set."""

MAX_SHARES = 262144
HUGEPAGE = r"[1-9][0-9]*[KMG]B"


def one(directory: str, name: str, value: int | str) -> Setting:
    """The setting that writes ``value`` to one file."""
    return ((f"{directory}/{name}", str(value).encode("ascii")),)


def optional(directory: str, name: str, value: int | str) -> Setting:
    """The same where the kernel has the file; without it there is nothing that this would limit."""
    return (*one(directory, name, value), ("", b""))


def burst(directory: str, name: str, value: int) -> Setting:
    """CPU time saved up, in microseconds; a kernel that cannot save any has what 0 asks for."""
    return one(directory, name, value) if value else optional(directory, name, value)


def limit(value: int, where: str) -> int:
    """``value`` when it is -1 (unlimited) or positive; CgroupError otherwise."""
    if value != -1 and value <= 0:
        raise CgroupError(f"{where}: expected a positive number or -1 for unlimited, got {value}")
    return value


def positive(value: int | None, where: str) -> int:
    """``value`` when it is not negative, 0 for None; zero is how every peer spells "not set" for CPU times."""
    if value is not None and value < 0:
        raise CgroupError(f"{where}: expected no negative number, got {value}")
    return value or 0


def pids_limit(value: int) -> str:
    """``max`` for -1. Zero becomes 1: a group of none could not even take in the container's first process."""
    if value < -1:
        raise CgroupError(f"$.linux.resources.pids.limit: expected -1 for unlimited or a number, got {value}")
    return "max" if value == -1 else str(max(value, 1))


def shares_of(value: int | None) -> int:
    """CPU shares, 0 when not set; the kernel's least is 2."""
    if not value:
        return 0
    if value > MAX_SHARES:
        raise CgroupError(f"$.linux.resources.cpu.shares: expected at most {MAX_SHARES}, got {value}")
    return max(value, 2)


def swappiness_of(value: int) -> int:
    """A percentage: that is all that version 1 groups take."""
    if not 0 <= value <= 100:
        raise CgroupError(f"$.linux.resources.memory.swappiness: expected 0 to 100, got {value}")
    return value


def swap_needs_limit(swap: int | None, memory: int | None) -> None:
    """CgroupError when memory-and-swap is limited without a memory limit, or below it."""
    if swap is None or limit(swap, "$.linux.resources.memory.swap") == -1:
        return
    if memory is None or memory == -1:
        raise CgroupError("$.linux.resources.memory.swap: there is no memory limit that it could contain")
    if swap < memory:
        raise CgroupError(
            f"$.linux.resources.memory.swap: expected at least the memory limit {memory}, got {swap}"
        )


def device(major: int, minor: int, where: str) -> str:
    """``major:minor``."""
    if not (0 <= major < 1 << 32 and 0 <= minor < 1 << 32):
        raise CgroupError(f"{where}: expected device numbers, got {major}:{minor}")
    return f"{major}:{minor}"


def word(text: str, pattern: str, where: str) -> str:
    """``text`` when it is wholly ``pattern``: what is written to the kernel or becomes part of a file's name."""
    import re  # a command loads it only for the rarer limits

    if re.fullmatch(pattern, text, re.ASCII) is None:
        raise CgroupError(f"{where}: {quote(text)} is not of the form {pattern}")
    return text


def rdma_entry(name: str, handles: int | None, objects: int | None) -> str:
    """A line for ``rdma.max``; what is not set stays as it is."""
    where = "$.linux.resources.rdma"
    if handles is None and objects is None:
        raise CgroupError(f"{where}[{quote(name)}]: expected hcaHandles or hcaObjects")
    parts = [word(name, r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,62}", where)]
    parts += [] if handles is None else [f"hca_handle={handles}"]
    parts += [] if objects is None else [f"hca_object={objects}"]
    return " ".join(parts)
