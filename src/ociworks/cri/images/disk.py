"""What images and containers take on the disk. Layers were counted when they were unpacked; the rest is counted here.

Counting what containers have written means to walk through it. It is done again after the configured period, and after
twenty times what it took, so that it never is most of what this machine does.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Final

from ociworks.cri.images.roots import Roots
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import ImageNotFound
from ociworks.image.layout import Layout
from ociworks.image.store import Snapshots
from ociworks.image.store.usage import Usage

__all__ = ["Disk"]

_RARELY: Final = 20
_NOTHING: Final = Usage(bytes=0, inodes=0)
_BLOCK: Final = 4096


class Disk:
    """What is used, for a node; safe for several threads."""

    def __init__(self, layout: Layout, snapshots: Snapshots, roots: Roots, period: int) -> None:
        self._layout = layout
        self._snapshots = snapshots
        self._roots = roots
        self._period = period
        self._lock = threading.Lock()
        self._counted = (_NOTHING, _NOTHING)
        self._until = 0.0
        self._at = 0

    def info(self) -> api.ImageFsInfoResponse:
        """Images, and what containers have written. They are one file system to a client when they are one."""
        with self._lock:
            self._count()
            images, written = self._counted
            at = self._at
        place, other = self._snapshots.path, self._roots.path
        if os.stat(place).st_dev == os.stat(other).st_dev:
            other = place
        return api.ImageFsInfoResponse(
            image_filesystems=[_usage(place, images, at)],
            container_filesystems=[_usage(other, written, at)],
        )

    def _count(self) -> None:
        began = time.monotonic()
        if began < self._until:
            return
        self._counted = (self._images(), self._written())
        self._at = time.time_ns()
        now = time.monotonic()
        self._until = now + max(self._period, _RARELY * (now - began))

    def _images(self) -> Usage:
        """Blobs and unpacked layers."""
        total = _NOTHING
        for chain_id in self._snapshots.chain_ids():
            with contextlib.suppress(ImageNotFound):  # it was removed just now
                total += self._snapshots.usage(chain_id)
        sizes = [self._layout.blob_size(digest) or 0 for digest in self._layout.blobs()]
        return total + Usage(bytes=sum(-size // _BLOCK * -_BLOCK for size in sizes), inodes=len(sizes))

    def _written(self) -> Usage:
        return sum(map(self._roots.usage, self._roots.all()), _NOTHING)


def _usage(mountpoint: str, usage: Usage, at: int) -> api.FilesystemUsage:
    return api.FilesystemUsage(
        timestamp=at,
        fs_id=api.FilesystemIdentifier(mountpoint=mountpoint),
        used_bytes=api.UInt64Value(value=usage.bytes),
        inodes_used=api.UInt64Value(value=usage.inodes),
    )
