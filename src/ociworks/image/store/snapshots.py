"""Unpacked layers: one directory per chain ID, made once, shared by all images that have it, ready for overlayfs.

::

    <root>/form                          whose the files are, and how whiteouts are marked (module ``_marks``)
    <root>/locks/<chain>                 held by the one who unpacks this layer
    <root>/layers/<chain>/fs             what the layer adds and takes away, in overlayfs's form
    <root>/layers/<chain>/usage          bytes and inodes, counted once
    <root>/layers/.ociworks-unpack-*     being unpacked; removed by the next one when its process is gone

``<chain>`` is ``<algorithm>-<encoded>``. A layer directory appears, by rename, when its digests were compared. Whoever
uses it holds a shared lock on it; it is removed only by one who gets the exclusive lock.

overlayfs copies a file of a lower layer before it changes, so a hard link that a layer adds to a file of a lower one
makes the two names one inode, and leaves further names in the lower layer apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from ociworks._linux.path import remove_tree_at, sync_filesystem
from ociworks.errors import ImageError, ImageNotFound, NotSupported, quote
from ociworks.image import _files
from ociworks.image._unpack import Budget, OverlayForm, UnpackOptions, unpack_layer
from ociworks.image._unpack.staging import PREFIX, Staging, remove_stale
from ociworks.image.store._marks import Form, dialect_of, own_form
from ociworks.image.store.snapshot import Snapshot
from ociworks.image.store.usage import FS, Usage, read_usage, write_usage
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits
from ociworks.spec.digest import Digest

if TYPE_CHECKING:
    from types import TracebackType

    from ociworks.image._unpack import DevicePolicy
    from ociworks.image.progress import ProgressCallback
    from ociworks.image.types import Image, Layer

__all__ = ["Snapshots"]

Path = str | os.PathLike[str]

_LAYERS: Final = "layers"
_LOCKS: Final = "locks"
_FORM: Final = "form"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES: Final = 16
_SMALL: Final = 4096
_CHAIN = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})", re.ASCII)


class _Unpacking(NamedTuple):
    """How one image's layers are unpacked, counted together."""

    options: UnpackOptions
    budget: Budget
    progress: ProgressCallback | None


