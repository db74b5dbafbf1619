"""What the commands that make one image of another have in common: read at a place, change, write at a place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ociworks.cli._arguments import platform_option
from ociworks.cli._places import client_of, options_of, place, place_options
from ociworks.cli._progress import progress

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.api import CopyOptions
    from ociworks.image import Image, ImageIndex
    from ociworks.image.remote import Client

__all__ = ["changed", "making_options"]

_SCRATCH: Final = "scratch"


def making_options(command: ArgumentParser, *, every: bool = True) -> None:
    """The options, and behind them the two places; ``every`` tells whether an index can be changed as a whole."""
    place_options(command, platform=False)
    which = command.add_mutually_exclusive_group()
    platform_option(which)
    if every:
        which.add_argument("-A", "--all", action="store_true", help="change every image of an index")
    place(command, "source", "the image to begin with: a PLACE, or 'scratch' for nothing")
    place(command, "destination", "where the new one shall be: a PLACE")


@contextmanager
def _source(arguments: Namespace, client: Client, options: CopyOptions) -> Iterator[Image | ImageIndex]:
    """What to begin with, an index only with ``--all``.

    ``scratch`` is the image without layers, as in a Dockerfile, and never a repository.
    """
    from ociworks import api
    from ociworks.image import mutate

    if arguments.source == _SCRATCH:
        yield mutate.scratch(arguments.platform)
        return
    if getattr(arguments, "all", False):
        with api.opened_document(arguments.source, client=client, options=options) as document:
            yield document
        return
    with api.opened(arguments.source, platform=arguments.platform, client=client, options=options) as found:
        yield found


def changed(arguments: Namespace, change: Callable[[Image], Image]) -> int:
    """Read, change, write; print the new digest. The source is never touched unless it is the destination too."""
    from ociworks import api
    from ociworks.image import ImageIndex, mutate
    from ociworks.image.copy import ALL

    options = options_of(arguments)
    with (
        progress(quiet=arguments.quiet) as show,
        client_of(arguments) as client,
        _source(arguments, client, options) as found,
    ):
        made = mutate.each(found, change) if isinstance(found, ImageIndex) else change(found)
        print(
            api.copy(
                made,
                arguments.destination,
                platforms=ALL,
                progress=show,
                client=client,
                options=options,
            ).digest
        )
    return 0
