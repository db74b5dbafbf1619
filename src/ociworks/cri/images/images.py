"""The images of a node."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Self

from ociworks.cri.config import CriConfig
from ociworks.cri.images.disk import Disk
from ociworks.cri.images.local import LocalImage, LocalImages
from ociworks.cri.images.messages import described, described_fully
from ociworks.cri.images.mounts import ROOT, Mounts, name_of
from ociworks.cri.images.namespaces import UserNamespace
from ociworks.cri.images.pulls import Pulls
from ociworks.cri.images.roots import ContainerRoot, Roots, check_id
from ociworks.cri.images.trash import Trash
from ociworks.cri.images.volumes import beneath
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import ImageNotFound, InvalidRequest, LayoutError, NotSupported, quote
from ociworks.image import layout
from ociworks.image.layout import Layout
from ociworks.image.store import Snapshot, Snapshots
from ociworks.image.store.usage import Usage
from ociworks.runtime.overlay import RootfsOverlay
from ociworks.spec import Digest

__all__ = ["Images"]

_logger = logging.getLogger(__name__)


class Images:
    """What a node has of images. ``store`` is where they are kept; None: below the configuration's root.

    What the store has without a name is collected, as :meth:`Layout.gc <ociworks.image.layout.Layout.gc>` says.

    Making it brings together what is there: layers that containers have are held again, and what a killed server left
    of pulls and removals is collected. Raises :class:`~ociworks.errors.LayoutError` when the store is something else
    than a layout, and ``OSError``.
    """

    def __init__(self, config: CriConfig, store: Layout | str | os.PathLike[str] | None = None) -> None:
        self._closing = ExitStack()
        try:
            self._layout = self._open(config, store)
            self._snapshots = self._closing.enter_context(Snapshots(os.path.join(config.root, "snapshots")))
            trash = Trash(os.path.join(config.root, "trash"))
            self._closing.callback(trash.close)
            self._roots = Roots(os.path.join(config.root, "containers"), self._snapshots, trash)
            self._closing.callback(self._roots.close)
            self._mounts = Mounts(os.path.join(config.state, "mounts"))
            self._closing.callback(self._mounts.close)
            self._local = LocalImages(self._layout, config.pinned_images)
            self._disk = Disk(self._layout, self._snapshots, self._roots, config.stats_period)
            self._pulls = Pulls(config, self._layout, self._snapshots)
            self._closing.callback(self._pulls.close)
            self._snapshots.clean()
            self._collect()
        except BaseException:
            self._closing.close()
            raise

    def stop_pulls(self) -> None:
        """Take no more pulls, and end those under way without waiting for them. Again is harmless."""
        self._pulls.stop()

    def close(self) -> None:
        """End pulls and let go of everything; images and the roots of containers stay. Again is harmless."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The image service

    def pull(self, spec: api.ImageSpec, auth: api.AuthConfig, pod: api.PodSandboxConfig) -> str:  # noqa: ARG002
        """Bring an image here; its ID. See :meth:`Pulls.pull <ociworks.cri.images.pulls.Pulls.pull>`."""
        return self._pulls.pull(spec.image, auth)

    def list(self, filter: api.ImageFilter) -> Sequence[api.Image]:
        """All images, or the one that the filter names, by a name or an ID."""
        if not filter.image.image:
            return [described(each) for each in self._local.all()]
        found = self._local.find(filter.image.image)
        return [] if found is None else [described(found)]

    def status(self, spec: api.ImageSpec, *, verbose: bool = False) -> api.ImageStatusResponse:
        """One image by a name, its ID or the beginning of it; an empty answer when there is none."""
        found = self._local.find(spec.image)
        if found is None:
            return api.ImageStatusResponse()
        return api.ImageStatusResponse(image=described(found), info=described_fully(found) if verbose else {})

    def remove(self, spec: api.ImageSpec) -> None:
        """Remove an image with all its names, by one of them or its whole ID; again is harmless.

        What containers have of it stays for them. Raises :class:`~ociworks.errors.InvalidRequest` for the beginning of
        an ID.
        """
        found = self._local.exactly(spec.image)
        if found is None:
            if self._local.find(spec.image) is not None:
                raise InvalidRequest(f"image.image: expected a name or a whole ID, got {quote(spec.image)}")
            return
        for digest in found.entries:
            with contextlib.suppress(ImageNotFound):  # another call was faster
                self._layout.delete(digest)
        self._collect()

    def fs_info(self) -> api.ImageFsInfoResponse:
        """What images and the changes of containers take on the disk."""
        return self._disk.info()

    # For other parts

    def get(self, name: str) -> LocalImage:
        """The image of this name, ID or beginning of an ID; :class:`~ociworks.errors.ImageNotFound`."""
        found = self._local.find(name)
        if found is None:
            raise ImageNotFound(f"image {quote(name)} is not here")
        return found

    def damaged(self) -> Mapping[Digest, str]:
        """What is listed and cannot be read, and why: such images count as not here until they are pulled again."""
        return self._local.damaged()

    def trouble(self) -> Mapping[str, str]:
        """What a verbose status of the node says: each damaged image, or the list itself, and what is wrong."""
        try:
            return {str(digest): reason for digest, reason in self.damaged().items()}
        except LayoutError as error:
            return {"index.json": str(error)}

    def root(
        self,
        container_id: str,
        local: LocalImage,
        *,
        users: UserNamespace | None = None,
        mounted: bool = False,
    ) -> ContainerRoot:
        """The root filesystem for a container, held until :meth:`release`; again gives the same.

        Without more it is an overlay that the container mounts itself. ``mounted`` is for runtimes that cannot: the
        host mounts it. With ``users`` its files have the owners that this namespace gives them; where the kernel cannot
        mount that, it is a copy.
        """
        snapshot, overlay = self._roots.make(container_id, local)
        if users is None and not mounted:
            path = self._mounts.place(container_id, snapshot)
            return ContainerRoot(path=path, overlay=overlay, snapshot=snapshot)
        path = self._mounted(container_id, snapshot, overlay, users)
        return ContainerRoot(path=path, snapshot=snapshot)

    def mount_of(
        self, container_id: str, image: str, subpath: str = "", *, users: UserNamespace | None = None
    ) -> str:
        """The path on the host of an image, or of something in it, that a container shall have read-only.

        It stays until :meth:`release`. Raises :class:`~ociworks.errors.ImageNotFound`, and
        :class:`~ociworks.errors.InvalidRequest` for a sub-path that is not in the image.
        """
        snapshot = self._roots.hold(container_id, self.get(image))
        if not snapshot.chain_ids:
            raise InvalidRequest(f"image {quote(image)} has no layers to mount")
        return beneath(self._volume(container_id, snapshot, users), subpath)

    def release(self, container_id: str) -> None:
        """Take away the root and the mounts of a container, and what was left for it alone; again is harmless."""
        check_id(container_id)
        self._mounts.release(container_id)
        chain_ids = self._roots.chain_ids()
        self._roots.release(container_id)
        if not chain_ids <= self._local.chain_ids():
            self._collect()

    def usage(self, container_id: str) -> tuple[int, int]:
        """Bytes and inodes of what a container has changed in its root filesystem. It is counted now."""
        found: Usage = self._roots.usage(container_id)
        return found.bytes, found.inodes

    def holders(self) -> frozenset[str]:
        """The IDs of containers that have a root or mounts here; those that no record knows are to be released."""
        return frozenset((*self._roots.all(), *self._mounts.all()))

    # Parts

    def _open(self, config: CriConfig, store: Layout | str | os.PathLike[str] | None) -> Layout:
        if isinstance(store, Layout):
            return store
        path = os.path.join(config.root, "images") if store is None else store
        return self._closing.enter_context(layout.open(path, create=True))

    def _mounted(
        self, id: str, snapshot: Snapshot, overlay: RootfsOverlay, users: UserNamespace | None
    ) -> str:
        try:
            return self._mounts.root(id, overlay, users)
        except NotSupported:
            if users is None:
                raise
            return self._copied(id, ROOT, snapshot, users)

    def _volume(self, id: str, snapshot: Snapshot, users: UserNamespace | None) -> str:
        try:
            return self._mounts.volume(id, snapshot, users)
        except NotSupported:
            if users is None:
                raise
            return self._copied(id, name_of(snapshot), snapshot, users)

    def _copied(self, id: str, name: str, snapshot: Snapshot, users: UserNamespace) -> str:
        """A copy whose files have the namespace's owners, where layers cannot be mounted so."""
        place = os.path.join(self._roots.path, id, f"copy-{name}")
        with contextlib.suppress(FileExistsError):
            snapshot.copy(place, users.on_host)
        return self._mounts.bind(id, name, place, users)

    def _collect(self) -> None:
        """Remove blobs and layers that nothing needs. A damaged list stops that, and is said.

        Pulls under way hold their blobs by a lease, and their layers until they have a name.
        """
        try:
            self._layout.gc()
            kept = self._local.chain_ids()
        except LayoutError as error:
            _logger.warning("%s", error)
            return
        self._snapshots.prune((*kept, *self._roots.chain_ids()))
