"""How layers lie on the disk: whose their files are, and overlayfs's own marks in the two dialects it has.

============  ==============================================  =========  ====================
form          made by                                         dialect    owners
============  ==============================================  =========  ====================
``trusted``   root of the initial user namespace              trusted    as in the image
``mapped``    root of a user namespace of many users          user       as in the image
``squashed``  everybody else                                  user       all are the caller's
============  ==============================================  =========  ====================

==========  ===================================  ===========================================
meaning     of root (``trusted``)                in a user namespace (``user``)
==========  ===================================  ===========================================
whiteout    character device 0:0                 the same (Linux 5.8 lets anyone make it)
opaque      ``trusted.overlay.opaque`` is ``y``  ``user.overlay.opaque`` is ``y``
==========  ===================================  ===========================================
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, Literal

__all__ = ["Dialect", "Form", "dialect_of", "is_mark", "is_opaque", "is_whiteout", "own_form"]

Dialect = Literal["trusted", "user"]
Form = Literal["trusted", "mapped", "squashed"]

_ABSENT: Final = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP})
_WHOLE_MAP: Final = ["0", "0", "4294967295"]


def own_form() -> Form:
    """What this process makes."""
    if os.geteuid() != 0:
        return "squashed"
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [line.split() for line in file]
    if ranges == [_WHOLE_MAP]:
        return "trusted"
    return "squashed" if [length for _, _, length in ranges] == ["1"] else "mapped"


def dialect_of(form: Form) -> Dialect:
    """The table above."""
    return "trusted" if form == "trusted" else "user"


def is_whiteout(info: os.stat_result) -> bool:
    """Whether a file says that nothing of lower layers is to be seen here."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_opaque(fd: int, dialect: Dialect) -> bool:
    """Whether a directory hides those of lower layers."""
    try:
        return os.getxattr(fd, f"{dialect}.overlay.opaque") == b"y"
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise


def is_mark(name: str) -> bool:
    """Whether an extended attribute belongs to overlayfs, not to the image."""
    return name.startswith(("trusted.overlay.", "user.overlay."))
