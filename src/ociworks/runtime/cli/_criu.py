"""``checkpoint`` and ``restore``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.cli._call import Call

__all__ = ["main"]


def main(call: Call) -> int:
    """Raise NotSupported."""
    from ociworks.errors import NotSupported

    if call.command == "checkpoint":
        call.record()
    raise NotSupported(f"{call.command}: checkpoint and restore are not supported yet")
