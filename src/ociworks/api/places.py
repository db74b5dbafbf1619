"""Places by their text: opened to read one image, or for :func:`ociworks.copy`.

::

    with ociworks.api.opened("oci-archive:app.tar") as img:
        print(img.config.config.env)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias, Union

from ociworks.api.clients import host_client
from ociworks.api.images import default_store, stored_name
from ociworks.api.options import CopyOptions
from ociworks.errors import InvalidLocation, quote

if TYPE_CHECKING:
    from ociworks.image import Image, ImageIndex, Location, Reference
    from ociworks.image._places import RegistryPlace
    from ociworks.image.archive import Archive
    from ociworks.image.copy import Sink, Source
    from ociworks.image.layout import Layout
    from ociworks.image.progress import ProgressCallback
    from ociworks.image.remote import Client
    from ociworks.spec import Platform

__all__ = ["From", "Places", "To", "opened", "opened_document"]

From: TypeAlias = Union["str", "Location", "Reference", "Layout", "Archive", "Image", "ImageIndex"]
"""Where an image may come from; text is read by :mod:`ociworks.image.location`."""
To: TypeAlias = Union["str", "Location", "Reference", "Layout"]
"""Where an image may go to."""


@contextmanager
def opened_document(
    src: From, *, client: Client | None = None, options: CopyOptions | None = None
) -> Iterator[Image | ImageIndex]:
    """The image or index at a place, whichever is there; it can be read while the block lasts.

    Raises what :func:`ociworks.copy` raises for its source.
    """
    with ExitStack() as stack:
        yield Places(stack, client, options or CopyOptions()).source(src).get()


@contextmanager
def opened(
    src: From,
    *,
    platform: str | Platform | None = None,
    client: Client | None = None,
    options: CopyOptions | None = None,
) -> Iterator[Image]:
    """The image at a place, of an index the one for ``platform`` (None: this host's), for as long as the block lasts.

    Raises what :func:`ociworks.copy` raises for its source, and :class:`~ociworks.errors.ImageNotFound` for a platform
    that is not there.
    """
    from ociworks.image import ImageIndex, partial

    with opened_document(src, client=client, options=options) as found:
        yield found.image(platform) if isinstance(found, ImageIndex) else partial.require(found, platform)


class Places:
    """Opens places; what it opens is closed, or written, at the end of the stack."""

    def __init__(
        self,
        stack: ExitStack,
        client: Client | None,
        options: CopyOptions,
        progress: ProgressCallback | None = None,
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
        from ociworks.image._places import RegistryPlace

        if self._client is None:
            self._client = self._stack.enter_context(host_client())
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
