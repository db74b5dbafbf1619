"""Operations for the user of the program: a home, and streams that belong to it."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["give_pipes", "home", "own_streams"]

_USERS: Final = b"/etc/passwd"
_MOST: Final = 1 << 20
"""Bytes of the container's list of users that are looked at."""
_NOBODYS: Final = b"/"
_UID, _HOME = 2, 5
_NOT_OURS: Final = (errno.EPERM, errno.EINVAL, errno.EROFS)
"""Why a stream stays as it is: its owner, or its group, does not exist in our user namespace."""


def home(context: Context, uid: int) -> None:
    """Find the home of a user in the container's own list; ``/`` when there is none.

    No specification asks for it; every runtime's command does it, and programs count on it.
    """
    wanted = b"%d" % uid
    context.home = _NOBODYS
    for line in _lines():
        fields = line.split(b":")
        if len(fields) > _HOME and fields[_UID] == wanted:
            context.home = fields[_HOME].replace(b"\0", b"") or _NOBODYS
            return


def _lines() -> list[bytes]:
    """Of a regular file, up to a bound; none when it cannot be read."""
    try:
        fd = os.open(_USERS, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return os.read(fd, _MOST).split(b"\n") if stat.S_ISREG(os.fstat(fd).st_mode) else []
    except OSError:
        return []
    finally:
        os.close(fd)


def own_streams(context: Context, uid: int) -> None:  # noqa: ARG001 - operations share one signature
    """Give pipes to the user. Files and devices stay whose they are: they have a life outside of the container."""
    give_pipes((0, 1, 2), uid)


def give_pipes(fds: Sequence[int], uid: int) -> None:
    """Give those descriptors that are pipes to a user, who may open them again then (``/dev/stdout``)."""
    for fd in fds:
        info = os.fstat(fd)
        if not stat.S_ISFIFO(info.st_mode) or info.st_uid == uid:
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
