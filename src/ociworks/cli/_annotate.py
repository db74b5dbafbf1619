"""``ociworks annotate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli._arguments import checked
from ociworks.cli._config import named, pair
from ociworks.cli._making import changed, making_options

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``annotate``."""
    command.description = "Change the annotations of an image's manifest. Prints the new digest."
    command.add_argument(
        "-a", "--annotation", metavar="KEY=VALUE", type=checked(pair), action="append", default=[]
    )
    command.add_argument("--remove", metavar="KEY", action="append", default=[])
    making_options(command)


def main(arguments: Namespace) -> int:
    """Annotate."""
    from ociworks.image import mutate

    annotations = named(arguments.annotation, arguments.remove)
    return changed(arguments, lambda image: mutate.annotate(image, annotations))
