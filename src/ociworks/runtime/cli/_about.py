"""``features`` and ``spec``."""

from __future__ import annotations

import os
import sys

from ociworks.runtime.cli._call import Call
from ociworks.runtime.cli._example import example
from ociworks.spec import Bundle, to_json

__all__ = ["main"]


def main(call: Call) -> int:
    """Print what this runtime can do, or write a configuration to begin with."""
    if call.command == "features":
        sys.stdout.write(to_json(call.runtime().features(), indent=4).decode() + "\n")
        return 0
    try:
        rootless = call.flags.flag("rootless") or os.geteuid() != 0
        Bundle.create(call.flags.text("bundle") or ".", example(rootless=rootless))
    except FileExistsError:
        raise ValueError("File config.json exists. Remove it first") from None
    return 0
