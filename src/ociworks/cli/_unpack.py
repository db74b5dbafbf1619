"""``ociworks unpack``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli._places import place, place_options, source_image
from ociworks.cli._progress import progress
from ociworks.cli._text import printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main", "rootless_option"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``unpack``."""
    command.description = (
        "Unpack an image to a bundle: a directory with its files in rootfs and a config.json to run it. "
        "Prints the directory."
    )
    place_options(command)
    rootless_option(command)
    command.add_argument(
        "--devices",
        choices=["skip", "refuse", "create"],
        default="skip",
        help="what becomes of device nodes in layers (default: skip)",
    )
    place(command, "place", "where the image is: a PLACE")
    command.add_argument("directory", metavar="DIR", help="the bundle; must not exist")


def main(arguments: Namespace) -> int:
    """Unpack."""
    from ociworks.image import unpack

    with progress(quiet=arguments.quiet) as show, source_image(arguments, arguments.place) as image:
        bundle = unpack(
            image,
            arguments.directory,
            rootless=arguments.rootless or None,
            devices=arguments.devices,
            progress=show,
        )
    print(printable(str(bundle.path)))
    return 0


def rootless_option(command: ArgumentParser) -> None:
    """``--rootless``."""
    command.add_argument(
        "--rootless",
        action="store_true",
        help="all files are the caller's; default: unless the caller is root",
    )
