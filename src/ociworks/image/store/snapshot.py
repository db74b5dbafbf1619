"""One image's layers, held: to be mounted with overlayfs, or copied to a plain tree."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Self

from ociworks._linux.mount import ATTR_RDONLY, MNT_DETACH, attach, clone_tree, set_attributes, unmount
from ociworks._linux.overlay import mount_overlay
from ociworks._linux.path import remove_tree_at
from ociworks.errors import ImageError, LimitExceeded, NotSupported, quote
from ociworks.image import _files
from ociworks.image.store._lookup import open_directories, open_file
from ociworks.image.store._merge import merge
from ociworks.image.store.usage import FS, Usage, read_usage

if TYPE_CHECKING:
    from types import TracebackType

    from ociworks.image.store._marks import Dialect
    from ociworks.spec import Digest
    from ociworks.spec.digest import Readable

__all__ = ["Snapshot"]

Path = str | os.PathLike[str]

_NO_OVERLAY: Final = frozenset({errno.EPERM, errno.ENODEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
"""What a kernel, or a process without the right to mount, says to an overlay."""


class Snapshot:
    """The layers of one image, base first, held so that nobody removes them. Use it as a context manager."""

    def __init__(self, chain_ids: tuple[Digest, ...], layers: tuple[int, ...], dialect: Dialect) -> None:
        """Use :meth:`Snapshots.prepare`. The descriptors belong to the snapshot from now on."""
        self.chain_ids = chain_ids
        self._layers = layers
        self._dialect = dialect

    @property
    def usage(self) -> Usage:
        """What all its layers take on the disk, whoever shares them; ImageError when the snapshot is closed."""
        if len(self._layers) < len(self.chain_ids):
            raise ImageError("the snapshot is closed")
        return sum(map(read_usage, self._layers), Usage(bytes=0, inodes=0))

    @property
    def directories(self) -> tuple[str, ...]:
        """The layers' trees, topmost first: what overlayfs calls lower directories. They stay while this is open."""
        if not self._layers:
            raise ImageError("the snapshot has no layers, or is closed")
        return tuple(f"{os.readlink(f'/proc/self/fd/{fd}')}/{FS}" for fd in reversed(self._layers))

    @property
    def user_marks(self) -> bool:
        """Whether whiteouts and opaque directories are marked by ``user.overlay.*``, as a user namespace needs it."""
        return self._dialect == "user"

    def read(self, path: str, limit: int) -> bytes | None:
        """The regular file at ``path`` as the mount would show it; None when there is none.

        Raises :class:`~ociworks.errors.LimitExceeded` for more than ``limit`` bytes, and ``OSError``.
        """
        with self._opened() as layers:
            fd = open_file(layers, path, self._dialect)
        if fd is None:
            return None
        with os.fdopen(fd, "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise LimitExceeded(f"bytes of {quote(path)}", "bytes", limit)
        return content

    def describe_root(self, directory: int) -> None:
        """Give a directory the owner and mode of the image's root, which an overlay's upper directory decides."""
        with self._opened() as layers:
            _describe_like(directory, layers[0])

    @contextlib.contextmanager
    def mounted(self, target: Path, state: Path | None = None) -> Iterator[str]:
        """Mounted on the directory ``target`` for as long as the block lasts; gives its path.

        With ``state``, a directory that is made if it is missing, the mount can be written: changes go to ``upper`` in
        it, and stay there. Without, it is read-only. Needs ``CAP_SYS_ADMIN``, which root has, and everybody in a user
        namespace with a mount namespace of its own. Raises :class:`~ociworks.errors.NotSupported` where overlayfs
        cannot be mounted (then :meth:`copy`), and ``OSError``.
        """
        place = os.path.abspath(target)
        with self._opened() as layers, _directory(place) as fd:
            try:
                self._mount(fd, layers, state)
            except OSError as error:
                if error.errno not in _NO_OVERLAY:
                    raise
                raise NotSupported(
                    f"cannot mount overlayfs on {quote(place)}: {error.strerror}; copy the snapshot instead"
                ) from error
        try:
            yield place
        finally:
            unmount(place, MNT_DETACH)

    def copy(self, target: Path, owners: Callable[[int, int], tuple[int, int]] | None = None) -> None:
        """Copy what the mount would show into the directory ``target``, which is made and must not exist.

        Sockets are left out; ``owners`` makes user and group of a copy from those in the image. Raises
        ``FileExistsError`` and ``OSError``; then ``target`` is removed again.
        """
        parent, name = os.path.split(os.path.abspath(target))
        with self._opened() as layers, _directory(parent) as place:
            os.mkdir(name, 0o700, dir_fd=place)
            try:
                with _files.directory(place, name) as fd:
                    merge(layers, fd, self._dialect, owners)
            except BaseException:
                remove_tree_at(place, name)
                raise

    def copy_directory(self, path: str, target: int) -> bool:
        """Copy the directory at ``path`` as the mount would show it into the empty directory ``target``.

        Links of the image are followed inside the image. False, and nothing is done, when there is no directory.
        Raises ``OSError``.
        """
        with self._opened() as layers:
            found = open_directories(layers, path, self._dialect)
        try:
            if found:
                merge(found, target, self._dialect)
        finally:
            for fd in found:
                os.close(fd)
        return bool(found)

    def change(self, upper: int, changes: Readable) -> None:
        """Apply an uncompressed layer to the empty directory ``upper``, to be mounted over this. Devices are left out.

        Raises what :func:`ociworks.image.unpack` raises; the directory is the caller's to remove then.
        """
        from ociworks.image._unpack import OverlayForm, UnpackOptions, apply_layer

        with self._opened() as layers:
            form = OverlayForm(below=tuple(reversed(layers)), attributes=self._dialect)
            apply_layer(changes, upper, UnpackOptions(rootless=os.geteuid() != 0), overlay=form)

    def close(self) -> None:
        """Let go of the layers; closing twice is harmless."""
        layers, self._layers = self._layers, ()
        for fd in layers:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[list[int]]:
        """The trees of the layers, topmost first."""
        if not self._layers:
            raise ImageError("the snapshot has no layers, or is closed")
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(_files.directory(fd, FS)) for fd in reversed(self._layers)]

    def _mount(self, target: int, layers: Sequence[int], state: Path | None) -> None:
        user = self._dialect == "user"
        if state is not None:
            os.makedirs(state, mode=0o700, exist_ok=True)
            with _directory(state) as fd, contextlib.ExitStack() as stack:
                upper, work = (
                    stack.enter_context(_files.directory(fd, name, create=True)) for name in ("upper", "work")
                )
                _describe_like(upper, layers[0])
                mount_overlay(target, layers, upper=upper, work=work, user=user)
        elif len(layers) > 1:
            mount_overlay(target, layers, user=user)
        else:
            _bind_read_only(layers[0], target)


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _describe_like(directory: int, other: int) -> None:
    """The upper directory describes the root of the mount."""
    info = os.fstat(other)
    if os.geteuid() == 0:
        os.fchown(directory, info.st_uid, info.st_gid)
    os.fchmod(directory, stat.S_IMODE(info.st_mode))


def _bind_read_only(source: int, target: int) -> None:
    """One layer alone is no overlay: its own directory, mounted so that it cannot be written."""
    mount = clone_tree(source, b"")
    try:
        set_attributes(mount, set_=ATTR_RDONLY)
        attach(mount, target)
    finally:
        os.close(mount)
