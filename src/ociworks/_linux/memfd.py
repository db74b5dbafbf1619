"""Programs that nobody can write any more. Loads next to nothing: a helper is started from one at once."""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["sealed", "sealed_copy"]

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_copy(path: str, name: str) -> int:
    """A memfd with the bytes of ``path`` that nobody can write any more; close-on-exec.

    Raises OSError(EACCES) when the host forbids executable memfds.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(source).st_size
            offset = 0
            while offset < size:
                sent = os.sendfile(fd, source, offset, size - offset)
                if not sent:
                    raise OSError(5, f"{path} changed while it was copied", path)
                offset += sent
        finally:
            os.close(source)
        _seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def sealed(content: bytes, name: str) -> int:
    """A memfd with this content, a small program, that nobody can write any more; close-on-exec.

    Raises OSError(EACCES) when the host forbids executable memfds.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, content)
        _seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _seal(fd: int) -> None:
    os.fchmod(fd, 0o511)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