class Snapshots:
    """The unpacked layers below one directory; safe for several threads and processes.

    As root, files have the owners that the image says. An ordinary user's belong to that user, whom a user namespace
    shows as root.
    Raises :class:`~ociworks.errors.ImageError` for a directory that others may write or that is another user's,
    :class:`~ociworks.errors.NotSupported` for one that was made on the other side of a user namespace, ``OSError``.
    """

    def __init__(self, path: Path) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.path = os.path.abspath(path)
        self._fd = os.open(self.path, _DIRECTORY)
        try:
            _check_private(self._fd, self.path)
            self._form = _settle_form(self._fd, self.path)
            for name in (_LAYERS, _LOCKS):
                with _files.directory(self._fd, name, create=True):
                    pass
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Release the directory; snapshots that are open stay so. Closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def prepare(
        self,
        image: Image,
        *,
        limits: Limits = DEFAULT_LIMITS,
        devices: DevicePolicy = "skip",
        progress: ProgressCallback | None = None,
    ) -> Snapshot:
        """The snapshot of an image; layers that are missing are unpacked, each by one process and once.

        Raises what :func:`ociworks.image.unpack` raises; then no layer is there that was not verified.
        """
        options = UnpackOptions(rootless=self._form == "squashed", devices=devices, limits=limits)
        work = _Unpacking(options, Budget(limits), progress)
        chain = image.config.rootfs.chain_ids()
        with contextlib.ExitStack() as stack:
            held: list[int] = []
            for chain_id, layer in zip(chain, image.layers, strict=True):
                held.append(self._layer(chain_id, layer, held, work))
                stack.callback(os.close, held[-1])
            stack.pop_all()
        return Snapshot(chain, tuple(held), dialect_of(self._form))

    def held(self, chain_ids: Iterable[Digest]) -> Snapshot:
        """The snapshot of layers that are all there, base first; :class:`~ociworks.errors.ImageNotFound` otherwise."""
        chain = tuple(chain_ids)
        with contextlib.ExitStack() as stack:
            held: list[int] = []
            for chain_id in chain:
                fd = self._open(chain_id)
                if fd is None:
                    raise ImageNotFound(f"no layer {chain_id} in {quote(self.path)}")
                held.append(fd)
                stack.callback(os.close, fd)
            stack.pop_all()
        return Snapshot(chain, tuple(held), dialect_of(self._form))

    def clean(self) -> None:
        """Remove what killed processes have left of layers that they were unpacking or removing."""
        with _files.directory(self._root, _LAYERS) as layers, _files.directory(self._root, _LOCKS) as locks:
            remove_stale(layers)
            for name in os.listdir(locks):
                _files.remove_if_abandoned(locks, name)

    def chain_ids(self) -> tuple[Digest, ...]:
        """The layers that are there, in the order of their names."""
        with _files.directory(self._root, _LAYERS) as layers:
            names = sorted(os.listdir(layers))
        return tuple(found for name in names if (found := _chain_id(name)) is not None)

    def usage(self, chain_id: Digest) -> Usage:
        """What one layer takes on the disk; :class:`~ociworks.errors.ImageNotFound` when it is not there."""
        fd = self._open(chain_id)
        if fd is None:
            raise ImageNotFound(f"no layer {chain_id} in {quote(self.path)}")
        try:
            return read_usage(fd)
        finally:
            os.close(fd)

    def remove(self, chain_id: Digest) -> bool:
        """Remove one layer; False when it is not there or somebody uses it. Layers on top of it are of no use then."""
        name = _name(chain_id)
        with _files.directory(self._root, _LAYERS) as layers:
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=layers)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                doomed = PREFIX + os.fsencode(
                    name
                )  # what is left of it when we are killed, the next unpacking removes
                os.rename(name, doomed, src_dir_fd=layers, dst_dir_fd=layers)
                remove_tree_at(layers, doomed, missing_ok=True)
            except (BlockingIOError, FileNotFoundError):
                return False
            finally:
                os.close(fd)
        return True

    def prune(self, keep: Iterable[Image | Digest] = (), *, dry_run: bool = False) -> tuple[Digest, ...]:
        """Remove every layer that nobody uses and ``keep`` does not name, by an image that has it or by its chain ID.

        Gives what was removed, or with ``dry_run`` what would be.
        """
        kept = {
            chain_id
            for each in keep
            for chain_id in ((each,) if isinstance(each, Digest) else each.config.rootfs.chain_ids())
        }
        end = self._unused if dry_run else self.remove
        return tuple(found for found in self.chain_ids() if found not in kept and end(found))

    @property
    def _root(self) -> int:
        if self._fd < 0:
            raise ImageError(f"{quote(self.path)}: the snapshots are closed")
        return self._fd

    def _open(self, chain_id: Digest) -> int | None:
        """A layer's directory under a shared lock; None when it is not there."""
        name = _name(chain_id)
        with _files.directory(self._root, _LAYERS) as layers:
            for _ in range(_TRIES):
                try:
                    fd = os.open(name, _DIRECTORY, dir_fd=layers)
                except FileNotFoundError:
                    return None
                fcntl.flock(fd, fcntl.LOCK_SH)
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=layers, follow_symlinks=False).st_ino == os.fstat(fd).st_ino:
                        return fd
                os.close(fd)  # it was removed before we had the lock
        return None

    def _unused(self, chain_id: Digest) -> bool:
        """Whether a layer is there and nobody has it open."""
        with _files.directory(self._root, _LAYERS) as layers:
            try:
                fd = os.open(_name(chain_id), _DIRECTORY, dir_fd=layers)
            except FileNotFoundError:
                return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def _layer(self, chain_id: Digest, layer: Layer, below: Sequence[int], work: _Unpacking) -> int:
        """A layer's directory, unpacked now if it is missing; others who need it wait for us."""
        for _ in range(_TRIES):
            if (fd := self._open(chain_id)) is not None:
                return fd
            with self._alone(chain_id):
                if (fd := self._open(chain_id)) is not None:
                    return fd
                self._unpack(chain_id, layer, below, work)
        raise ImageError(f"layer {chain_id} is removed from {quote(self.path)} as fast as it is unpacked")

    @contextlib.contextmanager
    def _alone(self, chain_id: Digest) -> Iterator[None]:
        """Only one process unpacks a layer; the lock's file goes with its last holder."""
        name = _name(chain_id)
        with _files.directory(self._root, _LOCKS) as locks:
            while True:
                fd = os.open(name, _LOCK, 0o600, dir_fd=locks)
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_nlink:
                    break
                os.close(fd)
            try:
                yield
            finally:
                os.unlink(name, dir_fd=locks)
                os.close(fd)

    def _unpack(self, chain_id: Digest, layer: Layer, below: Sequence[int], work: _Unpacking) -> None:
        with Staging(os.path.join(self.path, _LAYERS, _name(chain_id))) as staging:
            os.mkdir(FS, 0o755, dir_fd=staging.fd)
            with _files.directory(staging.fd, FS) as fs:
                os.fchmod(fs, 0o755)
                with _trees(below) as trees:
                    form = OverlayForm(below=trees, attributes=dialect_of(self._form))
                    unpack_layer(
                        layer, fs, work.options, overlay=form, progress=work.progress, budget=work.budget
                    )
                write_usage(staging.fd, Usage.of(fs))
            sync_filesystem(staging.fd)
            staging.publish()


def _name(chain_id: Digest) -> str:
    return f"{chain_id.algorithm}-{chain_id.encoded}"


def _chain_id(name: str) -> Digest | None:
    match = _CHAIN.fullmatch(name)
    return None if match is None else Digest.parse(f"{match[1]}:{match[2]}")


def _check_private(fd: int, path: str) -> None:
    """Set-id programs of images lie here: nobody else may come in (ATTACKS UN-08)."""
    info = os.fstat(fd)
    if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
        raise ImageError(
            f"{quote(path)}: expected a directory of yours with mode 0700, "
            f"found mode {stat.S_IMODE(info.st_mode):04o} of user {info.st_uid}"
        )


def _settle_form(root: int, path: str) -> Form:
    """The form of what is here, which is written down by whoever comes first."""
    mine = own_form()
    with _files.locked(root):
        found = _files.read_file(root, _FORM, _SMALL)
        if found is None:
            _files.write_new(root, _FORM, mine.encode())
            return mine
    if found != mine.encode():
        raise NotSupported(
            f"{quote(path)}: its layers are {quote(found, 40)} (by whom a user namespace is entered), "
            f"this process makes {mine} ones: use another directory"
        )
    return mine


@contextlib.contextmanager
def _trees(layers: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The trees of layers' directories."""
    with contextlib.ExitStack() as stack:
        yield tuple(stack.enter_context(_files.directory(fd, FS)) for fd in layers)
