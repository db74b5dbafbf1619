"""What the host has to mount for containers: whole roots for runtimes that cannot, and images as volumes.

::

    <state>/mounts/<id>/rootfs          a root filesystem: an overlay that can be written. A container that mounts its
                                        own does so here, where the image's users are until then
    <state>/mounts/<id>/<chain ID>      an image as a volume: read-only
    <state>/mounts/<id>/lower-<n>       a layer with other owners, while the overlay on it is made

In a pod with a user namespace the layers are mounted with its maps (idmapped), so that the overlay shows the image's
owners as that namespace has them, and new files belong to it. Only its root and the host's reach the directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from ociworks._linux.mount import (
    ATTR_IDMAP,
    ATTR_RDONLY,
    MNT_DETACH,
    attach,
    clone_tree,
    set_attributes,
    unmount,
)
from ociworks._linux.overlay import mount_overlay
from ociworks._linux.path import remove_tree_at
from ociworks.cri.images.namespaces import UserNamespace
from ociworks.cri.images.roots import is_id
from ociworks.errors import NotSupported
from ociworks.image import _files
from ociworks.image.store import Snapshot
from ociworks.runtime.overlay import RootfsOverlay

__all__ = ["ROOT", "Mounts", "name_of"]

ROOT: Final = "rootfs"
_LOWER: Final = "lower-"
_DATABASES: Final = ("passwd", "group")
_MAX_DATABASE: Final = 1 << 20
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOFOLLOW: Final = 8
"""UMOUNT_NOFOLLOW."""
_NO_IDMAP: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What kernels and file systems say that cannot mount a directory with other owners."""


