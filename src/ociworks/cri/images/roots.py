"""What containers have of images: layers that are held for them, and directories of their own.

::

    <root>/containers/<id>/layers-<chain ID>     the chain that is held, base first; how a restart knows
    <root>/containers/<id>/upper, work           what the container changes
    <root>/containers/<id>/copy-…                a root or volume with other owners, where it has to be a copy
    <root>/trash/                                what released ones have left (module ``trash``)
    <state>/mounts/<id>/                         where its root is mounted, and its volumes (module ``mounts``)

Layers are held once for all containers that have the same, by an open snapshot: whoever removes an image leaves them
until the last container is released.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import field, frozen

from ociworks.cri.images.local import LocalImage
from ociworks.cri.images.trash import Trash
from ociworks.errors import ImageError, InvalidRequest, SpecError, quote
from ociworks.image import _files
from ociworks.image.store import Snapshot, Snapshots
from ociworks.image.store.usage import Usage
from ociworks.runtime.overlay import RootfsOverlay
from ociworks.spec import Digest

__all__ = ["COPIED", "ContainerRoot", "Roots", "check_id", "is_id"]

_logger = logging.getLogger(__name__)

_HELD: Final = "layers-"
COPIED: Final = "copy-rootfs"
"""A root with other owners, where the kernel cannot mount the layers so."""
_MAX_CHAIN: Final = 1 << 20
_HEX: Final = frozenset("0123456789abcdef")


@frozen(kw_only=True)
class ContainerRoot:
    """The root filesystem of a container that is to be made."""

    path: str
    """What the configuration's ``root.path`` has to be. ``etc/passwd`` and ``etc/group`` can be read there at once."""
    overlay: RootfsOverlay | None = None
    """What is to be mounted there, in the container's own namespace; None: everything is there already."""
    snapshot: Snapshot = field(repr=False)
    """The image's layers, to read its files; open until the container is released."""


class Roots:
    """The roots of a node's containers. At the start, what they hold of layers is held again."""

    def __init__(self, directory: str, snapshots: Snapshots, trash: Trash) -> None:
        os.makedirs(directory, mode=0o711, exist_ok=True)
        self.path = directory
        self._snapshots = snapshots
        self._trash = trash
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._held: dict[tuple[Digest, ...], tuple[Snapshot, set[str]]] = {}
        for name in self.all():
            self._hold_again(name)

    def close(self) -> None:
        """Let go of the layers; containers that run have them mounted."""
        with self._lock:
            held, self._held = list(self._held.values()), {}
            fd, self._fd = self._fd, -1
        for snapshot, _ in held:
            snapshot.close()
        if fd >= 0:
            os.close(fd)

    def all(self) -> tuple[str, ...]:
        """The IDs of containers that have something here."""
        return tuple(sorted(filter(is_id, os.listdir(self._fd))))

    def chain_ids(self) -> frozenset[Digest]:
        """The layers that are held."""
        with self._lock:
            return frozenset(chain_id for chain in self._held for chain_id in chain)

    def hold(self, id: str, local: LocalImage) -> Snapshot:
        """The layers of an image, unpacked now if they are missing, until the container is released."""
        check_id(id)
        chain = local.chain_ids
        with _files.directory(self._fd, id, create=True) as own:
            _write_chain(own, chain)
        return self._held_by(id, chain) or self._keep(id, chain, self._snapshots.prepare(local.image))

    def make(self, id: str, local: LocalImage) -> tuple[Snapshot, RootfsOverlay]:
        """The layers of the image, and empty directories for what the container changes; again gives the same."""
        snapshot = self.hold(id, local)
        own = os.path.join(self.path, id)
        with _files.directory(self._fd, id) as fd:
            with contextlib.suppress(FileExistsError):
                os.mkdir("work", 0o700, dir_fd=fd)
            lowers = _lowers(snapshot, own, fd)
            with _files.directory(fd, "upper", create=True) as upper:
                os.fchmod(upper, 0o755)
                if snapshot.chain_ids:
                    snapshot.describe_root(upper)
        return snapshot, RootfsOverlay(
            lowers=lowers,
            upper=os.path.join(own, "upper"),
            work=os.path.join(own, "work"),
            user=snapshot.user_marks,
            volatile=True,
        )

    def release(self, id: str) -> None:
        """Let go of the layers and remove the directories; again is harmless."""
        check_id(id)
        with self._lock:
            for chain, (_, users) in list(self._held.items()):
                users.discard(id)
                if not users:
                    self._held.pop(chain)[0].close()
        self._trash.throw(self._fd, id)

    def usage(self, id: str) -> Usage:
        """What a container has for itself takes: its changes, and its copy of the layers where it has one.

        Nothing for a container that has no root here.
        """
        check_id(id)
        return self._usage(id, "upper") + self._usage(id, COPIED)

    def _usage(self, id: str, name: str) -> Usage:
        try:
            with _files.directory(self._fd, id, name) as tree:
                return Usage.of(tree)
        except FileNotFoundError:
            return Usage(bytes=0, inodes=0)

    def _held_by(self, id: str, chain: tuple[Digest, ...]) -> Snapshot | None:
        with self._lock:
            found = self._held.get(chain)
            if found is None:
                return None
            found[1].add(id)
            return found[0]

    def _keep(self, id: str, chain: tuple[Digest, ...], snapshot: Snapshot) -> Snapshot:
        with self._lock:
            kept, users = self._held.setdefault(chain, (snapshot, set()))
            users.add(id)
        if kept is not snapshot:
            snapshot.close()
        return kept

    def _hold_again(self, id: str) -> None:
        try:
            with _files.directory(self._fd, id) as own:
                for chain in list(_chains(own)):
                    if self._held_by(id, chain) is None:
                        self._keep(id, chain, self._snapshots.held(chain))
        except (ImageError, OSError) as error:
            _logger.warning("container %s: its layers are not all there: %s", id, error)


def is_id(name: str) -> bool:
    """Whether it is one of our IDs; what else lies in a directory is somebody else's."""
    return len(name) == 64 and _HEX.issuperset(name)


def check_id(id: str) -> None:
    """Raise :class:`~ociworks.errors.InvalidRequest` for what is not one of our IDs: it becomes a name on disk."""
    if not is_id(id):
        raise InvalidRequest(f"expected 64 hexadecimal digits, got {quote(id)}")


def _write_chain(own: int, chain: Sequence[Digest]) -> None:
    name = _HELD + (chain[-1].encoded if chain else "none")
    with contextlib.suppress(FileExistsError):
        _files.write_new(own, name, json.dumps([str(each) for each in chain]).encode())


def _chains(own: int) -> Iterator[tuple[Digest, ...]]:
    """What a container holds. A list that was not written to its end is one of a container that was not made."""
    for name in os.listdir(own):
        if name.startswith(_HELD):
            with contextlib.suppress(ValueError, SpecError, TypeError):
                raw = json.loads(_files.read_file(own, name, _MAX_CHAIN) or b"")
                yield tuple(Digest.parse(each) for each in raw)


def _lowers(snapshot: Snapshot, own: str, fd: int) -> tuple[str, ...]:
    """An image without layers is an empty directory."""
    if snapshot.chain_ids:
        return snapshot.directories
    with contextlib.suppress(FileExistsError):
        os.mkdir("empty", 0o755, dir_fd=fd)
    return (os.path.join(own, "empty"),)
