"""What unpacking may do, what it counted, and what it left out."""

from __future__ import annotations

import logging
import os
from typing import Final, Literal

from attrs import frozen

from ociworks.errors import LimitExceeded, NotSupported, TarError, quote
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits
from ociworks.spec.runtime import IDMapping

__all__ = ["Budget", "DevicePolicy", "LayerReport", "Mappings", "Skipped", "UnpackOptions", "is_rootless"]

_log = logging.getLogger(__name__)
_MAX_LISTED: Final = 1000

DevicePolicy = Literal["skip", "refuse", "create"]
"""Device nodes in layers: passed by and reported, an error, or made (needs root)."""


@frozen(kw_only=True)
class UnpackOptions:
    """How layers become files.

    As root every entry gets its owner. ``rootless`` squashes: nothing is chowned, everything belongs to the caller,
    whom a user namespace then shows as root; devices cannot be made, and file capabilities are left out.
    Raises :class:`ociworks.errors.NotSupported` for ``rootless`` with mappings, and for half a mapping.
    """

    rootless: bool
    devices: DevicePolicy = "skip"
    limits: Limits = DEFAULT_LIMITS
    uid_mappings: tuple[IDMapping, ...] = ()
    """For a container in a user namespace: owner ``container_id + n`` becomes ``host_id + n``; none: as it is."""
    gid_mappings: tuple[IDMapping, ...] = ()
    record_owners: bool = False
    """With ``rootless``: write owners other than root to the attribute ``user.rootlesscontainers``, as umoci does."""

    def __attrs_post_init__(self) -> None:
        if self.rootless and (self.uid_mappings or self.gid_mappings):
            raise NotSupported("rootless unpacking has one owner: mappings need root")
        if bool(self.uid_mappings) != bool(self.gid_mappings):
            raise NotSupported("uid_mappings and gid_mappings: expected both, or none")

    def host_owner(self, uid: int, gid: int) -> tuple[int, int]:
        """The owner on disk; TarError for one that is in no mapping: it would belong to somebody else, or to root."""
        if not self.uid_mappings:
            return uid, gid
        return _mapped(self.uid_mappings, uid, "uid"), _mapped(self.gid_mappings, gid, "gid")


@frozen(kw_only=True)
class Mappings:
    """User and group IDs of a container, and what they are on the host."""

    uids: tuple[IDMapping, ...] = ()
    gids: tuple[IDMapping, ...] = ()

    @classmethod
    def of(cls, host_id: int, size: int) -> Mappings:
        """``size`` users and groups from 0 on, which are ``host_id`` and up on the host."""
        mapping = (IDMapping(container_id=0, host_id=host_id, size=size),)
        return cls(uids=mapping, gids=mapping)


def _mapped(mappings: tuple[IDMapping, ...], value: int, what: str) -> int:
    for mapping in mappings:
        offset = value - mapping.container_id
        if 0 <= offset < mapping.size:
            return mapping.host_id + offset
    raise TarError(f"{what} {value} is in no mapping")


@frozen(kw_only=True)
class Skipped:
    """Something of a layer that was left out on purpose."""

    path: bytes
    reason: str


@frozen(kw_only=True)
class LayerReport:
    """What applying one layer did."""

    entries: int
    bytes: int
    """Uncompressed bytes of the archive, and the holes of its sparse files."""
    skipped: tuple[Skipped, ...]
    """At most the first thousand."""


def is_rootless(wanted: bool | None) -> bool:  # noqa: FBT001 - the public parameter, handed on
    """``wanted``, or whether the caller is not uid 0; NotSupported when owners are wanted but cannot be set."""
    unprivileged = os.geteuid() != 0
    if wanted is False and unprivileged:
        raise NotSupported("only root can give files their owners: unpack with rootless=True, or as root")
    return unprivileged if wanted is None else wanted


class Budget:
    """Counts entries and bytes of an image's layers against the limits, and collects what was skipped."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._image_entries = 0
        self._image_bytes = 0
        self.begin_layer()

    def begin_layer(self) -> None:
        """Start to count a layer."""
        self._entries = 0
        self._bytes = 0
        self._skipped: list[Skipped] = []
        self._once: set[str] = set()

    def count_entry(self) -> None:
        """One more file, directory, link or whiteout."""
        self._entries += 1
        self._image_entries += 1
        _check("entries of a layer", "entries_per_layer", self._entries, self.limits.entries_per_layer)
        _check("entries of an image", "entries_per_image", self._image_entries, self.limits.entries_per_image)

    def count_bytes(self, size: int) -> None:
        """``size`` more uncompressed bytes."""
        limits = self.limits
        self._bytes += size
        self._image_bytes += size
        _check("bytes of a layer", "unpacked_bytes_per_layer", self._bytes, limits.unpacked_bytes_per_layer)
        _check(
            "bytes of an image",
            "unpacked_bytes_per_image",
            self._image_bytes,
            limits.unpacked_bytes_per_image,
        )

    def skip(self, path: bytes, reason: str, *, once: str = "") -> None:
        """Note something left out; with ``once`` only the first of its kind is logged and listed."""
        if once in self._once:
            return
        if once:
            self._once.add(once)
        if len(self._skipped) < _MAX_LISTED:
            _log.warning("unpack: %s: %s", quote(path), reason)
            self._skipped.append(Skipped(path=path, reason=reason))

    def report(self) -> LayerReport:
        """What the layer came to."""
        return LayerReport(entries=self._entries, bytes=self._bytes, skipped=tuple(self._skipped))


def _check(what: str, limit: str, value: int, maximum: int) -> None:
    if value > maximum:
        raise LimitExceeded(what, limit, maximum)
