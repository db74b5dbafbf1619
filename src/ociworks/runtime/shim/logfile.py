"""The file that log records go to. Nothing that happens to it stops the container or the shim.

The directory is held open, so the file is always made in the same one, never through a link, and never opened for
truncation. A disk that takes nothing loses records, whole ones, and they are counted; the next ones are tried again.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["LogFile"]

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE: Final = 0o640


class LogFile:
    """An append-only file ``name`` in a directory, rotated at ``max_size`` bytes (0: never).

    The newest of ``max_files`` is ``name``, older ones are ``name.1``, ``name.2``…
    """

    def __init__(self, directory: int, name: str, max_size: int, max_files: int) -> None:
        self._directory, self._name = directory, name
        self._max_size, self._max_files = max_size, max_files
        self._size = 0
        self._fd = -1
        self.lost = 0
        """Bytes of records that could not be written."""
        self.reopen()

    def reopen(self) -> None:
        """Open the file by its name, as after somebody has renamed it; on OSError the old one stays in use."""
        fd = os.open(self._name, _FLAGS, _MODE, dir_fd=self._directory)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "expected a regular file", self._name)
            if info.st_uid not in (0, os.geteuid()):
                raise OSError(errno.EPERM, "the file is somebody else's", self._name)
        except BaseException:
            os.close(fd)
            raise
        self.close()
        self._fd, self._size = fd, info.st_size

    def close(self) -> None:
        """Close the file; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def write(self, records: bytes) -> None:
        """Append records, each of which ends with the only line feed in it; those that cannot be written are lost."""
        while records:
            cut = self._cut(records)
            if not cut:
                if not self._rotate():
                    self.lost += len(records)
                    return
                continue
            self._append(records[:cut])
            records = records[cut:]

    def _cut(self, records: bytes) -> int:
        """How many bytes of whole records still fit; 0 when the file is full. A first record always fits."""
        if not self._max_size or self._size + len(records) <= self._max_size:
            return len(records)
        cut = records.rfind(b"\n", 0, max(0, self._max_size - self._size)) + 1
        return cut if cut or self._size else records.index(b"\n") + 1

    def _append(self, records: bytes) -> None:
        try:
            written = os.write(self._fd, records)
        except OSError:
            self.lost += len(records)
            return
        if written < len(records):
            whole = records.rfind(b"\n", 0, written) + 1
            self.lost += len(records) - whole
            self._take_back(written - whole)
            written = whole
        self._size += written

    def _take_back(self, size: int) -> None:
        """Remove the beginning of a record whose rest did not fit."""
        try:
            os.ftruncate(self._fd, max(0, os.fstat(self._fd).st_size - size))
        except OSError:
            return  # the next record then ends a line that it did not begin

    def _rotate(self) -> bool:
        """Begin a new file; False when that is impossible now."""
        try:
            for number in range(self._max_files - 1, 0, -1):
                self._rename(self._numbered(number - 1), self._numbered(number))
            if self._max_files == 1:
                os.unlink(self._name, dir_fd=self._directory)
            self.reopen()
        except OSError:
            return False
        return True

    def _numbered(self, number: int) -> str:
        return f"{self._name}.{number}" if number else self._name

    def _rename(self, old: str, new: str) -> None:
        try:
            os.rename(old, new, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except FileNotFoundError:
            return
