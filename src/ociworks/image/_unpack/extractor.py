"""One layer into a root filesystem, entry by entry.

Files are created, never opened for truncation: ``O_EXCL``, mkdirat, symlinkat, linkat and mknodat in the descriptor of
their directory; what was there before is unlinked first, so that no other name of its inode changes. Of two entries
with one name the last one wins.

==============  ==================================================================================================
entry           rule
==============  ==================================================================================================
the root        only a directory entry may describe it
directory       replaces anything but a directory; an existing one is only described anew
file, symlink   replace anything
hard link       target is found inside the root, must be a file or symlink already there; nothing else is changed
FIFO            made
device          by policy; character device 0:0, overlayfs's whiteout in disguise, is always an error
whiteout        :mod:`ociworks.image._unpack.removal`, in overlay form :mod:`ociworks.image._unpack.overlay`
==============  ==================================================================================================
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from ociworks.errors import LayerError, NotSupported, TarError, quote
from ociworks.image._unpack.directories import Directories
from ociworks.image._unpack.metadata import apply_to_link, apply_to_node, apply_to_open
from ociworks.image._unpack.overlay import hide, hide_all
from ociworks.image._unpack.removal import clear_lower, remove_existing, remove_lower
from ociworks.image._unpack.xattrs import check_xattrs, clear_xattrs
from ociworks.image.tar.sparse import placed
from ociworks.image.tar.whiteout import PREFIX, classify, whiteout_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from ociworks.image._unpack.directories import Directory
    from ociworks.image._unpack.overlay import OverlayForm
    from ociworks.image._unpack.policy import Budget, UnpackOptions
    from ociworks.image.tar.entry import TarEntry
    from ociworks.image.tar.sparse import Extents

__all__ = ["Extractor"]

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE: Final = 0o600
_OF_THE_DISK: Final = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)
_OWNER_ALL: Final = 0o700


class Extractor:
    """Applies the entries of one layer below ``rootfd``; as a context manager, so that its descriptors are closed."""

    def __init__(
        self, rootfd: int, options: UnpackOptions, budget: Budget, overlay: OverlayForm | None = None
    ) -> None:
        self._options = options
        self._budget = budget
        self._directories = Directories(rootfd, budget, options, overlay)
        self._whiteout = remove_lower if overlay is None else hide
        self._opaque = clear_lower if overlay is None else hide_all
        self._overlay = overlay is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directories.close()

    def apply(self, entry: TarEntry, content: Iterator[memoryview]) -> None:
        """Create what ``entry`` says. Raises TarError when it must not or cannot be, LayerError when the disk fails."""
        self._budget.count_entry()
        try:
            self._apply(entry, content)
        except OSError as error:
            raise _typed(error, entry) from error

    def finish(self) -> None:
        """Give the directories their times, and the modes that would have been in the way."""
        try:
            self._directories.finish()
        except OSError as error:
            raise LayerError(f"cannot complete a directory: {error}") from error

    def _apply(self, entry: TarEntry, content: Iterator[memoryview]) -> None:
        kind = classify(entry)
        if kind == "ignored":
            self._budget.skip(entry.path, "left over by AUFS", once="aufs")
            return
        if entry.xattrs:
            check_xattrs(entry)
        if not entry.parts:
            self._root(entry)
            return
        parent = self._directories.get(entry.parts[:-1])
        name = entry.parts[-1]
        if kind == "whiteout":
            self._whiteout(self._directories, parent, whiteout_target(name))
        elif kind == "opaque":
            self._opaque(self._directories, parent.parts)
        else:
            self._create(parent, name, entry, content)

    def _create(self, parent: Directory, name: bytes, entry: TarEntry, content: Iterator[memoryview]) -> None:
        match entry.type:
            case "file":
                self._file(parent, name, entry, content)
            case "directory":
                self._directory(parent, name, entry)
            case "symlink":
                self._make(parent, name, lambda: os.symlink(entry.target, name, dir_fd=parent.fd))
                apply_to_link(parent.fd, name, entry, self._options, self._budget)
            case "hardlink":
                self._hardlink(parent, name, entry)
            case "fifo":
                self._node(parent, name, entry, stat.S_IFIFO)
            case "char" | "block":
                self._device(parent, name, entry)

    def _make(self, parent: Directory, name: bytes, create: Callable[[], int | None]) -> int:
        """Run ``create``, which fails when the name is taken; then make way for it and run it again."""
        try:
            made = create()
        except FileExistsError:
            parent.pins += 1
            try:
                remove_existing(self._directories, parent, name)
            finally:
                parent.pins -= 1
            made = create()
        parent.state.upper.add(name)
        return made or 0

    def _root(self, entry: TarEntry) -> None:
        if entry.type != "directory":
            raise TarError(f"the root of the file system as a {entry.type}", quote(entry.path))
        self._describe(self._directories.get(()), entry, made=False)

    def _file(self, parent: Directory, name: bytes, entry: TarEntry, content: Iterator[memoryview]) -> None:
        fd = self._make(parent, name, lambda: os.open(name, _CREATE, _PRIVATE, dir_fd=parent.fd))
        try:
            if entry.extents is None:
                for piece in content:
                    _write(fd, piece)
            else:
                self._fill_sparse(fd, entry, entry.extents, content)
            apply_to_open(fd, entry, self._options, self._budget, entry.mode)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _fill_sparse(self, fd: int, entry: TarEntry, extents: Extents, content: Iterator[memoryview]) -> None:
        """Write what is stored where it belongs. The holes stay holes, but count: not every disk can have them."""
        self._budget.count_bytes(entry.size - sum(size for _, size in extents))
        os.truncate(fd, entry.size)
        for offset, part in placed(extents, content):
            written = 0
            while written < len(part):
                written += os.pwrite(fd, part[written:], offset + written)

    def _directory(self, parent: Directory, name: bytes, entry: TarEntry) -> None:
        replaces = name in parent.state.upper
        if not self._made(parent, name):
            parent.state.upper.add(name)
            self._describe(self._directories.enter(parent, name, made=False), entry, made=False)
            return
        parent.pins += 1
        try:
            directory = self._directories.enter(parent, name, made=True)
            self._directories.settle_made(directory, parent, replaces=replaces)
        finally:
            parent.pins -= 1
        self._describe(directory, entry, made=True)

    def _made(self, parent: Directory, name: bytes) -> bool:
        """Make a directory, unless there is one."""

        def create() -> None:
            os.mkdir(name, _OWNER_ALL, dir_fd=parent.fd)

        try:
            create()
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                return False
            self._make(parent, name, create)
        parent.state.upper.add(name)
        return True

    def _describe(self, directory: Directory, entry: TarEntry, *, made: bool) -> None:
        """Apply a directory entry; what would lock an ordinary user out, and the time, wait for :meth:`finish`."""
        if not made:
            clear_xattrs(directory.fd)
        apply_to_open(directory.fd, entry, self._options, self._budget, entry.mode | _OWNER_ALL)
        directory.state.mode, directory.state.mtime_ns = entry.mode, entry.mtime_ns

    def _hardlink(self, parent: Directory, name: bytes, entry: TarEntry) -> None:
        *above, last = entry.target.split(b"/")
        if any(part.startswith(PREFIX) for part in (*above, last)):
            raise TarError(f"a hard link to the whiteout {quote(entry.target)}", quote(entry.path))
        parent.pins += 1
        try:
            source = self._find(tuple(above), entry)
            if source.parts == parent.parts and last == name:
                raise TarError("a hard link to itself", quote(entry.path))
            source.pins += 1
            try:
                self._link(source, last, parent, name, entry)
            finally:
                source.pins -= 1
        finally:
            parent.pins -= 1

    def _find(self, above: tuple[bytes, ...], entry: TarEntry) -> Directory:
        """The directory of a hard link's target, which is never made for it."""
        directory = self._directories.visit(above) if self._overlay else self._directories.reach(above)
        if directory is None:
            raise TarError(f"its target {quote(entry.target)} does not exist", quote(entry.path))
        return directory

    def _link(self, source: Directory, last: bytes, parent: Directory, name: bytes, entry: TarEntry) -> None:
        try:
            info = os.stat(last, dir_fd=source.fd, follow_symlinks=False)
        except FileNotFoundError:
            self._directories.copy_target(source, last)
            info = os.stat(last, dir_fd=source.fd, follow_symlinks=False)
        if not (stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)):
            raise TarError(f"its target {quote(entry.target)} is neither file nor symlink", quote(entry.path))

        def link() -> None:
            os.link(last, name, src_dir_fd=source.fd, dst_dir_fd=parent.fd, follow_symlinks=False)

        self._make(parent, name, link)

    def _device(self, parent: Directory, name: bytes, entry: TarEntry) -> None:
        if entry.type == "char" and entry.device == (0, 0):
            raise TarError("character device 0:0 is a whiteout of overlayfs", quote(entry.path))
        shown = f"{entry.type} device {entry.device[0]}:{entry.device[1]}"
        if self._options.devices == "refuse":
            raise TarError(f"{shown} refused by policy", quote(entry.path))
        if self._options.devices == "skip":
            self._budget.skip(entry.path, f"{shown} left out by policy")
            return
        if self._options.rootless:
            raise NotSupported(f"{shown} at {quote(entry.path)}: only root can make devices")
        self._node(parent, name, entry, stat.S_IFCHR if entry.type == "char" else stat.S_IFBLK)

    def _node(self, parent: Directory, name: bytes, entry: TarEntry, kind: int) -> None:
        number = os.makedev(*entry.device)
        self._make(parent, name, lambda: os.mknod(name, kind | _PRIVATE, number, dir_fd=parent.fd))
        apply_to_node(parent.fd, name, entry, self._options)


def _write(fd: int, piece: memoryview) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        written += os.write(fd, piece[written:])


def _typed(error: OSError, entry: TarEntry) -> LayerError:
    """The disk's failures are a LayerError; everything else comes from what the archive asked for."""
    why = error.strerror or str(error)
    if error.errno in _OF_THE_DISK:
        return LayerError(f"cannot unpack {quote(entry.path)}: {why}")
    return TarError(f"cannot be unpacked: {why}", quote(entry.path))
