"""Programs that need nothing but a kernel: Debian's static busybox, or a tiny one made here."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

__all__ = ["BUSYBOX", "compile_tiny", "is_static"]

BUSYBOX = Path("/bin/busybox")
"""Where Debian's package busybox-static puts it; the package busybox puts a dynamic one there."""

_PT_INTERP = 3


def is_static(program: Path) -> bool:
    """Whether it is there, and a 64-bit ELF program that asks for no interpreter: no program header is PT_INTERP."""
    try:
        content = program.read_bytes()
    except OSError:
        return False
    if content[:5] != b"\x7fELF\x02":
        return False
    order = "<" if content[5] == 1 else ">"
    (table,) = struct.unpack_from(f"{order}Q", content, 32)
    size, count = struct.unpack_from(f"{order}HH", content, 54)
    kinds = [struct.unpack_from(f"{order}I", content, table + size * number)[0] for number in range(count)]
    return _PT_INTERP not in kinds


def compile_tiny(folder: Path) -> Path | None:
    """``tiny.c`` as a static program in ``folder``; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    tiny = folder / "tiny"
    source = Path(__file__).with_name("tiny.c")
    subprocess.run([compiler, "-static", "-O2", "-o", tiny, source], check=True)
    return tiny
