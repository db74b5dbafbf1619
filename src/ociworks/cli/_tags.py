"""``ociworks tags``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ociworks.cli._arguments import json_option, registry_options
from ociworks.cli._places import client_of
from ociworks.cli._text import printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``tags``."""
    command.description = "List the tags of a repository."
    registry_options(command)
    json_option(command)
    command.add_argument("repository", metavar="REPOSITORY", help="such as registry.example/app")


def main(arguments: Namespace) -> int:
    """One tag a line as they come, or with ``--json`` one array."""
    with client_of(arguments) as client:
        tags = client.tags(arguments.repository)
        if arguments.json:
            print(json.dumps(list(tags)))
        else:
            for tag in tags:
                print(printable(tag))
    return 0
