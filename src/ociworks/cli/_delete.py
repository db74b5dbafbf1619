"""``ociworks delete``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli._places import client_of, options_of, place_options
from ociworks.errors import NotSupported, quote

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.image import Location
    from ociworks.image.layout import Layout

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``delete``."""
    command.description = (
        "Delete an image: by its digest with all its tags; by name only that tag, and in the store and in layouts the "
        "image with its last tag. Blobs stay until gc. Not every registry allows deleting."
    )
    place_options(command, platform=False)
    command.add_argument("places", metavar="PLACE", nargs="+", help="what to delete")


def main(arguments: Namespace) -> int:
    """Delete one after the other; the first failure ends it."""
    from ociworks.image import Location

    for text in arguments.places:
        _delete(Location.parse(text), arguments)
    return 0


def _delete(where: Location, arguments: Namespace) -> None:
    if where.transport == "docker" and where.reference is not None:
        with client_of(arguments) as client:
            client.delete(where.reference)
    elif where.transport in {"oci", "store"}:
        _delete_in_layout(where, arguments)
    else:
        raise NotSupported(f"{quote(str(where))}: nothing is deleted in an archive; delete the file")


def _delete_in_layout(where: Location, arguments: Namespace) -> None:
    from ociworks import api
    from ociworks.api.images import stored_name
    from ociworks.image import layout
    from ociworks.spec import Digest

    stored = where.transport == "store"
    name = stored_name(where.reference) if stored and where.reference is not None else where.name
    directory = (options_of(arguments).store or api.default_store()) if stored else where.path or ""
    with layout.open(directory) as images:
        if isinstance(name, str):
            _remove_name(images, name)
        else:
            images.delete(name if isinstance(name, Digest) else images.get().digest)


def _remove_name(images: Layout, name: str) -> None:
    """The tag, and with its last tag the image."""
    digest = images.get(name).digest
    images.untag(name)
    if all(entry.digest != digest for entry in images.tags().values()):
        images.delete(digest)