class Mounts:
    """The mounts of a node's containers, below one directory that is gone with them when the machine ends."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, mode=0o711, exist_ok=True)
        self.path = directory
        self._fd = os.open(directory, _DIRECTORY)

    def close(self) -> None:
        """Let go of the directory; what is mounted stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def all(self) -> tuple[str, ...]:
        """The IDs of containers that may have something mounted here."""
        return tuple(sorted(filter(is_id, os.listdir(self._fd))))

    def place(self, id: str, snapshot: Snapshot) -> str:
        """A directory for a root that the container mounts itself, with the image's users to be looked up; its path."""
        with self._place(id, ROOT, None) as (place, mounted):
            if not mounted:
                _copy_databases(snapshot, place)
        return os.path.join(self.path, id, ROOT)

    def root(self, id: str, overlay: RootfsOverlay, users: UserNamespace | None) -> str:
        """Mount a root filesystem; its path.

        Raises :class:`~ociworks.errors.NotSupported` where layers cannot have other owners, and ``OSError``.
        """
        with self._place(id, ROOT, users) as (place, mounted):
            if not mounted:
                with (
                    self._lowers(id, overlay.lowers, users) as lowers,
                    _opened(overlay.upper or "") as upper,
                    _opened(overlay.work or "") as work,
                ):
                    _describe(upper, lowers[0])
                    mount_overlay(
                        place, lowers, upper=upper, work=work, user=overlay.user, volatile=overlay.volatile
                    )
        return os.path.join(self.path, id, ROOT)

    def bind(self, id: str, name: str, tree: str, users: UserNamespace | None) -> str:
        """Mount a tree under the name that a root or a volume has; its path. Only a root can be written."""
        with self._place(id, name, users) as (place, mounted), _opened(tree) as fd:
            if not mounted:
                _bind(fd, place, writable=name == ROOT)
        return os.path.join(self.path, id, name)

    def volume(self, id: str, snapshot: Snapshot, users: UserNamespace | None) -> str:
        """Mount an image read-only; its path. Raises like :meth:`root`."""
        name = name_of(snapshot)
        with self._place(id, name, users) as (place, mounted):
            if not mounted:
                with self._lowers(id, snapshot.directories, users) as lowers:
                    if len(lowers) > 1:
                        mount_overlay(place, lowers, user=snapshot.user_marks)
                    else:
                        _bind(lowers[0], place)
        return os.path.join(self.path, id, name)

    def release(self, id: str) -> None:
        """Unmount everything of a container; again is harmless."""
        try:
            with _files.directory(self._fd, id) as own:
                for name in os.listdir(own):
                    _unmount(os.path.join(self.path, id, name))
        except FileNotFoundError:
            return
        remove_tree_at(self._fd, id, missing_ok=True)

    @contextmanager
    def _place(self, id: str, name: str, users: UserNamespace | None) -> Iterator[tuple[int, bool]]:
        """The directory for a mount, and whether one is there; when what is done with it fails, nothing is."""
        with _files.directory(self._fd, id, create=True) as own:
            if users is not None:
                os.fchown(own, -1, users.root[1])
                os.fchmod(own, 0o710)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=own)
            with _opened(name, own) as place:
                yield place, _mount_of(place) != _mount_of(own)

    @contextmanager
    def _lowers(
        self, id: str, directories: Sequence[str], users: UserNamespace | None
    ) -> Iterator[Sequence[int]]:
        """The layers' trees, topmost first, with the owners that the namespace gives them."""
        with ExitStack() as stack:
            trees = [stack.enter_context(_opened(path)) for path in directories]
            if users is not None:
                namespace = os.open(users.path, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, namespace)
                own = stack.enter_context(_files.directory(self._fd, id))
                trees = [
                    stack.enter_context(self._mapped(tree, f"{_LOWER}{number}", own, id, namespace))
                    for number, tree in enumerate(trees)
                ]
            yield trees

    @contextmanager
    def _mapped(self, tree: int, name: str, own: int, id: str, namespace: int) -> Iterator[int]:
        """A tree as the namespace has it: overlays before Linux 6.15 take only what is attached somewhere."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=own)
        path = os.path.join(self.path, id, name)
        try:
            with _opened(name, own) as place:
                mount = clone_tree(tree, "")
                try:
                    _map(mount, namespace)
                    attach(mount, place)
                finally:
                    os.close(mount)
            with _opened(name, own) as mapped:
                yield mapped
        finally:
            _unmount(path)
            os.rmdir(name, dir_fd=own)


def _copy_databases(snapshot: Snapshot, place: int) -> None:
    with _files.directory(place, "etc", create=True) as etc:
        for name in _DATABASES:
            content = snapshot.read(f"etc/{name}", _MAX_DATABASE) if snapshot.chain_ids else None
            if content is not None:
                with contextlib.suppress(FileExistsError):
                    _files.write_new(etc, name, content)


def name_of(snapshot: Snapshot) -> str:
    """The name of the volume of an image."""
    return snapshot.chain_ids[-1].encoded


def _mount_of(fd: int) -> str:
    """Which mount a descriptor is on."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
        return next(line for line in lines if line.startswith("mnt_id:"))


def _map(mount: int, namespace: int) -> None:
    try:
        set_attributes(mount, set_=ATTR_IDMAP, user_namespace=namespace)
    except OSError as error:
        if error.errno not in _NO_IDMAP:
            raise
        raise NotSupported("layers cannot be mounted with other owners here") from error


def _describe(upper: int, layer: int) -> None:
    """The upper directory describes the root of the mount."""
    info = os.fstat(layer)
    os.fchown(upper, info.st_uid, info.st_gid)
    os.fchmod(upper, info.st_mode & 0o7777)


def _bind(tree: int, place: int, *, writable: bool = False) -> None:
    """One layer alone is no overlay."""
    mount = clone_tree(tree, "")
    try:
        if not writable:
            set_attributes(mount, set_=ATTR_RDONLY)
        attach(mount, place)
    finally:
        os.close(mount)


def _unmount(path: str) -> None:
    """Take away everything that is mounted at a path."""
    while True:
        try:
            unmount(path, MNT_DETACH | _NOFOLLOW)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOENT}:
                return
            raise


@contextmanager
def _opened(name: str, parent: int | None = None) -> Iterator[int]:
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)
