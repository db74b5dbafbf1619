"""``ociworks squash``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli import _units
from ociworks.cli._arguments import checked
from ociworks.cli._flatten import compression_option
from ociworks.cli._making import changed, making_options

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``squash``."""
    command.description = "Make one layer of the last layers of an image. Prints the new digest."
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--last", metavar="N", type=checked(_units.whole_number), help="the last N layers")
    which.add_argument(
        "--keep", metavar="N", type=checked(_units.whole_number), help="all but the first N layers"
    )
    compression_option(command)
    making_options(command)


def main(arguments: Namespace) -> int:
    """Squash."""
    from ociworks.image import mutate

    return changed(
        arguments,
        lambda image: mutate.squash(
            image, last=arguments.last, start=arguments.keep, compression=arguments.compression
        ),
    )
