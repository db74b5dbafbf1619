"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets

from ociworks.errors import NetworkError

__all__ = ["write_file"]


def write_file(directory: str, name: str, content: bytes, mode: int) -> None:
    """Put a whole file into a directory, or nothing. NetworkError when that cannot be."""
    temporary = f".{secrets.token_hex(8)}"
    try:
        os.makedirs(directory, mode=0o755 if mode & 0o044 else 0o700, exist_ok=True)
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                with open(os.open(temporary, flags, mode, dir_fd=place), "wb") as stream:  # trusted: O_EXCL
                    stream.write(content)
                os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=place)
                raise
        finally:
            os.close(place)
    except OSError as error:
        raise NetworkError(f"{directory}/{name}: {error.strerror}") from error
