"""References as the tags of a layout: what stores of images by their full names keep in ``index.json``."""

from __future__ import annotations

from typing import Final

from ociworks.errors import SpecError
from ociworks.image.layout._entries import is_tag
from ociworks.image.reference import Reference

__all__ = ["name_of", "reference_in"]

_HEX: Final = "hex+"


def name_of(reference: Reference) -> str:
    """The tag for a reference: its full form, in hexadecimal where the grammar of tags has no room for it."""
    name = str(reference)
    return name if is_tag(name) else f"{_HEX}{name.encode().hex()}"


def reference_in(tag: str) -> Reference | None:
    """The reference that a tag stands for; None when it is no reference."""
    try:
        text = bytes.fromhex(tag.removeprefix(_HEX)).decode() if tag.startswith(_HEX) else tag
        return Reference.parse(text)
    except (SpecError, ValueError):
        return None
