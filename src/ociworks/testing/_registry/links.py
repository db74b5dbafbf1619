"""Files below a directory descriptor, as the directory store needs them: links that replace, listings, small texts."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import Final

from ociworks.errors import LayoutError
from ociworks.image import _files
from ociworks.spec.digest import BytesLike
from ociworks.testing._registry.limits import PIECE

__all__ = ["FileContent", "exists", "link", "listed", "open_file", "put_text", "read_text", "removed"]

_TEXT: Final = 1024


class FileContent:
    """A regular file as content; the descriptor belongs to it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def pieces(self, start: int, length: int) -> Iterator[BytesLike]:
        """The bytes from ``start``."""
        end = start + length
        while start < end and (data := os.pread(self._fd, min(PIECE, end - start), start)):
            yield data
            start += len(data)

    def close(self) -> None:
        """Close the file; twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_file(root: int, *names: str) -> int | None:
    """A descriptor of a regular file, None where there is none."""
    try:
        with _files.directory(root, *names[:-1]) as parent:
            return _files.open_regular(parent, names[-1])
    except FileNotFoundError:
        return None


def exists(root: int, *names: str) -> bool:
    """Whether something of this name is there."""
    try:
        with _files.directory(root, *names[:-1]) as parent:
            os.stat(names[-1], dir_fd=parent, follow_symlinks=False)
            return True
    except FileNotFoundError:
        return False


def listed(root: int, *names: str) -> list[str]:
    """What is in a directory; nothing if there is none."""
    try:
        with _files.directory(root, *names) as folder:
            return os.listdir(folder)
    except FileNotFoundError:
        return []


def removed(root: int, *names: str) -> bool:
    """Remove a file; False when there was none."""
    try:
        with _files.directory(root, *names[:-1]) as parent:
            os.unlink(names[-1], dir_fd=parent)
            return True
    except FileNotFoundError:
        return False


def link(source: int, name: str, target: int, new: str) -> bool:
    """Give a file a second name; False when the first one is gone. What has the new name already stays."""
    try:
        os.link(name, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        os.fsync(target)
    except FileNotFoundError:
        return False
    except FileExistsError:
        return True
    return True


def read_text(root: int, *names: str) -> str | None:
    """A small file of ours; None where there is none."""
    fd = open_file(root, *names)
    if fd is None:
        return None
    with open(fd, "rb") as file:
        content = file.read(_TEXT + 1)
    if len(content) > _TEXT or not content.isascii():
        raise LayoutError(f"registry: {'/'.join(names[-2:])} is damaged")
    return content.decode("ascii")


def put_text(root: int, text: str, *names: str) -> None:
    """Write a small file by rename: readers see the old text or the new one, whole."""
    with _files.directory(root, *names[:-1], create=True) as parent:
        temporary = f".new-{secrets.token_hex(8)}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent)
        try:
            _files.write_all(fd, text.encode("ascii"))
            os.fsync(fd)
            os.rename(temporary, names[-1], src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise
        finally:
            os.close(fd)
        os.fsync(parent)
