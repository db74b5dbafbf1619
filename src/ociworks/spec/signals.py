"""Names of Linux signals: a closed table, the same on every host (image-spec config.md, StopSignal)."""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing: commands that start a process each load this
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

__all__ = ["SIGNALS", "signal_number"]

# fmt: off
_IN_ORDER: Final = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
)
# fmt: on
_RTMIN: Final = 34
"""As the C libraries count: they keep 32 and 33 for themselves."""
_RTMAX: Final = 64

SIGNALS: Final[Mapping[str, int]] = {
    **{name: number for number, name in enumerate(_IN_ORDER, 1)},
    "IOT": 6,
    "CLD": 17,
    "POLL": 29,
    "RTMIN": _RTMIN,
    "RTMAX": _RTMAX,
    **{f"RTMIN+{above}": _RTMIN + above for above in range(1, 16)},
    **{f"RTMAX-{below}": _RTMAX - below for below in range(1, 15)},
}
"""Names without ``SIG``, and numbers on x86, ARM and every other architecture but MIPS, SPARC and Alpha."""


def signal_number(text: str) -> int:
    """The number of ``SIGTERM``, ``TERM``, ``SIGRTMIN+3`` or ``15``; raises `SpecError`, also for 0 and above 64."""
    name = text.removeprefix("SIG")
    if name in SIGNALS:
        return SIGNALS[name]
    if text.isascii() and text.isdigit() and not text.startswith("0") and len(text) <= 2:
        number = int(text)  # trusted: two digits
        if number <= _RTMAX:
            return number
    from ociworks.errors import SpecError, quote

    raise SpecError(f"expected a signal such as SIGTERM, or a number from 1 to {_RTMAX}, got {quote(text)}")
