"""A state directory has its container's name only while it is complete; before and after, it has one of these."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["ASIDE", "aside_of", "set_aside"]

ASIDE: Final = "@new-"
"""How the name of a directory begins that is not complete, not yet or not any more."""


def aside_of(directory: str) -> str:
    """A new name beside a state directory's."""
    return f"{os.path.dirname(directory)}/{ASIDE}{os.urandom(8).hex()}"


def set_aside(directory: str) -> str:
    """Take a state directory its name away, before it is removed; the new one. FileNotFoundError when it is gone."""
    aside = aside_of(directory)
    os.rename(directory, aside)
    return aside
