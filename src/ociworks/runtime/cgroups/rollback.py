"""Several files as one change: when the kernel refuses one, those before it get back what they had.

Most limits are one value in one file. Some files have a line for each device or resource; there the line with the
same first word is what was in force, and its absence is spelled file by file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ociworks.errors import CgroupError
from ociworks.runtime._cgroupfs import chosen
from ociworks.runtime._cgroupkill import read_text, write

if TYPE_CHECKING:
    from ociworks.runtime.cgroups.settings import Setting

__all__ = ["apply_all"]

_UNSET: Final = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "rdma.max": "hca_handle=max hca_object=max",
    "misc.max": "max",
}
"""What takes a line out of a file with many; version 1 writes 0 everywhere."""


def apply_all(settings: Sequence[Setting]) -> None:
    """Make the settings in order, or none. Raises CgroupError, which says so when something could not be undone."""
    done: list[tuple[str, bytes]] = []
    for path, value in map(chosen, settings):
        if not path:
            continue
        before = _before(path, value)
        try:
            write(path, value)
        except OSError as error:
            stuck = _undo(done)
            also = f"; {stuck} could not be set back" if stuck else "; nothing was changed"
            raise CgroupError(f"{path}: {error.strerror}{also}") from error
        if before is not None:
            done.append((path, before))


def _undo(done: Sequence[tuple[str, bytes]]) -> str:
    """Write back what was there, last first; the first file that refuses, or ""."""
    stuck = ""
    for path, value in reversed(done):
        try:
            write(path, value)
        except OSError:
            stuck = stuck or path
    return stuck


def _before(path: str, value: bytes) -> bytes | None:
    """What to write to have the present state again; None for a file that only takes commands."""
    try:
        lines = read_text(path).splitlines()
    except OSError:
        return None
    name = path.rpartition("/")[2]
    words = value.decode("ascii").split()
    if name == "memory.oom_control":
        return lines[0].split()[1].encode("ascii")
    if len(words) == 1 or name == "cpu.max":
        return (lines[0] if lines else "\n").encode("ascii")
    key = words[0]
    known = next((line for line in lines if line.split()[:1] == [key]), None)
    return (known or f"{key} {_UNSET.get(name, '0')}").encode("ascii")
