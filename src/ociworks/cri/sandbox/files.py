"""A pod's directory and what its containers find in ``/etc`` and ``/dev/shm``.

::

    sandboxes/<id>/hosts  hostname  resolv.conf     mounted into containers
                  /shm/                             a tmpfs, unless the host's shared memory is used
                  /ns/net  ipc  uts  user  pid      pinned namespaces
                  /groups                           control groups that were made
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from attrs import frozen

from ociworks._linux import mount, path

__all__ = [
    "PodFiles",
    "files_below",
    "host_file",
    "make_directory",
    "make_shm",
    "remove_directory",
    "replace_file",
    "write_file",
]

_SHM_SIZE: Final = 64 << 20
_MAX_HOST_FILE: Final = 1 << 20
_SHM: Final = mount.ATTR_NOSUID | mount.ATTR_NODEV | mount.ATTR_NOEXEC


@frozen(kw_only=True)
class PodFiles:
    """Absolute paths of what containers of a pod get mounted."""

    hosts: str
    hostname: str
    resolv_conf: str
    shm: str
    """A directory: the pod's own or, with the host's IPC namespace, ``/dev/shm``."""


def files_below(directory: str, *, host_ipc: bool) -> PodFiles:
    """The files of the pod with this directory."""
    return PodFiles(
        hosts=f"{directory}/hosts",
        hostname=f"{directory}/hostname",
        resolv_conf=f"{directory}/resolv.conf",
        shm="/dev/shm" if host_ipc else f"{directory}/shm",  # noqa: S108 - the host's, as asked for
    )


def make_directory(directory: str) -> None:
    """Make the directory of a pod, which must be new."""
    os.makedirs(os.path.dirname(directory), 0o711, exist_ok=True)
    os.mkdir(directory, 0o711)


def write_file(name: str, content: bytes) -> None:
    """Write a new file that everybody may read."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(fd, 0o644)
        while content:
            content = content[os.write(fd, content) :]
    finally:
        os.close(fd)


def replace_file(name: str, content: bytes) -> None:
    """Write a file anew, as a whole or not at all."""
    with suppress(FileNotFoundError):
        os.unlink(f"{name}.new")
    write_file(f"{name}.new", content)
    os.rename(f"{name}.new", name)


def host_file(name: str) -> bytes:
    """A configuration file of the host, at most a mebibyte of it; empty when there is none."""
    try:
        with open(name, "rb") as stream:
            return stream.read(_MAX_HOST_FILE)
    except FileNotFoundError:
        return b""


def make_shm(directory: str, owner: tuple[int, int]) -> None:
    """Mount 64 MiB of shared memory on a new directory; its IDs on the host are ``owner``."""
    os.mkdir(directory, 0o711)
    options = (("size", str(_SHM_SIZE)), ("mode", "1777"), ("uid", str(owner[0])), ("gid", str(owner[1])))
    made = mount.make_filesystem("tmpfs", options, _SHM)
    try:
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            mount.attach(made, place)
        finally:
            os.close(place)
    finally:
        os.close(made)


def remove_directory(directory: str) -> None:
    """Unmount the shared memory and remove everything. Again is harmless."""
    with suppress(OSError):  # no mount, or none any more
        mount.unmount(f"{directory}/shm", mount.MNT_DETACH)
    path.remove_tree(directory)
