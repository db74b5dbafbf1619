"""Which extended attributes of an archive reach the disk.

==============================  ====================================================================
name                            what happens
==============================  ====================================================================
``user.overlay.*``              refused: they steer overlayfs (``trusted.overlay.*`` too)
``user.*``                      set; reported once when the file system has none
``security.capability``         checked, and set by root, for the mapped root where there is a mapping; left out
                                and reported when rootless
all others                      left out and reported: labels and ACLs belong to the host
==============================  ====================================================================
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final, Literal

from ociworks.errors import TarError, quote

if TYPE_CHECKING:
    from ociworks.image._unpack.policy import Budget, UnpackOptions
    from ociworks.image.tar.entry import TarEntry

__all__ = [
    "CAPABILITY",
    "ROOTLESS",
    "check_xattrs",
    "clear_xattrs",
    "copy_xattrs",
    "record_owner",
    "set_xattrs",
    "xattr_rule",
]

CAPABILITY: Final = b"security.capability"
ROOTLESS: Final = b"user.rootlesscontainers"
"""Where rootless tools keep owners (rootlesscontai.ners protocol)."""
_USER: Final = b"user."
_OVERLAY: Final = (b"user.overlay.", b"trusted.overlay.")
_MAX_NAME: Final = 255
# linux/capability.h: the revision and the effective flag share the first word; revision 3 adds a root uid.
_CAP_NAMED: Final = 0x03000000
_CAP_SIZES: Final = {0x02000000: 20, _CAP_NAMED: 24}
_CAP_EFFECTIVE: Final = 1
_UNSUPPORTED: Final = (errno.ENOTSUP, errno.EOPNOTSUPP)

Rule = Literal["set", "capability", "skip"]


def xattr_rule(name: bytes) -> Rule:
    """The table above for one name; TarError for those that are refused."""
    if name.startswith(_OVERLAY):
        raise TarError(f"extended attribute {quote(name)} would steer overlayfs")
    if not name or b"\0" in name or len(name) > _MAX_NAME:
        raise TarError(f"illegal extended attribute name {quote(name)}")
    if name == CAPABILITY:
        return "capability"
    return "set" if name.startswith(_USER) and name != _USER else "skip"


def check_xattrs(entry: TarEntry) -> None:
    """Raise TarError when an attribute is refused or malformed, before anything of the entry is created."""
    for name, value in entry.xattrs.items():
        if xattr_rule(name) == "capability":
            _check_capability(value)


def set_xattrs(fd: int, entry: TarEntry, budget: Budget, options: UnpackOptions) -> None:
    """Set the allowed attributes on an open file or directory; after chown, which clears capabilities."""
    for name, value in entry.xattrs.items():
        rule = xattr_rule(name)
        shown = quote(name)
        if rule == "skip":
            budget.skip(entry.path, f"extended attribute {shown} left out", once=f"xattr {shown}")
        elif rule == "capability" and options.rootless:
            budget.skip(entry.path, "file capabilities left out: they need root")
        elif rule == "capability":
            _set(fd, name, _mapped_capability(value, options), entry, budget)
        else:
            _set(fd, name, value, entry, budget)


def record_owner(fd: int, entry: TarEntry, budget: Budget) -> None:
    """Keep the owner of an entry that could not get it, as a ``rootlesscontainers.Resource`` message (proto3)."""
    fields = ((b"\x08", entry.uid), (b"\x10", entry.gid))
    value = b"".join(key + _varint(number) for key, number in fields if number)
    if value:
        _set(fd, ROOTLESS, value, entry, budget)


def clear_xattrs(fd: int) -> None:
    """Take off what a lower layer set: a directory that is described again keeps nothing of its old description."""
    for name in _ours(fd):
        os.removexattr(fd, name)


def copy_xattrs(handle: int, fd: int) -> None:
    """The attributes that unpacking sets, from an O_PATH descriptor to an open file; overlayfs's own stay behind."""
    place = (
        f"/proc/self/fd/{handle}"  # the calls refuse O_PATH descriptors; the magic link reaches this inode
    )
    for name in _ours(place):
        os.setxattr(fd, name, os.getxattr(place, name))


def _ours(place: int | str) -> list[bytes]:
    """Which of the attributes that unpacking sets something has; none where there are no attributes."""
    try:
        names = os.listxattr(place)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return []
        raise
    return [name for name in map(os.fsencode, names) if _is_ours(name)]


def _is_ours(name: bytes) -> bool:
    return name == CAPABILITY or (name.startswith(_USER) and not name.startswith(_OVERLAY))


def _set(fd: int, name: bytes, value: bytes, entry: TarEntry, budget: Budget) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        budget.skip(
            entry.path, "this file system has no extended attributes of this kind", once="unsupported"
        )


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _mapped_capability(value: bytes, options: UnpackOptions) -> bytes:
    """Capabilities count for the user namespace whose root they name; without a name, for the host's alone."""
    if not options.uid_mappings:
        return value
    magic = struct.unpack_from("<I", value)[0]
    own = struct.unpack_from("<I", value, 20)[0] if len(value) == _CAP_SIZES[_CAP_NAMED] else 0
    root, _ = options.host_owner(own, 0)
    return struct.pack("<I", _CAP_NAMED | magic & _CAP_EFFECTIVE) + value[4:20] + struct.pack("<I", root)


def _check_capability(value: bytes) -> None:
    magic = struct.unpack_from("<I", value)[0] if len(value) >= 4 else 0
    if _CAP_SIZES.get(magic & ~_CAP_EFFECTIVE) != len(value):
        raise TarError(f"malformed security.capability of {len(value)} bytes")
