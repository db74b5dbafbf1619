"""``ociworks repack``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli._making import changed, making_options
from ociworks.cli._unpack import rootless_option

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``repack``."""
    command.description = (
        "Make a layer of what was changed in an unpacked image, on top of the image that it was unpacked from. "
        "Prints the new digest."
    )
    rootless_option(command)
    command.add_argument("--compression", choices=["gzip", "zstd", "none"], default="gzip")
    command.add_argument("directory", metavar="DIR", help="the bundle, as unpack made it")
    making_options(command, every=False)


def main(arguments: Namespace) -> int:
    """Repack."""
    from ociworks.image import mutate, repack

    return changed(
        arguments,
        lambda image: mutate.append(
            image,
            repack(
                image,
                arguments.directory,
                rootless=arguments.rootless or None,
                compression=arguments.compression,
            ),
        ),
    )
