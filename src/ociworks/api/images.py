"""Images in the default store: pull, push, verify.

The store is one OCI layout directory. Which one: the ``store`` argument, or the environment variable
``OCIWORKS_STORE``, or ``/var/lib/ociworks/layout`` for root and ``$XDG_DATA_HOME/ociworks/layout`` for others.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ociworks.api.clients import host_client
from ociworks.errors import NotSupported

if TYPE_CHECKING:
    from ociworks.image import Image, Reference
    from ociworks.image.progress import ProgressCallback
    from ociworks.image.remote import Client
    from ociworks.image.sign import Policy
    from ociworks.image.types import ByteStream
    from ociworks.spec import Platform
    from ociworks.spec.image import Descriptor

__all__ = ["default_store", "pull", "push", "stored", "stored_name", "verify"]

StorePath = str | os.PathLike[str]


def default_store() -> Path:
    """The directory of the default store; it need not exist yet.

    Raises :class:`~ociworks.errors.NotSupported` when neither the environment nor a home directory says where.
    """
    if chosen := os.environ.get("OCIWORKS_STORE"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/ociworks/layout")
    home = os.environ.get("HOME", os.path.expanduser("~"))
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    if not os.path.isabs(data):
        raise NotSupported(
            "there is no home directory for the image store: set OCIWORKS_STORE to a directory"
        )
    return Path(data, "ociworks", "layout")


def pull(
    ref: str | Reference,
    *,
    platform: str | Platform | None = None,
    progress: ProgressCallback | None = None,
    store: StorePath | None = None,
    client: Client | None = None,
    policy: Policy | None = None,
) -> Image:
    """Bring an image from its registry into the store, every byte verified, and return it from there.

    ``platform`` chooses from an index (None: this host's). ``progress`` is called for each blob, from worker threads,
    one call at a time. ``client`` brings other credentials, certificates or transports than the defaults; it stays
    open. ``policy`` decides by signatures before any layer is transferred. Blobs that the store has are not
    transferred again.

    Raises :class:`~ociworks.errors.InvalidReference`, :class:`~ociworks.errors.RegistryError`,
    :class:`~ociworks.errors.ImageNotFound`, :class:`~ociworks.errors.ContentError`,
    :class:`~ociworks.errors.LayoutError`, and :class:`~ociworks.errors.VerificationFailed` when the policy does not
    accept the image; the store then has no such image.
    """
    from ociworks.image import Reference, layout

    reference = ref if isinstance(ref, Reference) else Reference.parse(ref)
    directory = _directory(store)
    with ExitStack() as stack:
        registry = client or stack.enter_context(host_client())
        images = stack.enter_context(layout.open(directory, create=True))
        found = _accepted(registry, reference, platform, policy)
        return _detached(images.put(found, stored_name(reference), progress=progress), directory)


def _accepted(
    registry: Client, reference: Reference, platform: str | Platform | None, policy: Policy | None
) -> Image:
    """The image for the platform. A tag is resolved once: what the policy decided about is what is returned."""
    from ociworks.image import ImageIndex, partial

    found = registry.get(reference)
    index = found if isinstance(found, ImageIndex) else None
    image = found.image(platform) if isinstance(found, ImageIndex) else partial.require(found, platform)
    if policy is not None:
        policy.check(registry, reference, image, within=index).raise_if_failed()
    return image


def stored(
    ref: str | Reference, *, platform: str | Platform | None = None, store: StorePath | None = None
) -> Image | None:
    """The image of that name in the store, or None; nothing is transferred.

    Raises :class:`~ociworks.errors.InvalidReference` and :class:`~ociworks.errors.LayoutError`.
    """
    from ociworks.errors import ImageNotFound
    from ociworks.image import Reference, layout

    reference = ref if isinstance(ref, Reference) else Reference.parse(ref)
    directory = _directory(store)
    if not directory.exists():
        return None
    try:
        with layout.open(directory) as images:
            return _detached(images.image(stored_name(reference), platform), directory)
    except ImageNotFound:
        return None


def push(
    img: Image,
    ref: str | Reference,
    *,
    progress: ProgressCallback | None = None,
    client: Client | None = None,
) -> Reference:
    """Bring an image to a registry, byte for byte, and return its name by digest there.

    Blobs that the registry has are not transferred. Raises :class:`~ociworks.errors.InvalidReference`,
    :class:`~ociworks.errors.RegistryError` and :class:`~ociworks.errors.ContentError`.
    """
    from ociworks.image import Reference

    reference = ref if isinstance(ref, Reference) else Reference.parse(ref)
    with ExitStack() as stack:
        registry = client or stack.enter_context(host_client())
        registry.push(img, reference, progress=progress)
    return reference.at(img.digest)


def verify(img: Image) -> None:
    """Read everything in an image and compare it with what its documents promise and the specifications demand.

    That is what :func:`ociworks.image.validate.image` looks at. Raises :class:`~ociworks.errors.InvalidImage` with all
    problems at once, and what prevents looking, such as :class:`~ociworks.errors.RegistryUnreachable`.
    """
    from ociworks.image import validate

    validate.image(img).raise_if_failed()


class _StoredBlobs:
    """The blobs of a layout that is opened for each of them: an image outlives the call that gave it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        from ociworks.image import layout

        with layout.open(self._directory) as images:
            return images.open_blob(descriptor)


def _detached(img: Image, directory: Path) -> Image:
    from ociworks.image import ImageIndex, partial

    found = partial.document(img.raw_manifest, _StoredBlobs(directory), descriptor=img.descriptor)
    return found.image() if isinstance(found, ImageIndex) else found


def stored_name(reference: Reference) -> str:
    """The tag in the store: the full reference, in hexadecimal where the layout's grammar has no room for it."""
    from ociworks.image.layout import name_of

    return name_of(reference)


def _directory(store: StorePath | None) -> Path:
    return default_store() if store is None else Path(store).absolute()
