"""Kernel settings: only those that belong to a namespace of the container's own (RT-29)."""

from __future__ import annotations

from ociworks._linux import numbers as kernel
from ociworks.errors import InvalidSpec, NotSupported, Problem, quote
from ociworks.runtime.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

__all__ = ["sysctl_ops"]

_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_PARTS: Final = range(2, 11)
_IPC: Final = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
_MAX_VALUE: Final = 4096


def sysctl_ops(settings: Mapping[str, str], private: int) -> Iterator[ops.Op]:
    """One write per setting; ``private`` are the namespaces that the container does not share with the host."""
    for name, value in settings.items():
        where = f"$.linux.sysctl[{quote(name)}]"
        if not _is_name(name):
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


def _is_name(name: str) -> bool:
    parts = name.replace("/", ".").split(".")
    return len(parts) in _PARTS and all(part and _PLAIN.issuperset(part) for part in parts)


def _dotted(name: str) -> str:
    """The form in which ``.`` separates; sysctl(8) also takes ``/`` as separator, and then swaps the two."""
    separator = next(character for character in name if character in "./")
    return name if separator == "." else name.replace(".", "\0").replace("/", ".").replace("\0", "/")


def _namespace(name: str) -> int:
    if name in _IPC or name.startswith("fs.mqueue."):
        return kernel.CLONE_NEWIPC
    if name.startswith("net."):
        return kernel.CLONE_NEWNET
    if name in ("kernel.domainname", "kernel.hostname"):
        return kernel.CLONE_NEWUTS
    if name.startswith("user."):
        return kernel.CLONE_NEWUSER
    return 0
