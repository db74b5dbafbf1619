"""``ociworks gc``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ociworks.cli._arguments import json_option, store_option

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``gc``."""
    command.description = (
        "Remove the blobs of the store that no image in it needs and nobody is using. "
        "--store may name any OCI layout."
    )
    store_option(command)
    json_option(command)
    command.add_argument("-n", "--dry-run", action="store_true", help="only say what would be removed")


def main(arguments: Namespace) -> int:
    """Collect, and say what was freed."""
    from ociworks import api
    from ociworks.image import layout
    from ociworks.image.units import human_size
    from ociworks.spec.notebook import count

    with layout.open(arguments.store or api.default_store()) as images:
        report = images.gc(dry_run=arguments.dry_run)
    if arguments.json:
        removed = [str(digest) for digest in report.removed]
        print(json.dumps({"removed": removed, "freed": report.freed, "kept": report.kept}))
    else:
        would = "would remove" if arguments.dry_run else "removed"
        print(f"{would} {count(len(report.removed), 'blob')}, {human_size(report.freed)}; {report.kept} stay")
    return 0
