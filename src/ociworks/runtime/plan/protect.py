"""Masked and read-only paths, as operations (runtime-spec config-linux.md)."""

from __future__ import annotations

import posixpath

from ociworks.runtime.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    from ociworks.spec.runtime import Linux

__all__ = ["protect_ops"]

_KERNEL: Final = ("/proc/", "/sys/")


def protect_ops(linux: Linux) -> Iterator[ops.Op]:
    """Read-only paths, then masked ones.

    Below ``/proc`` and ``/sys``, which must be the kernel's own, no name can be exchanged while it is covered; whatever
    else is protected may lie in a tree that others can write, so it is looked at again (ATTACKS RT-15).
    """
    if read_only := tuple(dict.fromkeys(linux.readonly_paths)):
        yield ops.read_only(read_only, _elsewhere(read_only))
    if masked := tuple(dict.fromkeys(linux.masked_paths)):
        yield ops.mask(masked, _elsewhere(masked))


def _elsewhere(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(path for path in paths if not posixpath.normpath(path).startswith(_KERNEL))
