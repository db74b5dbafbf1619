"""Copy images between any two places."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias, Union

from ociworks.api.images import default_store, stored_name
from ociworks.api.options import CopyOptions
from ociworks.errors import InvalidLocation, quote

if TYPE_CHECKING:
    from ociworks.image import Image, ImageIndex, Location, Reference
    from ociworks.image._places import RegistryPlace
    from ociworks.image.archive import Archive
    from ociworks.image.copy import Copied, PlatformChoice, Sink, Source
    from ociworks.image.layout import Layout
    from ociworks.image.progress import ProgressCallback
    from ociworks.image.remote import Client

__all__ = ["copy"]

From: TypeAlias = Union["str", "Location", "Reference", "Layout", "Archive", "Image", "ImageIndex"]
To: TypeAlias = Union["str", "Location", "Reference", "Layout"]


def copy(
    src: From,
    dst: To,
    *,
    platforms: PlatformChoice = None,
    referrers: bool = False,
    progress: ProgressCallback | None = None,
    client: Client | None = None,
    options: CopyOptions | None = None,
) -> Copied:
    """Copy an image from one place to another; only what is missing there travels, every byte verified.

    Places are text as in :mod:`ociworks.image.location` (``docker://reg/app:1`` or a plain reference,
    ``oci:DIR:TAG``, ``oci-archive:FILE``, ``docker-archive:FILE:REF``, ``store:NAME``), references, open layouts
    (as source the only image in it, as destination without a tag), and as sources also open archives and images.

    ``platforms`` is one (None: this host's), several (an index with fewer entries), or ``ociworks.ALL`` (the index
    unchanged). ``referrers`` copies signatures, SBOMs and whatever else is attached, before the name moves. Digests
    are kept, except in a docker-archive, which has no manifests. An archive is written anew and replaces the file. A
    directory is made a layout when it is empty or missing.

    Raises :class:`~ociworks.errors.InvalidLocation`, :class:`~ociworks.errors.InvalidReference`,
    :class:`~ociworks.errors.ImageNotFound`, :class:`~ociworks.errors.RegistryError`,
    :class:`~ociworks.errors.LayoutError`, :class:`~ociworks.errors.ArchiveError`,
    :class:`~ociworks.errors.ContentError`, :class:`~ociworks.errors.NotSupported` and ``OSError``; the destination then
    has no new name.
    """
    from ociworks.image.copy import transfer

    chosen = options or CopyOptions()
    with ExitStack() as stack:
        places = _Places(stack, client, chosen, progress)
        source = places.source(src)
        sink = places.sink(dst)
        return transfer(
            source, sink, platforms=platforms, referrers=referrers, media_types=chosen.media_types
        )


class _Places:
    """Opens places; what it opens is closed, or written, at the end of the stack."""

    def __init__(
        self,
        stack: ExitStack,
        client: Client | None,
        options: CopyOptions,
        progress: ProgressCallback | None,
    ) -> None:
        from ociworks.image._places import Moving

        self._stack = stack
        self._client = client
        self._options = options
        self._moving = Moving(progress=progress, workers=options.workers)

    def source(self, src: From) -> Source:
        """The place that an argument names, to read from."""
        from ociworks.image import Location, Reference
        from ociworks.image._catalog import Catalog
        from ociworks.image._places import CatalogSource, ImageSource

        if isinstance(src, str | Location | Reference):
            return self._source_at(Location.of(src))
        return CatalogSource(src, None) if isinstance(src, Catalog) else ImageSource(src)

    def sink(self, dst: To) -> Sink:
        """The place that an argument names, to write to."""
        from ociworks.image import Location, Reference
        from ociworks.image._places import LayoutSink

        if isinstance(dst, str | Location | Reference):
            return self._sink_at(Location.of(dst))
        return LayoutSink(dst, None, self._moving)

    def _source_at(self, where: Location) -> Source:
        from ociworks.image import archive, layout
        from ociworks.image._places import CatalogSource

        match where.transport:
            case "docker":
                return self._registry(_reference(where))
            case "oci":
                return CatalogSource(self._stack.enter_context(layout.open(_path(where))), where.name)
            case "store":
                store = layout.open(self._options.store or default_store())
                return CatalogSource(self._stack.enter_context(store), stored_name(_reference(where)))
            case "oci-archive":
                images = archive.open(_path(where), format="oci")
                return CatalogSource(self._stack.enter_context(images), where.name)
            case "docker-archive":
                images = archive.open(_path(where), format="docker")
                name = None if where.reference is None else str(where.reference)
                return CatalogSource(self._stack.enter_context(images), name)

    def _sink_at(self, where: Location) -> Sink:
        from ociworks.image import archive, layout
        from ociworks.image._places import ArchiveSink, LayoutSink

        match where.transport:
            case "docker":
                return self._registry(_reference(where))
            case "oci":
                images = self._stack.enter_context(layout.open(_path(where), create=True))
                return LayoutSink(images, _tag(where), self._moving)
            case "store":
                images = layout.open(self._options.store or default_store(), create=True)
                self._stack.enter_context(images)
                return LayoutSink(images, stored_name(_reference(where)), self._moving)
            case "oci-archive":
                writer = self._stack.enter_context(archive.create(_path(where), format="oci"))
                return ArchiveSink(writer, _tag(where), self._moving, attaches=True)
            case "docker-archive":
                writer = self._stack.enter_context(archive.create(_path(where), format="docker"))
                name = None if where.reference is None else str(where.reference)
                return ArchiveSink(writer, name, self._moving, attaches=False)

    def _registry(self, reference: Reference) -> RegistryPlace:
        from ociworks.image import remote
        from ociworks.image._places import RegistryPlace

        if self._client is None:
            self._client = self._stack.enter_context(remote.Client())
        return RegistryPlace(self._client, reference, self._moving)


def _reference(where: Location) -> Reference:
    if where.reference is None:
        raise InvalidLocation(f"{quote(str(where))}: expected a reference")
    return where.reference


def _path(where: Location) -> str:
    if where.path is None:
        raise InvalidLocation(f"{quote(str(where))}: expected a path")
    return where.path


def _tag(where: Location) -> str | None:
    """A destination can be given a tag; its digest is what it is."""
    if where.name is None or isinstance(where.name, str):
        return where.name
    raise InvalidLocation(f"{quote(str(where))}: expected a tag for a destination, got a digest")
