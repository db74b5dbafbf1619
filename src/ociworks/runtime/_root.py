"""The state root: where it is, and whether it may be trusted."""

from __future__ import annotations

import os
import stat

__all__ = ["check_root", "default_root"]


def default_root() -> str:
    """Where state goes without a choice: /run as root, the user's runtime directory otherwise."""
    if os.geteuid() == 0:
        return "/run/ociworks"
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.path.isabs(base) and os.access(base, os.W_OK):
        return os.path.join(base, "ociworks")
    return f"/tmp/ociworks-{os.geteuid()}"  # noqa: S108 - made 0700; a directory of somebody else is refused


def check_root(root: str) -> None:
    """Refuse a directory, or a link to one, that somebody else put there or may change (SV-05); none is fine.

    Raises ContainerError.
    """
    try:
        infos = (os.lstat(root), os.stat(root))
    except FileNotFoundError:
        return
    for info in infos:
        open_to_others = info.st_mode & 0o022 and not stat.S_ISLNK(info.st_mode)
        if info.st_uid in (0, os.geteuid()) and not open_to_others:
            continue
        from ociworks.errors import ContainerError

        raise ContainerError(
            f"state root {root}: expected a directory that only user {os.geteuid()} may write, "
            f"got owner {info.st_uid}, mode {stat.S_IMODE(info.st_mode):o}; choose another"
        )
