"""What a tree takes on the disk."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Final, Self

from attrs import frozen

from ociworks.image import _files

__all__ = ["FS", "Usage", "read_usage", "write_usage"]

FS: Final = "fs"
"""The tree in a layer's directory; beside it lies what it takes on the disk."""

_USAGE: Final = "usage"
_SMALL: Final = 4096

_BLOCK: Final = 512
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen(kw_only=True)
class Usage:
    """Allocated bytes and inodes; an inode of several names counts once."""

    bytes: int
    inodes: int

    @classmethod
    def of(cls, directory: int) -> Self:
        """Of all below (and with) a directory that is open for reading; other file systems are not entered."""
        info = os.fstat(directory)
        seen: set[int] = set()
        found = _count(directory, info.st_dev, seen)
        return cls(bytes=info.st_blocks * _BLOCK + found, inodes=len(seen) + 1)

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(bytes=self.bytes + other.bytes, inodes=self.inodes + other.inodes)


def _count(directory: int, device: int, seen: set[int]) -> int:
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            if info.st_dev != device or info.st_ino in seen:
                continue
            seen.add(info.st_ino)
            total += info.st_blocks * _BLOCK
            if entry.is_dir(follow_symlinks=False):
                below = os.open(entry.name, _DIRECTORY, dir_fd=directory)
                try:
                    total += _count(below, device, seen)
                finally:
                    os.close(below)
    return total


def write_usage(layer: int, usage: Usage) -> None:
    """Write down what the layer in this directory takes."""
    _files.write_new(layer, _USAGE, json.dumps({"bytes": usage.bytes, "inodes": usage.inodes}).encode())


def read_usage(layer: int) -> Usage:
    """What was counted when the layer was unpacked; counted again when that cannot be read."""
    raw = _files.read_file(layer, _USAGE, _SMALL)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        found = json.loads(raw or b"")
        return Usage(bytes=found["bytes"], inodes=found["inodes"])
    with _files.directory(layer, FS) as fs:
        return Usage.of(fs)
