"""``ociworks rebase``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from ociworks.cli._making import changed, making_options
from ociworks.cli._places import source_document

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.image import Image, ImageIndex

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``rebase``."""
    command.description = (
        "Put what an image added to its base on top of another base, without reading a layer. The result works when "
        "it depends on nothing that changed between the bases. Prints the new digest."
    )
    command.add_argument("--old-base", metavar="PLACE", required=True, help="the image it was built on")
    command.add_argument("--new-base", metavar="PLACE", required=True, help="the image it shall be built on")
    making_options(command)


def main(arguments: Namespace) -> int:
    """Rebase; the bases stay open until the result is written, since layers come from the new one."""
    from ociworks.image import mutate

    with ExitStack() as stack:
        old = stack.enter_context(source_document(arguments, arguments.old_base))
        new = stack.enter_context(source_document(arguments, arguments.new_base))
        return changed(
            arguments,
            lambda image: mutate.rebase(
                image, old_base=_for_the_same(image, old), new_base=_for_the_same(image, new)
            ),
        )


def _for_the_same(image: Image, base: Image | ImageIndex) -> Image:
    """The base for the platform that the image is for."""
    from ociworks.image import ImageIndex

    return base.image(image.config.platform) if isinstance(base, ImageIndex) else base
