"""``ociworks gc``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ociworks.cli._arguments import json_option, store_option

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.api import Collected

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``gc``."""
    command.description = (
        "Remove the blobs of the store that no image in it needs and nobody is using, and the layers that were "
        "unpacked for images that are gone. --store may name any OCI layout."
    )
    store_option(command)
    json_option(command)
    command.add_argument("-n", "--dry-run", action="store_true", help="only say what would be removed")


def main(arguments: Namespace) -> int:
    """Collect, and say what was freed."""
    from ociworks import api
    from ociworks.image.units import human_size
    from ociworks.spec.notebook import count

    collected = api.gc(arguments.store, dry_run=arguments.dry_run)
    if arguments.json:
        print(json.dumps(_members(collected)))
        return 0
    would = "would remove" if arguments.dry_run else "removed"
    print(
        f"{would} {count(len(collected.removed), 'blob')}, {human_size(collected.freed)}; {collected.kept} stay"
    )
    if collected.layers:
        print(f"{would} {count(len(collected.layers), 'unpacked layer')}, {human_size(collected.unpacked)}")
    return 0


def _members(collected: Collected) -> dict[str, object]:
    """What ``--json`` prints."""
    return {
        "removed": [str(digest) for digest in collected.removed],
        "freed": collected.freed,
        "kept": collected.kept,
        "layers": [str(chain_id) for chain_id in collected.layers],
        "unpacked": collected.unpacked,
    }
