"""``ociworks cat``."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from ociworks.cli._places import place, place_options, source_image

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``cat``."""
    command.description = "Write the content of files of an image, as it is."
    place_options(command)
    place(command, "place", "where the image is: a PLACE")
    command.add_argument("paths", metavar="PATH", nargs="+", help="files in the image")


def main(arguments: Namespace) -> int:
    """Write them one behind the other."""
    from ociworks.image.files import files

    with source_image(arguments, arguments.place) as image:
        tree = files(image)
        for path in arguments.paths:
            with tree.open(path) as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return 0
