"""Whose a file on disk is inside the image, and which attributes the image knows: unpacking, the other way round.

==========  ======================================================  ==========================================
unpacked    owner                                                   ``security.capability``
==========  ======================================================  ==========================================
plainly     as on disk                                              as on disk
mapped      the inverse of the mapping; LayerError outside of it    without the root of the mapping
rootless    as ``user.rootlesscontainers`` records it, else         not compared: it was left out
            unknown: everything belongs to the caller
==========  ======================================================  ==========================================
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ociworks.errors import LayerError
from ociworks.image._unpack.policy import Mappings
from ociworks.image._unpack.xattrs import CAPABILITY, ROOTLESS, xattr_rule
from ociworks.image.tar.numbers import MAX_ID

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from ociworks.spec.runtime import IDMapping

__all__ = ["Owners"]

_REVISION_2: Final = 0x02000000
_REVISION_3: Final = 0x03000000
_REVISIONS: Final = 0xFF000000


@frozen(kw_only=True)
class Owners:
    """How a tree was unpacked."""

    rootless: bool
    mappings: Mappings | None = None

    def of(self, info: os.stat_result, attributes: Mapping[bytes, bytes]) -> tuple[int, int] | None:
        """User and group inside the image; None when the disk does not know."""
        if self.rootless:
            recorded = attributes.get(ROOTLESS)
            return None if recorded is None else _recorded(recorded)
        if self.mappings is not None:
            uid = _inside(self.mappings.uids, info.st_uid, "uid")
            return uid, _inside(self.mappings.gids, info.st_gid, "gid")
        return info.st_uid, info.st_gid

    def attributes(self, found: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Those that unpacking sets, from the disk or from a layer, as the image has them."""
        if not found:
            return {}
        kept = {name: value for name, value in found.items() if xattr_rule(name) != "skip"}
        kept.pop(ROOTLESS, None)
        if self.rootless:
            kept.pop(CAPABILITY, None)
        elif self.mappings is not None and CAPABILITY in kept:
            kept[CAPABILITY] = self._unmapped(kept[CAPABILITY])
        return kept

    def _unmapped(self, value: bytes) -> bytes:
        """A capability for the root of the mapping is one for root inside (linux/capability.h, revisions 3 and 2)."""
        if self.mappings is None or len(value) != 24:
            return value
        magic, rest, root = struct.unpack("<I16sI", value)
        if magic & _REVISIONS != _REVISION_3 or _inside(self.mappings.uids, root, "root of a capability"):
            return value
        return struct.pack("<I16s", magic & ~_REVISIONS | _REVISION_2, rest)


def _inside(mappings: tuple[IDMapping, ...], value: int, what: str) -> int:
    for mapping in mappings:
        offset = value - mapping.host_id
        if 0 <= offset < mapping.size:
            return mapping.container_id + offset
    raise LayerError(f"{what} {value} on disk is in no mapping: it belongs to nobody in the container")


def _recorded(message: bytes) -> tuple[int, int]:
    """A ``rootlesscontainers.Resource``: field 1 is the user, field 2 the group, missing ones are 0 (proto3)."""
    owners = {0x08: 0, 0x10: 0}
    position = 0
    while position < len(message):
        key = message[position]
        value, position = _varint(message, position + 1)
        if key not in owners or value > MAX_ID:
            raise LayerError("malformed user.rootlesscontainers attribute")
        owners[key] = value
    return owners[0x08], owners[0x10]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise LayerError("malformed user.rootlesscontainers attribute")
