"""``features`` and ``spec``."""

from __future__ import annotations

import os
import sys

import attrs

from ociworks.runtime.cli._call import Call
from ociworks.spec import Bundle, to_json
from ociworks.spec.defaults import default_spec

__all__ = ["main"]


def main(call: Call) -> int:
    """Print what this runtime can do, or write a configuration to begin with."""
    if call.command == "features":
        sys.stdout.write(to_json(call.runtime().features(), indent=4).decode() + "\n")
        return 0
    spec = default_spec(rootless=call.flags.flag("rootless") or os.geteuid() != 0, readonly=True)
    if spec.process is not None:
        spec = attrs.evolve(spec, process=attrs.evolve(spec.process, terminal=True))
    try:
        Bundle.create(call.flags.text("bundle") or ".", spec)
    except FileExistsError:
        raise ValueError("File config.json exists. Remove it first") from None
    return 0
