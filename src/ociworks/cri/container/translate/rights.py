"""Capabilities: the default fourteen, what the request adds and drops, or all that this host may give.

``ALL`` is looked at first, so that single names after it still count. What is asked for as ambient is held in every
set, since the kernel keeps nothing ambient that is not permitted and inheritable.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Final

from ociworks._linux.capabilities import CAPABILITIES as KNOWN
from ociworks.cri.container.translate.request import Request
from ociworks.errors import InvalidRequest, quote
from ociworks.spec.defaults import CAPABILITIES
from ociworks.spec.runtime import Capabilities

__all__ = ["capabilities", "held_capabilities"]

_ALL: Final = "ALL"
_MOST: Final = 1000


def capabilities(request: Request) -> Capabilities:
    """The five sets. InvalidRequest for names that are none."""
    wish = request.security.capabilities
    added, dropped = _names(wish.add_capabilities, "add"), _names(wish.drop_capabilities, "drop")
    ambient = _names(wish.add_ambient_capabilities, "add_ambient")
    if request.privileged:
        held = set(held_capabilities())
    else:
        held = set(held_capabilities() if _ALL in added else CAPABILITIES)
        held = set() if _ALL in dropped else held
        held = (held | added - {_ALL}) - dropped
    raised = set(held_capabilities()) if _ALL in ambient else ambient
    held |= raised
    names = _sorted(held)
    return Capabilities(
        bounding=names, effective=names, permitted=names, inheritable=_sorted(raised), ambient=_sorted(raised)
    )


@functools.cache
def held_capabilities() -> tuple[str, ...]:
    """What this process could give: its own bounding set, by name."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        line = next(line for line in file if line.startswith("CapBnd:"))
    mask = int.from_bytes(bytes.fromhex(line.split()[1]), "big")
    return tuple(name for number, name in enumerate(KNOWN) if mask >> number & 1)


def _names(given: Sequence[str], what: str) -> set[str]:
    if len(given) > _MOST:
        raise InvalidRequest(f"{what}_capabilities: expected at most {_MOST}")
    return {_name(text, what) for text in given}


def _name(text: str, what: str) -> str:
    upper = text.upper()
    if upper == _ALL:
        return _ALL
    name = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if not text.isascii() or name not in KNOWN:
        raise InvalidRequest(f"{what}_capabilities: no capability is called {quote(text)}")
    return name


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
