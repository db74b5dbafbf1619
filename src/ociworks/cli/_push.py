"""``ociworks push``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cli._copy import copied, report, transfer_options

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``push``."""
    command.description = "Push an image of the store to a registry, by default under its own name."
    transfer_options(command)
    command.add_argument("image", metavar="IMAGE", help="its name in the store")
    command.add_argument("reference", metavar="REF", nargs="?", help="its name in the registry")


def main(arguments: Namespace) -> int:
    """Push, and print what was pushed."""
    target = arguments.reference or arguments.image
    report(arguments, copied(arguments, f"store:{arguments.image}", f"docker://{target}"))
    return 0
