"""Sizes as people read them."""

from __future__ import annotations

__all__ = ["human_size"]

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human_size(size: int) -> str:
    """``512 B``, ``1.5 KiB``, ``240 MiB``: three digits, powers of 1024."""
    if size < 1024:
        return f"{size} B"
    value, unit = float(size), "B"
    for unit in _UNITS:  # noqa: B007 - the last one is wanted
        value /= 1024
        if value < 1000:
            break
    return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
