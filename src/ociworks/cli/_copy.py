"""``ociworks copy`` and ``ociworks push``: the second is a copy out of the store under the same name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ociworks.cli._arguments import json_option
from ociworks.cli._places import client_of, place, place_options, policy_of, policy_option
from ociworks.cli._progress import progress

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.image.copy import Copied, PlatformChoice

__all__ = ["arguments", "copied", "main", "report", "transfer_options"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``copy``."""
    command.description = (
        "Copy an image from one place to another; only what is missing there travels. Prints its digest."
    )
    transfer_options(command)
    place(command, "source", "where it is: a PLACE")
    place(command, "destination", "where it shall be: a PLACE")


def main(arguments: Namespace) -> int:
    """Copy, and print what was copied."""
    report(arguments, copied(arguments, arguments.source, arguments.destination))
    return 0


def transfer_options(command: ArgumentParser) -> None:
    """What ``copy`` and ``push`` have in common."""
    place_options(command, platform=False)
    chosen = command.add_mutually_exclusive_group()
    chosen.add_argument(
        "--platform",
        metavar="OS/ARCH",
        action="append",
        default=[],
        help="copy the image for this platform; several make an index of them; default: this machine's",
    )
    chosen.add_argument("-a", "--all", action="store_true", help="copy an index with all its platforms")
    command.add_argument(
        "--referrers", action="store_true", help="copy signatures and whatever else is attached too"
    )
    command.add_argument(
        "--format", choices=["oci", "docker"], help="convert manifests to these media types; changes digests"
    )
    policy_option(command)
    json_option(command)


def copied(arguments: Namespace, source: str, destination: str) -> Copied:
    """Copy as the options say, with progress."""
    from ociworks import api

    with progress(quiet=arguments.quiet) as show, client_of(arguments) as client:
        return api.copy(
            source,
            destination,
            platforms=_platforms(arguments),
            referrers=arguments.referrers,
            progress=show,
            client=client,
            options=api.CopyOptions(
                store=arguments.store, media_types=arguments.format, policy=policy_of(arguments)
            ),
        )


def report(arguments: Namespace, done: Copied) -> None:
    """The digest, or with ``--json`` the descriptors."""
    if not arguments.json:
        print(done.digest)
        return
    descriptors = [
        {"mediaType": each.media_type, "digest": str(each.digest), "size": each.size}
        for each in (done.descriptor, *done.referrers)
    ]
    print(json.dumps({**descriptors[0], "referrers": descriptors[1:]}))


def _platforms(arguments: Namespace) -> PlatformChoice:
    from ociworks.image.copy import ALL

    if arguments.all:
        return ALL
    chosen: list[str] = arguments.platform
    return chosen[0] if len(chosen) == 1 else tuple(chosen) or None
