"""``ociworks export``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ociworks.cli._places import place, place_options, source_image
from ociworks.errors import NotSupported

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``export``."""
    command.description = "Write the file system of an image as one tar archive."
    place_options(command)
    command.add_argument(
        "-o", "--output", metavar="FILE", help="appears when it is complete; default: standard output"
    )
    place(command, "place", "where the image is: a PLACE")


def main(arguments: Namespace) -> int:
    """Write it."""
    from ociworks.image import export

    if arguments.output is None and sys.stdout.isatty():
        raise NotSupported("an archive is not for a terminal: use --output, or redirect")
    with source_image(arguments, arguments.place) as image:
        export(image, sys.stdout.buffer if arguments.output is None else arguments.output)
    sys.stdout.buffer.flush()
    return 0
