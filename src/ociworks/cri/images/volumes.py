"""Parts of images for containers: a path inside a mounted image, found once and without ways out (ATTACKS CR-12)."""

from __future__ import annotations

import errno
import os
from typing import Final

from ociworks._linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2
from ociworks.errors import InvalidRequest, quote

__all__ = ["beneath"]

_MAX_PATH: Final = 4095
_RESOLVE: Final = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_NOT_THERE: Final = {errno.ENOENT: "is not in the image", errno.ENOTDIR: "is not in the image"}


def beneath(mounted: str, path: str) -> str:
    """The file or directory at ``path`` below ``mounted``, by a name without links: what is mounted cannot change.

    Raises :class:`~ociworks.errors.InvalidRequest` for a path that leaves it, by ``..`` or by a link, and for one that
    is not there.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or len(path) > _MAX_PATH:
        raise InvalidRequest(f"image_sub_path: expected a path without .., got {quote(path)}")
    if path.startswith("/"):
        raise InvalidRequest(f"image_sub_path: expected a relative path, got {quote(path)}")
    root = os.open(mounted, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = openat2(root, "/".join(parts) or ".", os.O_PATH, resolve=_RESOLVE)
    except OSError as error:
        reason = _NOT_THERE.get(error.errno or 0, "leads out of the image")
        raise InvalidRequest(f"image_sub_path: {quote(path)} {reason}") from error
    finally:
        os.close(root)
    try:
        return os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)
