"""``ociworks digest``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli._places import client_of, place, place_options, source_document

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.spec import Digest

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``digest``."""
    command.description = (
        "Print the digest of the image or index at a place; with --platform that of the image for it."
    )
    place_options(command)
    place(command, "place", "where it is: a PLACE")


def main(arguments: Namespace) -> int:
    """Print the digest. A registry is asked for nothing else when it knows."""
    print(_digest(arguments))
    return 0


def _digest(arguments: Namespace) -> Digest:
    from ociworks.image import Location

    where = Location.parse(arguments.place)
    if where.transport == "docker" and where.reference is not None and arguments.platform is None:
        with client_of(arguments) as client:
            return client.resolve(where.reference).digest
    with source_document(arguments, arguments.place) as found:
        return found.digest
