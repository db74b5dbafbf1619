"""``ociworks diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli._arguments import json_option
from ociworks.cli._places import place, place_options, source_image

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``diff``."""
    command.description = "Show what is different between two images: configuration, layers, files."
    place_options(command)
    json_option(command)
    command.add_argument(
        "--no-files", action="store_true", help="documents and layers only: no layer is read"
    )
    command.add_argument("--times", action="store_true", help="another modification time is a difference too")
    command.add_argument("--exit-code", action="store_true", help="status 1 when there are differences")
    place(command, "old", "an image: a PLACE")
    place(command, "new", "another: a PLACE")


def main(arguments: Namespace) -> int:
    """Show the differences."""
    from ociworks.image import diff

    with (
        source_image(arguments, arguments.old) as old,
        source_image(arguments, arguments.new) as new,
    ):
        found = diff.images(old, new, files=not arguments.no_files, times=arguments.times)
    if arguments.json:
        print(found.to_json().decode())
    elif shown := str(found):
        print(shown)
    return 1 if arguments.exit_code and not found.same else 0
