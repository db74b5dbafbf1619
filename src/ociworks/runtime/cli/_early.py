"""The helper process of a command that will need one, started before anything else: it takes as long to load as we do.

Whether it will be needed is guessed from the words on the command line; a helper that nobody takes is ended again.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["begin", "end", "take"]

_PLAIN: Final = "ociworks.runtime._init.launcher"
_ENTERING: Final = "ociworks.runtime._init.entering"
_WITH_SHIMS: Final = "ociworks.runtime._init.detaching"
"""What the helper runs: ``create`` enters no container, and only a Runtime of somebody else's asks for shims."""
_NEEDED_BY: Final = frozenset({"create", "run", "exec", "restore"})
_started: list[tuple[int, int]] = []


def begin(words: Sequence[str]) -> None:
    """Start it if a command of these words is likely to need it; what prevents that is reported when it is taken."""
    if not _NEEDED_BY.isdisjoint(words):
        try:
            _started.append(_start(_PLAIN if "create" in words else _ENTERING))
        except Exception:  # noqa: BLE001 - tried again, and reported, where there is somebody to report it
            return


def take(*, shims: bool) -> tuple[int, int]:
    """Its pid and our end of its control channel. Raises what starting one raises."""
    if shims:
        return _start(_WITH_SHIMS)
    return _started.pop() if _started else _start(_ENTERING)


def end() -> None:
    """End one that nobody took."""
    while _started:
        pid, control = _started.pop()
        os.close(control)
        os.waitpid(pid, 0)


def _start(module: str) -> tuple[int, int]:
    from ociworks.runtime import _sealed

    return _sealed.start(module)
