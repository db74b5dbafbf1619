"""The one reader of numbers that come from outside.

``int()`` accepts signs, padding, underscores and every Unicode decimal digit; a uid, size, port or mode that was
checked by another reader would then mean something else here.
"""

from __future__ import annotations

import re

from ociworks.errors import SpecError, quote

__all__ = ["parse_uint"]

_UINT = re.compile(r"0|[1-9][0-9]*", re.ASCII)


def parse_uint(text: str | bytes, maximum: int, what: str = "number") -> int:
    """Read an unsigned decimal number: ASCII digits only, no sign, no spaces, no leading zeros, at most ``maximum``.

    Raises :class:`~ociworks.errors.SpecError`; ``what`` names the number in its message.
    """
    shown = text.decode("latin-1") if isinstance(text, bytes) else text
    if _UINT.fullmatch(shown) is None:
        raise SpecError(
            f"{what}: expected decimal digits without sign, padding or leading zeros, got {quote(text)}"
        )
    # The length decides first: converting a very long number costs quadratic time.
    if len(shown) <= len(str(maximum)):
        number = int(shown)  # trusted: the grammar was checked
        if number <= maximum:
            return number
    raise SpecError(f"{what}: expected a number from 0 to {maximum}, got {quote(text, 40)}")
