"""Volumes that an image declares: directories of the container's own that begin with what the image has there (UN-23).

They are the container's as its root is, and stay writable when that is read-only. What the image names is looked up in
its layers alone: a link leads to another place in the image, never to one on the host.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Mapping
from typing import Final

from ociworks.errors import ImageConfigError, quote
from ociworks.image.store import Snapshot
from ociworks.spec import FrozenDict
from ociworks.spec.image import Config, ImageConfiguration

__all__ = ["make_volumes"]

_MOST: Final = 100
_KERNEL: Final = ("/proc", "/sys", "/dev")


def make_volumes(
    directory: str, image: ImageConfiguration, snapshot: Snapshot, taken: Collection[str]
) -> Mapping[str, str]:
    """One directory below ``directory`` for each volume at a place that is not ``taken``: place → path.

    ImageConfigError for places that are none.
    """
    declared = {_place(text) for text in (image.config or Config()).volumes}
    wanted = sorted(declared - set(taken))
    if len(wanted) > _MOST:
        raise ImageConfigError(f"Volumes: expected at most {_MOST}, found {len(wanted)}")
    if not wanted:
        return FrozenDict()
    os.makedirs(directory, mode=0o711, exist_ok=True)
    return FrozenDict(
        {place: _make(f"{directory}/{index}", place, snapshot) for index, place in enumerate(wanted)}
    )


def _make(path: str, place: str, snapshot: Snapshot) -> str:
    os.mkdir(path, 0o755)
    target = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(target, 0o755)
        if snapshot.chain_ids:
            snapshot.copy_directory(place, target)
    finally:
        os.close(target)
    return path


def _place(text: str) -> str:
    """A place that a volume can have: below the root, and not the kernel's."""
    place = posixpath.normpath("//" + text).replace("//", "/", 1)
    kernel = any(place == each or place.startswith(f"{each}/") for each in _KERNEL)
    if ".." in text.split("/") or place == "/" or kernel or not text.isprintable():
        raise ImageConfigError(f"Volumes: no volume can be at {quote(text)}")
    return place
