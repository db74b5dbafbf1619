"""The launcher of commands that enter containers, by lists of system calls; ``create`` has no use for these."""

from __future__ import annotations

from ociworks.runtime._init import entry, launcher

__all__ = ["main"]


def main(control: int, caller: int) -> None:
    """Run it on its control channel; never returns."""
    launcher.main(control, caller, enter=entry.spawn)
