"""The launcher of a Runtime, which may ask for shims; that of a command never makes one, and does not load them."""

from __future__ import annotations

from ociworks.runtime._init import entry, launcher
from ociworks.runtime._init.runners import Runners
from ociworks.runtime.shim import supervise

__all__ = ["main"]


def main(control: int, caller: int) -> None:
    """Run it on its control channel; never returns."""
    launcher.main(control, caller, supervise.main, entry.spawn, Runners())
