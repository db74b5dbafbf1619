"""What the standard streams of a container are, as criu names them; kept beside the images, as runc keeps them."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Final

from ociworks.errors import CheckpointFailed, quote
from ociworks.spec.numbers import parse_uint

__all__ = ["load", "of", "save"]

_FILE: Final = "descriptors.json"


def save(directory: str, pid: int) -> None:
    """Write down what the standard streams of a process are."""
    with os.fdopen(_create(os.path.join(directory, _FILE)), "w") as stream:
        json.dump(of(pid), stream)


def of(pid: int) -> tuple[str, ...]:
    """What the standard streams of a process are: pipes, and files that its mounts do not have."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        mounts = {line.split(" ", 1)[0] for line in stream}
    return tuple(_stream(f"/proc/{pid}", fd, mounts) for fd in range(3))


def load(directory: str) -> tuple[str, ...]:
    """What the standard streams were. CheckpointFailed when that was not written down."""
    path = os.path.join(directory, _FILE)
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read(1 << 16))
    except (OSError, ValueError) as error:
        raise CheckpointFailed(
            f"{path}: expected the names of the standard streams: {error}", log=""
        ) from error
    if not isinstance(found, list):
        raise CheckpointFailed(f"{path}: expected a list, got {quote(str(found))}", log="")
    return tuple(str(name) for name in found[:3])


def _stream(process: str, fd: int, mounts: Collection[str]) -> str:
    path = f"{process}/fd/{fd}"
    name = os.readlink(path)
    with open(f"{process}/fdinfo/{fd}", encoding="ascii") as stream:
        mount = dict(line.split() for line in stream if line.startswith("mnt_id"))["mnt_id:"]
    if not name.startswith("/") or mount in mounts:
        return name
    return f"file[{parse_uint(mount, 1 << 32, 'mount ID'):x}:{os.stat(path).st_ino:x}]"


def _create(path: str) -> int:
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.rename(temporary, path)
    return fd
