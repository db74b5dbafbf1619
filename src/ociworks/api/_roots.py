"""The root filesystem of a container of an image: on its layers, or where that cannot be, unpacked for it alone.

Layers are unpacked once, beside the default store, and stay there for the next container. A container has them as an
overlay in its own mount namespace: nothing is mounted on the host, and what it changes goes with its bundle.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ociworks.errors import CreateFailed, NotSupported

if TYPE_CHECKING:
    from ociworks.image import Image, RuntimeOptions
    from ociworks.image.store import Snapshot
    from ociworks.runtime import OverlayBundle, Runtime
    from ociworks.spec import Bundle

__all__ = ["opened", "rooted", "snapshots_directory"]

_DATABASES: Final = ("etc/passwd", "etc/group")
_MAX_DATABASE: Final = 1 << 20
_NO_STORE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EOPNOTSUPP, errno.ENOTDIR})
"""What a place says where no layers can be kept."""
_NO_OVERLAY: Final = "pin_root"
_seen: Final[dict[tuple[int, int, int], bool]] = {}
"""Whether overlays work, by user and by the file systems of layers and changes."""


def snapshots_directory() -> Path:
    """Where layers are unpacked: beside the default store."""
    from ociworks.api.images import default_store

    store = default_store()
    return store.with_name("snapshots" if store.name == "layout" else f"{store.name}-snapshots")


@contextmanager
def rooted(runtime: Runtime, image: Image, directory: Path, options: RuntimeOptions) -> Iterator[Bundle]:
    """A bundle of the image below ``directory``; its layers are held for as long as the block lasts."""
    with ExitStack() as stack:
        snapshot = _snapshot(stack, image)
        if snapshot is not None:
            layered = _layered(snapshot, image, directory / "layered", options)
            if _works(runtime, layered):
                yield layered
                return
        yield _unpacked(image, directory / "unpacked", options)


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    """A descriptor of a directory."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _snapshot(stack: ExitStack, image: Image) -> Snapshot | None:
    """The image's layers, unpacked; None where they cannot be kept."""
    if not image.config.rootfs.diff_ids:
        return None
    from ociworks.image.store import Snapshots

    try:
        snapshots = stack.enter_context(Snapshots(snapshots_directory()))
        return stack.enter_context(snapshots.prepare(image))
    except NotSupported:
        return None
    except OSError as error:
        if error.errno not in _NO_STORE:
            raise
        return None


def _layered(snapshot: Snapshot, image: Image, directory: Path, options: RuntimeOptions) -> OverlayBundle:
    """A bundle on layers. Its own root directory has the databases of users alone, and the overlay covers it."""
    from ociworks.image import runtime_spec
    from ociworks.runtime import OverlayBundle, RootfsOverlay
    from ociworks.spec import Bundle

    _make(directory)
    for name in ("upper", "work"):
        (directory / name).mkdir()
    with opened(directory / "upper") as upper:
        snapshot.describe_root(upper)
    (directory / "rootfs/etc").mkdir()
    for name in _DATABASES:
        content = snapshot.read(name, _MAX_DATABASE)
        if content is not None:
            with open(directory / "rootfs" / name, "xb") as file:
                file.write(content)
    overlay = RootfsOverlay(
        lowers=snapshot.directories,
        upper=str(directory / "upper"),
        work=str(directory / "work"),
        user=snapshot.user_marks,
    )
    with opened(directory / "rootfs") as rootfd:
        made = Bundle.create(directory, runtime_spec(image.config, options, rootfd=rootfd))
    return OverlayBundle(made.path, made.spec, overlay=overlay)


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / "rootfs").mkdir()


def _works(runtime: Runtime, bundle: OverlayBundle) -> bool:
    """Whether the kernel mounts these layers for this user: tried once for each pair of file systems."""
    key = (os.geteuid(), os.stat(bundle.overlay.lowers[0]).st_dev, os.stat(bundle.path).st_dev)
    if key not in _seen:
        _seen[key] = _try(runtime, bundle)
    return _seen[key]


def _try(runtime: Runtime, bundle: OverlayBundle) -> bool:
    """Mount the root in a container that ends before it has a program."""
    from ociworks.runtime.ids import new_id
    from ociworks.runtime.plan import build, ops

    changes = [bundle.path / f"try-{name}" for name in ("upper", "work")]
    for place in changes:
        place.mkdir()
    overlay = evolve(bundle.overlay, upper=str(changes[0]), work=str(changes[1]))
    planned = build(evolve(bundle, overlay=overlay), new_id())
    pinned = planned.find(_NO_OVERLAY)
    try:
        runtime.create_from(evolve(planned, operations=(*pinned, ops.wait_start()))).delete(force=True)
    except CreateFailed as error:
        if error.step == _NO_OVERLAY:
            return False
        raise
    return True


def _unpacked(image: Image, directory: Path, options: RuntimeOptions) -> Bundle:
    """The image's bundle, configured once: an image without a command is none without these options."""
    from ociworks.image import runtime_spec, unpack_layers
    from ociworks.image._unpack import UnpackOptions
    from ociworks.spec import Bundle

    _make(directory)
    with opened(directory / "rootfs") as rootfd:
        os.fchmod(rootfd, 0o755)  # whatever the umask is: users in the container pass through it
        unpack_layers(image.layers, rootfd, UnpackOptions(rootless=options.rootless))
        return Bundle.create(directory, runtime_spec(image.config, options, rootfd=rootfd))
