"""What ociworks never does on Linux: refused before anything exists, never ignored in silence."""

from __future__ import annotations

from ociworks.errors import NotSupported
from ociworks.spec.runtime import Process, Spec

__all__ = ["refuse_process", "refuse_unsupported"]

_OTHERS = ("windows", "solaris", "freebsd", "vm", "zos")


def refuse_unsupported(spec: Spec) -> None:
    """Raise NotSupported with every section of the configuration that would otherwise go unheeded."""
    found = [f"$.{name}: this is a Linux runtime" for name in _OTHERS if getattr(spec, name) is not None]
    if found:
        raise NotSupported("; ".join(found))


def refuse_process(process: Process) -> None:
    """The same for one process, of a container or of an exec."""
    if process.command_line:
        raise NotSupported("$.process.commandLine: only Windows has a command line")
