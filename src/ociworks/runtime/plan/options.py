"""Mount options: attributes, propagation, or for the file system (runtime-spec config.md, Linux mount options)."""

from __future__ import annotations

import functools
from typing import Final

from attrs import frozen

from ociworks._linux import mount
from ociworks.errors import NotSupported, quote
from ociworks.runtime.plan.ops import Attributes, Options

__all__ = ["KNOWN_OPTIONS", "PROPAGATION", "MountOptions", "parse_options"]

# name → (attribute bits to set, bits to clear)
_ATTRIBUTES: Final[dict[str, tuple[int, int]]] = {
    "ro": (mount.ATTR_RDONLY, 0),
    "rw": (0, mount.ATTR_RDONLY),
    "nosuid": (mount.ATTR_NOSUID, 0),
    "suid": (0, mount.ATTR_NOSUID),
    "nodev": (mount.ATTR_NODEV, 0),
    "dev": (0, mount.ATTR_NODEV),
    "noexec": (mount.ATTR_NOEXEC, 0),
    "exec": (0, mount.ATTR_NOEXEC),
    "nodiratime": (mount.ATTR_NODIRATIME, 0),
    "diratime": (0, mount.ATTR_NODIRATIME),
    "nosymfollow": (mount.ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, mount.ATTR_NOSYMFOLLOW),
    "relatime": (mount.ATTR_RELATIME, mount.ATTR_ATIME),
    "norelatime": (mount.ATTR_STRICTATIME, mount.ATTR_ATIME),
    "noatime": (mount.ATTR_NOATIME, mount.ATTR_ATIME),
    "atime": (mount.ATTR_RELATIME, mount.ATTR_ATIME),
    "strictatime": (mount.ATTR_STRICTATIME, mount.ATTR_ATIME),
    "nostrictatime": (mount.ATTR_RELATIME, mount.ATTR_ATIME),
}

RECURSIVE: Final = 1
PROPAGATION: Final[dict[str, int]] = {
    "shared": mount.MS_SHARED,
    "rshared": mount.MS_SHARED | RECURSIVE,
    "slave": mount.MS_SLAVE,
    "rslave": mount.MS_SLAVE | RECURSIVE,
    "private": mount.MS_PRIVATE,
    "rprivate": mount.MS_PRIVATE | RECURSIVE,
    "unbindable": mount.MS_UNBINDABLE,
    "runbindable": mount.MS_UNBINDABLE | RECURSIVE,
}
"""Propagation types by name; bit 0 means recursive."""

_IGNORED: Final = frozenset({"defaults", "async", "nomand", "silent", "loud"})
_SUPERBLOCK: Final = frozenset({"sync", "dirsync", "lazytime", "mand", "iversion"})
_REFUSED: Final = {
    "tmpcopyup": "copying the image's files into a tmpfs",
    "idmap": "idmapped mounts",
    "ridmap": "idmapped mounts",
    "remount": "remounting",
}

KNOWN_OPTIONS: Final = tuple(
    sorted(
        {
            *_ATTRIBUTES,
            *(f"r{name}" for name in _ATTRIBUTES),
            *PROPAGATION,
            *_IGNORED,
            *_SUPERBLOCK,
            "bind",
            "rbind",
        }
    )
)
"""Every option that is not left to the file system."""


@frozen(kw_only=True)
class MountOptions:
    """The options of one mount, sorted by what they act on."""

    bind: bool = False
    recursive: bool = False
    attributes: Attributes = (0, 0, 0, 0)
    propagation: int = 0
    data: Options = ()


@functools.lru_cache(256)
def parse_options(options: tuple[str, ...], where: str) -> MountOptions:
    """Sort options; later ones win. NotSupported for those that ociworks knows and cannot do yet.

    What is left goes to the file system, key by key; a bind has none, so there an unknown option is an error too.
    """
    bind = recursive = False
    plain, below = (0, 0), (0, 0)
    propagation = 0
    data: list[tuple[str, str | None]] = []
    for option in options:
        if option in ("bind", "rbind"):
            bind, recursive = True, option == "rbind"
        elif option in _ATTRIBUTES:
            plain = _merge(plain, _ATTRIBUTES[option])
        elif option.startswith("r") and option[1:] in _ATTRIBUTES:
            below = _merge(below, _ATTRIBUTES[option[1:]])
        elif option in PROPAGATION:
            propagation = PROPAGATION[option]
        elif option in _REFUSED:
            raise NotSupported(f"{where}: option {option}: {_REFUSED[option]} is not supported yet")
        elif option not in _IGNORED:
            key, equals, value = option.partition("=")
            data.append((key, value if equals else None))
    if bind and data:
        raise NotSupported(f"{where}: a bind mount knows no option {quote(data[0][0])}")
    return MountOptions(
        bind=bind, recursive=recursive, attributes=(*plain, *below), propagation=propagation, data=tuple(data)
    )


def _merge(current: tuple[int, int], change: tuple[int, int]) -> tuple[int, int]:
    """Apply one option on top of earlier ones: setting cancels clearing, and an access-time mode replaces another."""
    set_, clear = change
    new_set = current[0] & ~clear | set_
    new_clear = current[1] & ~set_ | clear
    return new_set, new_clear
