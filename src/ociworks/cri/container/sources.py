"""What the host has at the paths that a request wants mounted, looked at once (CR-12).

A missing host path becomes a directory (0755), as the kubelet expects. Links are followed, as on the host, but not the
kernel's into other processes. The path that is mounted is the one that was found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from ociworks._linux.path import RESOLVE_NO_MAGICLINKS, openat2
from ociworks.cri.container.translate.mounts import check_mount, place_of
from ociworks.cri.container.translate.request import Source
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, NotSupported, quote
from ociworks.runtime.plan.labels import selinux_enabled

__all__ = ["find_sources", "relabel"]

_AT_FDCWD: Final = -100
_PROPAGATION = api.MountPropagation
_NEVER_RELABELLED: Final = frozenset(
    f"/{name}"
    for name in ("", "bin", "boot", "dev", "etc", "home", "lib", "lib64", "opt", "proc", "root", "run")
) | frozenset(
    f"/{name}" for name in ("sbin", "srv", "sys", "tmp", "usr", "var", "var/lib", "var/log", "var/run")
)
_MOST: Final = 1_000_000


def find_sources(
    mounts: Sequence[api.Mount],
    *,
    image_path: Callable[[api.Mount], str],
    recursive_read_only: Callable[[], bool],
) -> tuple[Source, ...]:
    """Each mount with its source. ``image_path`` says where an image is unpacked that is to be mounted.

    Raises InvalidRequest for paths that cannot be, and NotSupported for guarantees that this host does not give:
    ``recursive_read_only`` says whether the runtime makes what is below a mount read-only too.
    """
    places = [place_of(given.container_path) for given in mounts]
    for place in places:
        if places.count(place) > 1:
            raise InvalidRequest(f"mounts.container_path: {quote(place)} is named more than once")
    for given in mounts:
        check_mount(given)
        if given.recursive_read_only and not recursive_read_only():
            raise NotSupported(
                "mounts.recursive_read_only: this runtime does not make mounts below read-only"
            )
    return tuple(
        Source(mount=given, path=image_path(given) if given.HasField("image") else _on_host(given))
        for given in mounts
    )


def relabel(sources: Sequence[Source], label: str) -> None:
    """Give what is mounted the container's SELinux label, where the request says so and the kernel has labels."""
    for source in sources:
        wanted = source.mount.selinux_relabel and not source.mount.HasField("image")
        if wanted and label and selinux_enabled():
            _relabel(source.path, label.encode() + b"\0")


def _on_host(given: api.Mount) -> str:
    path = _resolved(given.host_path)
    if given.selinux_relabel and path in _NEVER_RELABELLED:
        raise InvalidRequest(f"mounts.selinux_relabel: {quote(path)} is the host's")
    _check_propagation(given, path)
    return path


def _resolved(path: str) -> str:
    """Where a path leads, made if there is nothing."""
    if "\0" in path or ".." in path.split("/"):
        raise InvalidRequest(f"mounts.host_path: expected a path without '..', got {quote(path)}")
    try:
        try:
            place = openat2(_AT_FDCWD, path, os.O_PATH, resolve=RESOLVE_NO_MAGICLINKS)
        except FileNotFoundError:
            os.makedirs(path, mode=0o755, exist_ok=True)
            place = openat2(_AT_FDCWD, path, os.O_PATH, resolve=RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        raise InvalidRequest(f"mounts.host_path: {quote(path)}: {error.strerror}") from error
    try:
        return os.readlink(f"/proc/self/fd/{place}")
    finally:
        os.close(place)


def _check_propagation(given: api.Mount, path: str) -> None:
    if given.propagation == _PROPAGATION.PROPAGATION_PRIVATE:
        return
    tags = _tags(path)
    if given.propagation == _PROPAGATION.PROPAGATION_BIDIRECTIONAL and "shared" not in tags:
        raise InvalidRequest(f"mounts.propagation: {quote(path)} is not on a shared mount")
    if not tags & {"shared", "master"}:
        raise InvalidRequest(f"mounts.propagation: {quote(path)} is neither on a shared mount nor on a slave")


def _tags(path: str) -> set[str]:
    """Of the mount that holds a path: ``shared``, ``master``."""
    best, found = "", set[str]()
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.decode("utf-8", "surrogateescape").split(" ")
            place = _unescaped(fields[4])
            if len(place) >= len(best) and (path == place or path.startswith(place.rstrip("/") + "/")):
                best, found = place, {tag.partition(":")[0] for tag in fields[6 : fields.index("-")]}
    return found


def _unescaped(text: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _relabel(path: str, label: bytes) -> None:
    """The file, or the directory and all that is in it on the same file system; links get their own label."""
    seen = 0
    _set_label(path, label)
    device = os.lstat(path).st_dev
    for directory, names, files, fd in os.fwalk(path, follow_symlinks=False):
        names[:] = [name for name in names if os.lstat(name, dir_fd=fd).st_dev == device]
        for name in (*names, *files):
            seen += 1
            if seen > _MOST:
                raise InvalidRequest(f"mounts.selinux_relabel: more than {_MOST} files below {quote(path)}")
            _set_label(f"/proc/self/fd/{fd}/{name}", label)
        del directory


def _set_label(path: str, label: bytes) -> None:
    os.setxattr(path, "security.selinux", label, follow_symlinks=False)
