"""What ociworks never does on Linux: refused before anything exists, never ignored in silence."""

from __future__ import annotations

import os

from ociworks._linux import numbers as kernel
from ociworks.errors import NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime.plan.namespaces import Namespaces
    from ociworks.spec.runtime import Linux, Process, Spec

__all__ = ["refuse_joined_mounts", "refuse_process", "refuse_shared_mounts", "refuse_unsupported"]

_DETACHED: Final = (6, 15)
"""The first Linux that mounts in a tree which is mounted nowhere."""

_OTHERS = ("windows", "solaris", "freebsd", "vm", "zos")


def refuse_unsupported(spec: Spec) -> None:
    """Raise NotSupported with every section of the configuration that would otherwise go unheeded."""
    found = [f"$.{name}: this is a Linux runtime" for name in _OTHERS if getattr(spec, name) is not None]
    if found:
        raise NotSupported("; ".join(found))


def refuse_joined_mounts(linux: Linux, found: Namespaces) -> None:
    """Judge a container in a mount namespace that exists already. NotSupported for what only a new one can give."""
    if found.new & kernel.CLONE_NEWNS:
        return
    if found.new & kernel.CLONE_NEWUSER:
        raise NotSupported(
            "$.linux.namespaces: a mount namespace that is joined belongs to another user namespace than the new one; "
            "join that of its owner by path too"
        )
    if linux.rootfs_propagation in ("shared", "rshared"):
        raise NotSupported(
            f"$.linux.rootfsPropagation: {linux.rootfs_propagation} needs a new mount namespace, not one that is joined"
        )


def refuse_shared_mounts(linux: Linux, found: Namespaces, *, overlay: bool) -> None:
    """Judge a container without a mount namespace of its own, whose root is a tree that is mounted nowhere.

    Raises NotSupported where that cannot be.
    """
    where = "$.linux.namespaces: a container needs a mount namespace of its own"
    import re

    major, minor = re.findall("[0-9]+", os.uname().release)[:2]
    release = (int(major), int(minor))  # trusted: the kernel's
    if found.private & kernel.CLONE_NEWUSER or overlay or linux.rootfs_propagation:
        raise NotSupported(f"{where} for a user namespace, an overlay as root, or rootfsPropagation")
    if release < _DETACHED:
        raise NotSupported(f"{where} on Linux before {_DETACHED[0]}.{_DETACHED[1]}")


def refuse_process(process: Process) -> None:
    """The same for one process, of a container or of an exec."""
    if process.command_line:
        raise NotSupported("$.process.commandLine: only Windows has a command line")
    if process.user.username:
        raise NotSupported("$.process.user.username: only Windows has users by name; give uid and gid")
