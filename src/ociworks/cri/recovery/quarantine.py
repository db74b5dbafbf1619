"""Entries that cannot be believed: set aside where nobody looks for containers, never read or followed again."""

from __future__ import annotations

import os
import secrets

__all__ = ["set_aside"]


def set_aside(state: str, path: str) -> str:
    """Move an entry of the state directory into ``<state>/quarantine``; where it is now.

    A mount stays what it is, a link is not followed, and what it held open stays open.
    """
    place = os.path.join(state, "quarantine")
    os.makedirs(place, mode=0o700, exist_ok=True)
    target = os.path.join(place, f"{os.path.basename(path)}-{secrets.token_hex(4)}")
    os.rename(path, target)
    return target
