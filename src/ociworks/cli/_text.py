"""The one place where text of unknown origin becomes fit for a terminal (ATTACKS CL-04)."""

from __future__ import annotations

__all__ = ["one_line", "printable", "printable_lines"]

_MAXIMUM = 4000


def printable(text: str, maximum: int = _MAXIMUM) -> str:
    """``text`` with everything escaped that a terminal could obey or hide: controls, bidi overrides, zero widths.

    Letters of every script stay as they are. Longer text than ``maximum`` characters is cut.
    """
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[:maximum]
    )
    return shown + "…" if len(text) > maximum else shown


def one_line(text: str, maximum: int = _MAXIMUM) -> str:
    """:func:`printable`, with the lines of a message that has several joined by semicolons."""
    head, *rest = (line.strip() for line in text.split("\n"))
    return printable(f"{head} {'; '.join(rest)}".rstrip(), maximum)


def printable_lines(text: str) -> str:
    """:func:`printable` for each line of a text that has several."""
    return "\n".join(printable(line) for line in text.split("\n"))
