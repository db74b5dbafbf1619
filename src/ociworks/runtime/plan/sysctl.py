"""Kernel settings: only those that belong to a namespace of the container's own (RT-29)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from ociworks._linux import process
from ociworks.errors import InvalidSpec, NotSupported, Problem, quote
from ociworks.runtime.plan import ops

__all__ = ["sysctl_ops"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+){1,9}", re.ASCII)
_IPC: Final = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
_MAX_VALUE: Final = 4096


def sysctl_ops(settings: Mapping[str, str], private: int) -> Iterator[ops.Op]:
    """One write per setting; ``private`` are the namespaces that the container does not share with the host."""
    for name, value in settings.items():
        where = f"$.linux.sysctl[{quote(name)}]"
        if not _NAME.fullmatch(name):
            raise InvalidSpec([Problem(where, "expected a dotted name of letters, digits, - and _")])
        if len(value) > _MAX_VALUE or not value.isprintable():
            raise InvalidSpec([Problem(where, "expected one printable line")])
        dotted = _dotted(name)
        needed = _namespace(dotted)
        if not needed:
            raise NotSupported(f"{where}: this setting is the whole host's, not a namespace's")
        if not private & needed:
            raise NotSupported(
                f"{where}: would change the host's value; give the container its own namespace"
            )
        yield ops.sysctl(dotted.replace(".", "\0").replace("/", ".").replace("\0", "/"), value)


def _dotted(name: str) -> str:
    """The form in which ``.`` separates; sysctl(8) also takes ``/`` as separator, and then swaps the two."""
    separator = next(character for character in name if character in "./")
    return name if separator == "." else name.replace(".", "\0").replace("/", ".").replace("\0", "/")


def _namespace(name: str) -> int:
    if name in _IPC or name.startswith("fs.mqueue."):
        return process.CLONE_NEWIPC
    if name.startswith("net."):
        return process.CLONE_NEWNET
    if name in ("kernel.domainname", "kernel.hostname"):
        return process.CLONE_NEWUTS
    if name.startswith("user."):
        return process.CLONE_NEWUSER
    return 0
