"""``ociworks referrers``."""

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
    """What may be written after ``referrers``."""
    command.description = "List what refers to an image in its registry: signatures, SBOMs, attestations."
    registry_options(command)
    json_option(command)
    command.add_argument("--artifact-type", metavar="TYPE", help="only those of this type")
    command.add_argument("reference", metavar="REF")


def main(arguments: Namespace) -> int:
    """One a line, or with ``--json`` one array of descriptors."""
    from ociworks.spec import to_json

    with client_of(arguments) as client:
        found = client.referrers(arguments.reference, arguments.artifact_type)
    if arguments.json:
        print(json.dumps([json.loads(to_json(entry)) for entry in found]))
    else:
        for entry in found:
            print(f"{entry.digest}  {entry.size:>8}  {printable(entry.artifact_type or entry.media_type)}")
    return 0
