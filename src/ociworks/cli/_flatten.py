"""``ociworks flatten``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli._making import changed, making_options

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "compression_option", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``flatten``."""
    command.description = (
        "Make one layer of all layers of an image: what was deleted is gone for good. Prints the new digest."
    )
    compression_option(command)
    command.add_argument(
        "--drop-history", action="store_true", help="forget how the image was made; it may name secrets"
    )
    making_options(command)


def main(arguments: Namespace) -> int:
    """Flatten."""
    from ociworks.image import mutate

    return changed(
        arguments,
        lambda image: mutate.flatten(
            image, keep_history=not arguments.drop_history, compression=arguments.compression
        ),
    )


def compression_option(command: ArgumentParser) -> None:
    """``--compression`` of a layer that is made."""
    command.add_argument(
        "--compression", choices=["gzip", "zstd", "none"], help="of the new layer; default: as the last one's"
    )
