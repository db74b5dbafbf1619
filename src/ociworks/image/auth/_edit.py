"""Changing a file of credentials: whole or not at all, readable by its owner alone, unknown members kept."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from typing import Final

from attrs import evolve

from ociworks.errors import AuthFileError, quote
from ociworks.image import _files
from ociworks.image.auth.dockerconfig import AuthEntry, AuthFile, load_auth_file
from ociworks.spec import FrozenDict, to_json

__all__ = ["edit", "with_entry"]

_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_DIRECTORY", 0)
_CREATE: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
)


def edit(path: str, change: Callable[[AuthFile], AuthFile]) -> bool:
    """Replace a file by what ``change`` makes of it; False when that is the same.

    A file that is missing counts as empty, and its directory is made with mode 0700. A link is kept, what it points
    to is replaced. Two programs that use this function do not lose each other's changes. Raises ``AuthFileError``;
    the file is then as it was.
    """
    folder, name = os.path.split(os.path.realpath(path))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        directory = os.open(folder, _DIRECTORY)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with _files.locked(directory):
            before = load_auth_file(os.path.join(folder, name))
            after = change(before)
            if after == before:
                return False
            _replace(directory, name, _pretty(after))
            return True
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        os.close(directory)


def with_entry(
    file: AuthFile, key: str | None, entry: AuthEntry | None, drop: Callable[[str], bool]
) -> AuthFile:
    """A file without the entries whose key ``drop`` accepts, and with ``entry`` under ``key``."""
    kept = {name: value for name, value in file.auths.items() if not drop(name)}
    if key is not None and entry is not None:
        kept[key] = entry
    return evolve(file, auths=FrozenDict(kept))


def _pretty(file: AuthFile) -> bytes:
    return json.dumps(json.loads(to_json(file)), indent="\t", ensure_ascii=False).encode() + b"\n"


def _replace(directory: int, name: str, content: bytes) -> None:
    temporary = f".{name}.{secrets.token_hex(8)}"
    fd = os.open(temporary, _CREATE, 0o600, dir_fd=directory)
    try:
        try:
            _files.write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def _unwritable(path: str, error: OSError) -> AuthFileError:
    return AuthFileError(f"credentials in {quote(path)} cannot be written: {error.strerror}")
