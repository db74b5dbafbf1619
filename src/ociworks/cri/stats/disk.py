"""What containers have written, and the file system that holds it."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Final, Protocol

from attrs import frozen

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.stats.aged import Aged
from ociworks.errors import OciworksError
from ociworks.runtime._cgroupkill import number

__all__ = ["Disk", "Layers", "Space", "block_devices"]

_NOTHING: Final = (0, 0)
_COLUMNS: Final = 4


class Layers(Protocol):
    """The writable layers of containers; the images have them."""

    def usage(self, container_id: str) -> tuple[int, int]:
        """Bytes and inodes of what a container has changed, counted now."""

    def fs_info(self) -> api.ImageFsInfoResponse:
        """Which file systems there are."""


@frozen(kw_only=True)
class Space:
    """A file system."""

    device: str
    """As it is mounted, such as ``/dev/vda1``."""
    size: int
    """Bytes."""
    inodes: int
    inodes_free: int


class Disk:
    """What containers have written, counted again after a while."""

    def __init__(self, layers: Layers, root: str, period: int) -> None:
        self._layers = layers
        self._root = root
        self._written: Aged[tuple[int, int]] = Aged(period)
        self._spaces: Aged[Space] = Aged(period)
        self._mountpoint = ""

    @property
    def mountpoint(self) -> str:
        """What the kubelet knows the file system of writable layers by: as ImageFsInfo says."""
        if not self._mountpoint:
            try:
                found = self._layers.fs_info().container_filesystems
            except OciworksError:
                return self._root
            self._mountpoint = found[0].fs_id.mountpoint if found else self._root
        return self._mountpoint

    def space(self) -> Space:
        """The file system that containers write to."""
        return self._spaces.get(self.mountpoint, lambda: _space(self.mountpoint))

    def written(self, container_id: str) -> tuple[int, int]:
        """Bytes and inodes that one container has written; they may be a little old."""
        return self._written.get(container_id, lambda: self._count(container_id))

    def keep(self, container_ids: Collection[str]) -> None:
        """Forget all others."""
        self._written.keep(container_ids)

    def writable_layer(self, container_id: str, at: int) -> api.FilesystemUsage:
        """What one container has written."""
        used, inodes = self.written(container_id)
        return api.FilesystemUsage(
            timestamp=at,
            fs_id=api.FilesystemIdentifier(mountpoint=self.mountpoint),
            used_bytes=api.UInt64Value(value=used),
            inodes_used=api.UInt64Value(value=inodes),
        )

    def _count(self, container_id: str) -> tuple[int, int]:
        try:
            return self._layers.usage(container_id)
        except (OciworksError, OSError):  # it has none, or is being removed
            return _NOTHING


def block_devices() -> dict[tuple[int, int], str]:
    """The block devices of this machine, by their numbers."""
    with open("/proc/partitions", encoding="ascii") as stream:
        columns = [line.split() for line in stream]
    listed = (words for words in columns if len(words) == _COLUMNS and words[0].isdigit())
    return {(number(major), number(minor)): f"/dev/{name}" for major, minor, _, name in listed}


def _space(path: str) -> Space:
    try:
        found, device = os.statvfs(path), os.stat(path).st_dev
    except OSError:
        return Space(device="", size=0, inodes=0, inodes_free=0)
    return Space(
        device=_source(device),
        size=found.f_blocks * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
    )


def _source(device: int) -> str:
    """What is mounted there; its numbers where no mount tells."""
    numbers = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            left, _, right = line.partition(" - ")
            if left.split(" ")[2] == numbers:
                return right.split(" ")[1]
    return numbers
