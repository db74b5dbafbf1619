"""``ociworks logout``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ociworks.cli._text import printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``logout``."""
    command.description = "Forget the password for a registry, wherever Docker, Podman or ociworks keep it."
    command.add_argument("--authfile", metavar="FILE", help="only in this file")
    command.add_argument("registry", metavar="REGISTRY", help="host[:port], or that with a path")


def main(arguments: Namespace) -> int:
    """Log out, and say where there was something to forget; nothing is status 3."""
    from ociworks.image.auth import logout

    found = logout(arguments.registry, file=arguments.authfile)
    for place in found:
        print(f"removed from {printable(place)}")
    if not found:
        print(f"not logged in to {printable(arguments.registry)}", file=sys.stderr)
    return 0 if found else 3
